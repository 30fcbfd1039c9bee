//! `longshore worker`: claims tasks and does them.

use std::sync::Arc;
use std::time::Duration;

use adapter_forge::Forges;
use deploy::{Deploy, Rollback};
use domain::Error;
use durable::Handler;
use pipelines::FixBuild;
use ports::Tickets;
use store::Store;
use tickets::Drainer;
use tokio::sync::Notify;

use super::serve;
use crate::Handlers;
use crate::cli;
use crate::config::Settings;
use crate::exit::{Failure, Outcome};
use crate::shutdown::Shutdown;
use crate::wiring::{self, As, Reach};

/// How long the end may wait for Postgres to see connections closed.
const GOODBYE: Duration = Duration::from_secs(3);

pub async fn run(command: cli::Worker, settings: &Settings, handlers: Handlers) -> Outcome {
    let shutdown = Shutdown::listen()?;
    let listener = match command.with_api {
        true => Some(serve::bind(settings.api.bind).await?),
        false => None,
    };
    let Some(store) = shutdown.unless_stopped(wiring::store(settings, As::Worker)).await else {
        return Ok(shutdown.exit());
    };
    let store = store?;
    let forges = Arc::new(Forges::new(&wiring::forge_config(settings))?);
    let worker = work(settings, handlers, &store, &forges, forges.clone(), &shutdown).await?;
    let api = match listener {
        Some(listener) => {
            let desk = wiring::store(settings, As::Api).await?;
            Some(serve::api(settings, listener, desk, shutdown.drain.clone())?)
        }
        None => None,
    };
    let all = async {
        let api = async {
            match api {
                Some(api) => api.await,
                None => Ok(()),
            }
        };
        let (worked, served) = tokio::join!(worker, api);
        close(&[store]).await;
        worked.and(served)
    };
    shutdown.until_killed(Box::pin(all)).await
}

/// The types that this program serves without any handler of somebody else's.
pub fn built_in_types() -> Vec<&'static str> {
    let all = [FixBuild::TASK_TYPES, Deploy::TASK_TYPES, Rollback::TASK_TYPES];
    all.concat()
}

/// Closes what answers. A database that does not must not keep the process, and a second signal cuts this short too.
pub async fn close(stores: &[Store]) {
    let all = async {
        for store in stores {
            store.close().await;
        }
    };
    if tokio::time::timeout(GOODBYE, all).await.is_err() {
        tracing::warn!("Postgres does not answer; its connections are dropped as they are");
    }
}

/// The claim loop, the listener that wakes it and the drainer of the ticket outbox, as one future that ends after
/// `shutdown.drain`: first the work, then the notes about it.
pub async fn work(
    settings: &Settings,
    handlers: Handlers,
    store: &Store,
    forges: &Arc<Forges>,
    tickets: Arc<dyn Tickets>,
    shutdown: &Shutdown,
) -> Result<impl Future<Output = Result<(), Error>> + Send + 'static, Failure> {
    let memory = Arc::new(store.clone());
    let fix_build = FixBuild::new(forges.clone(), memory.clone(), memory, settings.fix_build.clone());
    let reach = Reach::new(settings, store, forges).await?;
    let built_in = worker::Registry::new()
        .register(fix_build)
        .register(Deploy::new(reach.outside.clone()))
        .register(Rollback::new(reach.outside.clone()));
    let registry = handlers(built_in)?;

    let wake = Arc::new(Notify::new());
    let listener = store.listen(wake.clone());
    let mut config = wiring::worker_config(settings, hostname());
    config.listens = listener.is_some();
    tracing::info!(
        worker.agents = ?config.agents,
        worker.slots = config.slots,
        worker.types = ?registry.task_types(),
        "the worker takes tasks"
    );
    let mut worker = worker::Worker::new(store.clone(), registry, config, wake);
    if let Some(listener) = &listener {
        worker = worker.hearing(listener.hearing());
    }
    let drainer = Drainer::new(store, tickets, wiring::tickets_config(settings));
    let shutdown = shutdown.clone();
    Ok(async move {
        let notes_done = tokio_util::sync::CancellationToken::new();
        let mut notes = tokio::spawn(drainer.run(notes_done.clone()));
        let keeping = tokio::spawn(reach.keep(notes_done.clone()));
        let worked = Box::pin(worker.run(shutdown.drain, shutdown.kill.clone())).await;
        drop(listener);
        notes_done.cancel();
        let ended = tokio::select! {
            ended = &mut notes => ended,
            // A note under way is left to the next drainer, which looks for it before it writes.
            () = shutdown.kill.cancelled() => {
                notes.abort();
                Ok(())
            }
        };
        keeping.abort();
        if let Err(error) = ended {
            return Err(Error::internal("the drainer of ticket notes broke").because(&error));
        }
        worked
    })
}

/// For the table of workers; only people read it.
fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}
