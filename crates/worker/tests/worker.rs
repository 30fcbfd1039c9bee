//! The worker over a real Postgres: what goes in by SQL comes out by SQL.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::{Error, NewTask, Report, Verdict};
use durable::{Cause, Handler, Stop, TaskCx};
use schemars::JsonSchema;
use serde::Deserialize;
use testkit::postgres::{self, Database};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Config, Registry, Worker};

#[derive(Deserialize, JsonSchema)]
struct Params {
    #[serde(default)]
    script: String,
}

/// Does what the payload's `script` says.
#[derive(Clone, Default)]
struct Scripted {
    undone: Arc<AtomicU32>,
    failures: Arc<AtomicU32>,
    entered: Arc<Notify>,
}

impl Handler for Scripted {
    const TASK_TYPES: &'static [&'static str] = &["scripted"];
    type Params = Params;

    async fn run(&self, cx: &TaskCx, params: &Params) -> Result<Report, Stop> {
        match params.script.as_str() {
            "fail" => Err(Error::rejected("it was told to fail").into()),
            "panic" => panic!("it was told to panic"),
            "flaky" => {
                cx.step("try", |_| async {
                    match self.failures.fetch_add(1, Ordering::SeqCst) {
                        0 | 1 => Err(Error::unavailable("not yet")),
                        _ => Ok(()),
                    }
                })
                .await?;
                Ok(Report::new(Verdict::Succeeded, "at the third try"))
            }
            "hang" => {
                self.entered.notify_one();
                cx.step("hang", |_| std::future::pending::<Result<(), Error>>())
                    .await?;
                unreachable!("a pending step never ends")
            }
            "wait" => {
                self.entered.notify_one();
                let answer: Option<String> = cx.wait_for("approval", None).await?;
                Ok(Report::new(
                    Verdict::Succeeded,
                    format!("approved by {}", answer.unwrap_or_default()),
                ))
            }
            "parent" => {
                let child = cx
                    .spawn(
                        "child",
                        NewTask::new("scripted", serde_json::json!({})).assigned_to("devops"),
                    )
                    .await?;
                let outcome = cx.await_child(&child).await?;
                Ok(Report::new(
                    Verdict::Succeeded,
                    format!("child {}", outcome.status),
                ))
            }
            "lock" => {
                cx.lock("shared").await?;
                cx.wait_for::<String>("go", None).await?;
                Ok(Report::new(Verdict::Succeeded, "had the lock"))
            }
            "nul" => {
                let mut report = Report::new(Verdict::Succeeded, "nul \0 in it");
                report.data = serde_json::json!({"k": "a\0b"});
                Ok(report)
            }
            _ => {
                let text = cx.step("say", |_| async { Ok("done".to_owned()) }).await?;
                Ok(Report::new(Verdict::Succeeded, text))
            }
        }
    }

    async fn unwind(&self, cx: &TaskCx, _: &Params, cause: &Cause) -> Result<Report, Stop> {
        cx.step("undo", |_| async {
            self.undone.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .await?;
        Ok(cause.report())
    }
}

struct Running {
    stop: CancellationToken,
    kill: CancellationToken,
    done: JoinHandle<domain::Result<()>>,
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.done.await.unwrap().unwrap();
    }
}

async fn start(db: &Database, handler: &Scripted, config: Config) -> Running {
    let store = db.worker_store().await;
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let registry = Registry::new().register(handler.clone());
    let worker = Worker::new(store, registry, config, Arc::new(Notify::new()));
    let done = tokio::spawn(worker.run(stop.clone(), kill.clone()));
    Running { stop, kill, done }
}

fn fast() -> Config {
    Config {
        poll: Duration::from_millis(20),
        listens: false,
        lease: Duration::from_secs(3),
        grace: Duration::from_secs(5),
        cancel_grace: Duration::from_millis(50),
        retry_base: Duration::from_millis(10),
        ..Config::default()
    }
}

async fn insert(db: &Database, id: &str, script: &str) {
    db.sql(&format!(
        "INSERT INTO tasks (id, task_type, assigned_to, payload) VALUES ('{id}', 'scripted', 'devops', '{{\"script\": \"{script}\"}}')"
    ))
    .await;
}

/// Waits until a query says `t`.
async fn until(db: &Database, condition: &str) {
    let check = async {
        while db.value(&format!("SELECT {condition}")).await.as_deref() != Some("t") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(30), check)
        .await
        .is_err()
    {
        let rows = db
            .sql("SELECT id, status, error, wait, run_at, worker_id FROM tasks")
            .await;
        panic!("{condition} did not come true; tasks: {rows:#?}");
    }
}

async fn until_status(db: &Database, id: &str, status: &str) {
    until(
        db,
        &format!(
            "EXISTS (SELECT FROM tasks WHERE id = '{id}' AND status = '{status}' AND worker_id IS NULL)"
        ),
    )
    .await;
}

async fn summary(db: &Database, id: &str) -> String {
    db.value(&format!("SELECT result->>'summary' FROM tasks WHERE id = '{id}'"))
        .await
        .unwrap_or_default()
}

