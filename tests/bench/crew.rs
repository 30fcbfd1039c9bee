//! The real worker, wired as `longshore worker` wires it, with handlers of the benchmark's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use domain::{Report, Verdict};
use durable::{Cause, Handler, Stop, TaskCx};
use schemars::JsonSchema;
use serde::Deserialize;
use store::{Listener, Store};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Registry, Worker};

use crate::Result;

/// A worker in this process. What differs from a `longshore worker` with an empty configuration: the handlers, the
/// number of slots, and no log is written.
pub struct Crew {
    store: Store,
    listener: Option<Listener>,
    shutdown: CancellationToken,
    running: JoinHandle<domain::Result<()>>,
    started: Instant,
}

/// As the binary configures its store.
pub fn store_config(url: &str) -> store::Config {
    store::Config {
        application_name: "longshore-worker".to_owned(),
        ..store::Config::new(url)
    }
}

impl Crew {
    pub async fn start(url: &str, registry: Registry, slots: u32) -> Result<Self> {
        let store = Store::connect(store_config(url)).await?;
        let wake = Arc::new(Notify::new());
        let listener = store.listen(wake.clone());
        let config = worker::Config {
            slots,
            host: "bench".to_owned(),
            pid: std::process::id(),
            listens: listener.is_some(),
            ..worker::Config::default()
        };
        let mut worker = Worker::new(store.clone(), registry, config, wake);
        if let Some(listener) = &listener {
            worker = worker.hearing(listener.hearing());
        }
        // As the binary has by then, whose log says that it is ready.
        let _ = domain::redact("The worker is ready");
        let shutdown = CancellationToken::new();
        let started = Instant::now();
        let running = tokio::spawn(worker.run(shutdown.clone(), CancellationToken::new()));
        Ok(Self {
            store,
            listener,
            shutdown,
            running,
            started,
        })
    }

    /// Just before it began: connections to the database stood already.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Lets it end what it runs; returns when the last outcome is committed.
    pub async fn finish(self) -> Result<()> {
        self.shutdown.cancel();
        self.running.await??;
        drop(self.listener);
        self.store.close().await;
        Ok(())
    }

    /// Returns when the worker has ended by itself, which it should not.
    pub async fn broke(&mut self) -> Result<()> {
        (&mut self.running).await??;
        Err("the worker ended by itself".into())
    }
}

/// Calls when a number of things has been done.
#[derive(Clone)]
pub struct Countdown(Arc<(AtomicU64, Notify)>);

impl Countdown {
    pub fn new(from: u64) -> Self {
        Self(Arc::new((AtomicU64::new(from), Notify::new())))
    }

    pub fn tick(&self) {
        if self.0.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.1.notify_one();
        }
    }

    pub async fn over(&self) {
        self.0.1.notified().await;
    }
}

#[derive(Deserialize, JsonSchema)]
pub struct Anything {}

/// Does nothing and says so.
pub struct Noop(pub Countdown);

impl Handler for Noop {
    const TASK_TYPES: &'static [&'static str] = &["deploy"];
    type Params = Anything;

    async fn run(&self, _cx: &TaskCx, _params: &Anything) -> std::result::Result<Report, Stop> {
        self.0.tick();
        Ok(Report::new(Verdict::Succeeded, "nothing was to be done"))
    }

    async fn unwind(
        &self,
        _cx: &TaskCx,
        _params: &Anything,
        cause: &Cause,
    ) -> std::result::Result<Report, Stop> {
        Ok(cause.report())
    }
}
