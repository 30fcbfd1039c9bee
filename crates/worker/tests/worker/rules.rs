//! Limits and pauses with real workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use domain::{Report, Verdict};
use durable::{Cause, Handler, Lease, Outcome, Stop, TaskCx};
use schemars::JsonSchema;
use serde::Deserialize;
use store::{Claim, RuleChange, Scope, Served, Settle, Store, WorkerRow};
use testkit::postgres::{self, Database};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use worker::{Config, Registry, Worker};

use crate::common::{Running, fast, until};

#[derive(Deserialize, JsonSchema)]
struct Params {}

/// Counts how many of it run at once; each stays until it is let go.
#[derive(Clone)]
struct Gated {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    entered: Arc<Semaphore>,
    leave: Arc<Semaphore>,
}

impl Gated {
    fn new() -> Self {
        Self {
            running: Arc::default(),
            most: Arc::default(),
            entered: Arc::new(Semaphore::new(0)),
            leave: Arc::new(Semaphore::new(0)),
        }
    }

    /// Waits until one more has begun.
    async fn one_begins(&self) {
        let entered = tokio::time::timeout(Duration::from_secs(30), self.entered.acquire());
        entered.await.expect("a task begins").expect("open").forget();
    }
}

impl Handler for Gated {
    const TASK_TYPES: &'static [&'static str] = &["gated"];
    type Params = Params;

    async fn run(&self, _: &TaskCx, _: &Params) -> Result<Report, Stop> {
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        self.entered.add_permits(1);
        self.leave.acquire().await.expect("open").forget();
        self.running.fetch_sub(1, Ordering::SeqCst);
        Ok(Report::new(Verdict::Succeeded, "was there"))
    }

    async fn unwind(&self, _: &TaskCx, _: &Params, cause: &Cause) -> Result<Report, Stop> {
        Ok(cause.report())
    }
}

async fn start(db: &Database, handler: &Gated, config: Config) -> Running {
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let registry = Registry::new().register(handler.clone());
    let worker = Worker::new(db.worker_store().await, registry, config, Arc::new(Notify::new()));
    let done = tokio::spawn(worker.run(stop.clone(), kill.clone()));
    Running { stop, kill, done }
}

async fn set(store: &Store, change: RuleChange) {
    store
        .set_rule(&Scope::Type("gated".to_owned()), &change)
        .await
        .expect("a rule");
}

fn at_most(most: u32) -> RuleChange {
    RuleChange {
        max_running: Some(Some(most)),
        ..RuleChange::default()
    }
}

async fn insert(db: &Database, tasks: u32) {
    db.sql(&format!(
        "INSERT INTO tasks (task_type, assigned_to) SELECT 'gated', 'devops' FROM generate_series(1, {tasks})"
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_with_slots_to_spare_keep_within_a_limit() {
    let (db, handler) = (postgres::database().await, Gated::new());
    let store = db.store().await;
    set(&store, at_most(3)).await;
    insert(&db, 15).await;
    let workers = [
        start(&db, &handler, Config { slots: 4, ..fast() }).await,
        start(&db, &handler, Config { slots: 4, ..fast() }).await,
    ];
    for _ in 0..3 {
        handler.one_begins().await;
    }
    for _ in 3..15 {
        handler.leave.add_permits(1);
        handler.one_begins().await;
    }
    handler.leave.add_permits(3);
    until(
        &db,
        "(SELECT count(*) FROM tasks WHERE status = 'completed') = 15",
    )
    .await;
    assert_eq!(handler.most.load(Ordering::SeqCst), 3);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_lets_what_runs_end_and_the_rest_begin_when_it_is_over() {
    let (db, handler) = (postgres::database().await, Gated::new());
    let store = db.store().await;
    insert(&db, 1).await;
    let worker = start(&db, &handler, Config { slots: 4, ..fast() }).await;
    handler.one_begins().await;
    let pause = |paused| RuleChange {
        paused: Some(paused),
        ..RuleChange::default()
    };
    set(&store, pause(true)).await;
    insert(&db, 2).await;
    handler.leave.add_permits(1);
    until(&db, "EXISTS (SELECT FROM tasks WHERE status = 'completed')").await;
    assert_eq!(
        db.value("SELECT count(*) FROM tasks WHERE status = 'pending'")
            .await
            .as_deref(),
        Some("2")
    );
    set(&store, pause(false)).await;
    handler.one_begins().await;
    handler.one_begins().await;
    handler.leave.add_permits(2);
    until(&db, "(SELECT count(*) FROM tasks WHERE status = 'completed') = 3").await;
    worker.stop().await;
}

/// A place is free again and nobody notifies: a worker that waits for notifications looks all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_another_worker_leaves_is_taken_within_a_poll() {
    let (db, handler) = (postgres::database().await, Gated::new());
    let store = db.worker_store().await;
    set(&store, at_most(1)).await;
    insert(&db, 2).await;
    let taken = take_one(&store).await;
    let config = Config {
        listens: true,
        poll: Duration::from_secs(1),
        ..fast()
    };
    let worker = start(&db, &handler, config).await;
    until(&db, "EXISTS (SELECT FROM longshore.workers WHERE id <> 'other')").await;
    let ended = Settle {
        lease: taken,
        parent: None,
        ticket: None,
        outcome: Outcome::Ended {
            status: domain::TaskStatus::Completed,
            report: Box::new(Report::new(Verdict::Succeeded, "done")),
            error: None,
        },
        delay: Duration::ZERO,
    };
    store.finish(&[ended]).await.expect("finish");
    // Without rules it would look again after ten times the poll.
    tokio::time::timeout(Duration::from_secs(8), handler.one_begins())
        .await
        .expect("the place is taken");
    handler.leave.add_permits(1);
    worker.stop().await;
}

async fn take_one(store: &Store) -> Lease {
    let row = WorkerRow {
        id: "other".to_owned(),
        host: "elsewhere".to_owned(),
        pid: 1,
        agents: vec!["devops".to_owned()],
        serves: vec!["gated/1".to_owned()],
    };
    store
        .register_worker(&row, Duration::from_secs(600))
        .await
        .expect("register");
    let claim = Claim {
        worker: row.id,
        agents: row.agents,
        served: vec![Served {
            task_type: "gated".to_owned(),
            version: 1,
            resumes: vec![1],
            deadline: None,
        }],
        limit: 2,
        oldest: 0,
        max_depth: 64,
        over: Vec::new(),
    };
    let mut claimed = store
        .claim(&claim, &store::Taken::default())
        .await
        .expect("claim");
    assert_eq!(claimed.len(), 1, "one place");
    claimed.remove(0).lease
}