#[tokio::test]
async fn tasks_end_as_their_handlers_say() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    for script in ["ok", "fail", "panic", "flaky", "nul", "parent"] {
        insert(&db, script, script).await;
    }
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('odd', 'knit', 'devops'), ('free', 'scripted', NULL), ('theirs', 'scripted', 'builder')").await;
    db.sql("INSERT INTO tasks (id, task_type, repo_id) VALUES ('norepo', 'scripted', 'nowhere')")
        .await;
    let worker = start(&db, &handler, fast()).await;
    for id in ["ok", "flaky", "nul", "free", "parent"] {
        until_status(&db, id, "completed").await;
    }
    for id in ["fail", "panic", "odd", "norepo"] {
        until_status(&db, id, "failed").await;
    }
    assert_eq!(summary(&db, "ok").await, "done");
    assert_eq!(summary(&db, "flaky").await, "at the third try");
    assert_eq!(summary(&db, "nul").await, "nul \u{fffd} in it");
    assert_eq!(summary(&db, "parent").await, "child completed");
    let error = |id: &str| {
        let sql = format!("SELECT error FROM tasks WHERE id = '{id}'");
        let db = &db;
        async move { db.value(&sql).await.unwrap_or_default() }
    };
    assert!(
        error("panic").await.contains("it was told to panic") && error("panic").await.contains("worker.rs:")
    );
    assert_eq!(
        error("odd").await,
        "task_type \"knit\" is not one that this worker serves. Send one of: scripted"
    );
    assert!(
        error("norepo")
            .await
            .starts_with("repo_id \"nowhere\" is not in the table repos")
    );
    assert_eq!(
        handler.undone.load(Ordering::SeqCst),
        2,
        "the failed and the panicked were undone"
    );
    assert_eq!(
        db.value("SELECT status FROM tasks WHERE id = 'theirs'")
            .await
            .as_deref(),
        Some("pending")
    );
    worker.stop().await;
    assert_eq!(
        db.value("SELECT count(*) FROM longshore.workers")
            .await
            .as_deref(),
        Some("0")
    );
}

#[tokio::test]
async fn a_foreign_cancel_of_a_running_and_of_a_parked_task_unwinds_it() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "running", "hang").await;
    insert(&db, "parked", "wait").await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "parked", "waiting").await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'running' AND status = 'in_progress')",
    )
    .await;
    db.sql("UPDATE tasks SET status = 'cancelled' WHERE id IN ('running', 'parked')")
        .await;
    for id in ["running", "parked"] {
        until(&db, &format!("EXISTS (SELECT FROM tasks WHERE id = '{id}' AND status = 'cancelled' AND completed_at IS NOT NULL AND result IS NOT NULL)")).await;
    }
    assert_eq!(handler.undone.load(Ordering::SeqCst), 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_signal_wakes_a_parked_task_and_a_lock_passes_on() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    let store = db.store().await;
    insert(&db, "asks", "wait").await;
    insert(&db, "a", "lock").await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "asks", "waiting").await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'a' AND wait->'signals' IS NOT NULL)",
    )
    .await;
    insert(&db, "b", "lock").await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'b' AND wait->>'why' = 'pending, behind task a on shared')",
    )
    .await;
    assert!(
        store
            .signal(&"asks".into(), "approval", &serde_json::json!("ada"))
            .await
            .unwrap()
    );
    assert!(
        store
            .signal(&"a".into(), "go", &serde_json::json!(""))
            .await
            .unwrap()
    );
    assert!(
        store
            .signal(&"b".into(), "go", &serde_json::json!(""))
            .await
            .unwrap()
    );
    for id in ["asks", "a", "b"] {
        until_status(&db, id, "completed").await;
    }
    assert_eq!(summary(&db, "asks").await, "approved by ada");
    assert_eq!(
        db.value("SELECT count(*) FROM longshore.resource_locks")
            .await
            .as_deref(),
        Some("0")
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_drained_worker_hands_back_what_does_not_end_and_a_second_signal_ends_the_grace() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "hangs", "hang").await;
    let config = Config {
        grace: Duration::from_secs(3600),
        ..fast()
    };
    let worker = start(&db, &handler, config).await;
    handler.entered.notified().await;
    worker.stop.cancel();
    worker.kill.cancel();
    worker.done.await.unwrap().unwrap();
    let row = db.sql("SELECT status, worker_id, crashes FROM tasks").await;
    assert_eq!(row, [[Some("waiting".to_owned()), None, Some("0".to_owned())]]);
    let next = start(&db, &handler, fast()).await;
    handler.entered.notified().await;
    assert_eq!(db.value("SELECT attempt FROM tasks").await.as_deref(), Some("2"));
    next.kill.cancel();
    next.stop().await;
}

#[tokio::test]
async fn a_dead_workers_task_is_taken_over_when_its_lease_is_over() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    db.sql(
        "INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
         VALUES ('dead', 'h', 1, '{devops}', '{scripted/1}', clock_timestamp() + interval '1 second');
         INSERT INTO tasks (id, task_type, assigned_to, status, worker_id, attempt, handler_version)
         VALUES ('orphan', 'scripted', 'devops', 'in_progress', 'dead', 1, 1)",
    )
    .await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "orphan", "completed").await;
    let row = db.sql("SELECT attempt, crashes FROM tasks").await;
    assert_eq!(row, [[Some("2".to_owned()), Some("1".to_owned())]]);
    worker.stop().await;
}
