//! Two workers under a steady load while the database goes away and comes back: nothing lost, nothing doubled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::{Report, Verdict};
use durable::{Cause, Handler, Reconciled, Stop, TaskCx};
use schemars::JsonSchema;
use serde::Deserialize;
use testkit::postgres::{Database, Postgres};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Config, Registry, Worker};

const TASKS: usize = 120;

#[derive(Deserialize, JsonSchema)]
struct Params {}

/// Does two effects that the world outside counts by key.
#[derive(Clone, Default)]
struct Counting {
    outside: Arc<Mutex<HashMap<String, u32>>>,
}

impl Counting {
    async fn once(&self, cx: &TaskCx, key: &str) -> Result<(), Stop> {
        cx.effect(key)
            .reconcile(|idem| async move {
                let done = self.outside.lock().expect("the world").contains_key(idem.key());
                Ok(if done {
                    Reconciled::Found(())
                } else {
                    Reconciled::Absent
                })
            })
            .run(|idem| async move {
                *self
                    .outside
                    .lock()
                    .expect("the world")
                    .entry(idem.key().to_owned())
                    .or_default() += 1;
                Ok(())
            })
            .await
    }
}

impl Handler for Counting {
    const TASK_TYPES: &'static [&'static str] = &["count"];
    type Params = Params;

    async fn run(&self, cx: &TaskCx, _: &Params) -> Result<Report, Stop> {
        self.once(cx, "first").await?;
        cx.step("between", |_| async { Ok(1) }).await?;
        self.once(cx, "second").await?;
        Ok(Report::new(Verdict::Succeeded, "counted"))
    }

    async fn unwind(&self, _: &TaskCx, _: &Params, cause: &Cause) -> Result<Report, Stop> {
        Ok(cause.report())
    }
}

struct Load {
    db: Database,
    handler: Counting,
    stop: CancellationToken,
    workers: Vec<JoinHandle<domain::Result<()>>>,
}

impl Load {
    /// Two workers on a server of their own, and tasks that keep coming while the test does its worst.
    async fn start() -> Self {
        Self::with_slots(4).await
    }

    async fn with_slots(slots: u32) -> Self {
        let db = Postgres::own().await.database().await;
        let handler = Counting::default();
        let stop = CancellationToken::new();
        let mut workers = Vec::new();
        for _ in 0..2 {
            let config = Config {
                poll: Duration::from_millis(50),
                listens: false,
                lease: Duration::from_secs(5),
                slots,
                retry_base: Duration::from_millis(10),
                // An outage may fail a task's attempts again and again; none of them is the task's fault.
                default_limits: worker::TypeLimits {
                    max_attempts: 1000,
                    ..Default::default()
                },
                max_crashes: 1000,
                ..Config::default()
            };
            let registry = Registry::new().register(handler.clone());
            let worker = Worker::new(db.worker_store().await, registry, config, Arc::new(Notify::new()));
            workers.push(tokio::spawn(worker.run(stop.clone(), CancellationToken::new())));
        }
        Self {
            db,
            handler,
            stop,
            workers,
        }
    }

    async fn add(&self, from: usize, to: usize) {
        let sql = format!(
            "INSERT INTO tasks (id, task_type, assigned_to) SELECT 'task-' || n, 'count', 'devops' FROM generate_series({from}, {}) n",
            to - 1
        );
        self.db.sql(&sql).await;
    }

    async fn until_done(&self, least: usize) {
        let done = async {
            loop {
                let done = self
                    .db
                    .try_sql("SELECT count(*) FROM tasks WHERE status = 'completed'")
                    .await;
                let done = done
                    .ok()
                    .and_then(|rows| rows.first()?.first()?.clone()?.parse::<usize>().ok());
                if done.is_some_and(|done| done >= least) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(90), done).await.is_err() {
            let left = self
                .db
                .sql(
                    "SELECT id, status, attempt, wait, error FROM tasks WHERE status <> 'completed' LIMIT 10",
                )
                .await;
            panic!("not all tasks were done: {left:#?}");
        }
    }

    async fn end(self) {
        self.end_of(TASKS).await;
    }

    async fn end_of(self, tasks: usize) {
        self.until_done(tasks).await;
        let outside = self.handler.outside.lock().expect("the world").clone();
        assert_eq!(outside.len(), 2 * tasks, "every effect happened");
        let doubled: Vec<_> = outside.iter().filter(|(_, times)| **times != 1).collect();
        assert!(doubled.is_empty(), "doubled: {doubled:?}");
        let steps = self
            .db
            .value("SELECT count(*) FROM longshore.task_steps WHERE outcome IS NOT NULL")
            .await;
        assert_eq!(steps, Some((3 * tasks).to_string()));
        self.stop.cancel();
        for worker in self.workers {
            worker
                .await
                .expect("a worker panicked")
                .expect("a worker gave up");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_killed_and_started_again() {
    let load = Load::start().await;
    load.add(0, TASKS / 2).await;
    load.until_done(5).await;
    load.db.server().kill().await;
    load.db.server().start().await;
    load.add(TASKS / 2, TASKS).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_restarted_again_and_again() {
    let load = Load::start().await;
    for round in 0..3 {
        load.add(round * TASKS / 3, (round + 1) * TASKS / 3).await;
        load.until_done(round * TASKS / 3 + 3).await;
        load.db.server().restart().await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_sessions_are_killed_again_and_again() {
    let load = Load::start().await;
    load.add(0, TASKS).await;
    for done in (0..TASKS).step_by(10) {
        load.until_done(done).await;
        load.db.kill_sessions().await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_killed_while_several_claims_are_under_way() {
    const MANY: usize = 3000;
    let load = Load::with_slots(2000).await;
    load.add(0, MANY).await;
    for done in (0..MANY).step_by(300) {
        load.until_done(done).await;
        load.db.kill_sessions().await;
    }
    load.end_of(MANY).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_take_every_connection_for_a_while() {
    let load = Load::start().await;
    load.add(0, TASKS / 2).await;
    load.until_done(5).await;
    let mut greedy = vec![load.db.session().await];
    for _ in 0..3 {
        let workers = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'longshore-worker'";
        greedy[0].sql(workers).await;
        while let Ok(session) = load.db.try_session().await {
            greedy.push(session);
        }
    }
    assert!(load.db.try_session().await.is_err(), "no place is left");
    drop(greedy);
    load.add(TASKS / 2, TASKS).await;
    load.end().await;
}
