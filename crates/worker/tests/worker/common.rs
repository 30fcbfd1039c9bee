//! A handler that does what its payload says, and a worker to run it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::{Error, NewTask, Report, Verdict};
use durable::{Cause, Handler, Stop, TaskCx};
use schemars::JsonSchema;
use serde::Deserialize;
use testkit::postgres::Database;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use worker::{Config, Registry, Worker};

#[derive(Deserialize, JsonSchema)]
pub struct Params {
    #[serde(default)]
    pub script: String,
}

/// Does what the payload's `script` says.
#[derive(Clone, Default)]
pub struct Scripted {
    pub undone: Arc<AtomicU32>,
    pub failures: Arc<AtomicU32>,
    pub entered: Arc<Notify>,
    pub order: Arc<Mutex<Vec<String>>>,
}

impl Handler for Scripted {
    const TASK_TYPES: &'static [&'static str] = &["scripted"];
    type Params = Params;

    fn parse(&self, payload: &serde_json::Value) -> Result<Params, Error> {
        assert_ne!(payload["script"], "panic while reading", "it was told to panic");
        durable::from_payload(payload)
    }

    async fn run(&self, cx: &TaskCx, params: &Params) -> Result<Report, Stop> {
        let (script, argument) = params.script.split_once(':').unwrap_or((&params.script, ""));
        match script {
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
                let payload = serde_json::json!({ "script": argument });
                let child = cx
                    .spawn("child", NewTask::new("scripted", payload).assigned_to("devops"))
                    .await?;
                let outcome = cx.await_child(&child).await?;
                Ok(Report::new(
                    Verdict::Succeeded,
                    format!("child {}", outcome.status),
                ))
            }
            "parent by key" => {
                let child = NewTask::new("scripted", serde_json::json!({ "script": argument }))
                    .assigned_to("devops")
                    .dedupe_key("the only one");
                let child = cx.spawn("child", child).await?;
                let outcome = cx.await_child(&child).await?;
                match outcome.error {
                    Some(error) => Err(Error::rejected(format!("the child failed: {error}")).into()),
                    None => Ok(Report::new(Verdict::Succeeded, "the child did it")),
                }
            }
            "parent of theirs" => {
                let child = NewTask::new("knit", serde_json::json!({})).assigned_to("builder");
                let child = cx.spawn("child", child).await?;
                let outcome = cx.await_child(&child).await?;
                let why = outcome.error.unwrap_or_default();
                Ok(Report::new(
                    Verdict::Succeeded,
                    format!("child {} {why}", outcome.status),
                ))
            }
            "parent of two" => {
                let mut children = Vec::new();
                for name in ["one", "two"] {
                    let child = NewTask::new("knit", serde_json::json!({})).assigned_to("builder");
                    children.push(cx.spawn(name, child).await?);
                }
                for child in &children {
                    cx.await_child(child).await?;
                }
                Ok(Report::new(Verdict::Succeeded, "both are there"))
            }
            "lock" => {
                cx.lock("shared").await?;
                cx.wait_for::<String>("go", None).await?;
                Ok(Report::new(Verdict::Succeeded, "had the lock"))
            }
            "count" => {
                self.order
                    .lock()
                    .expect("the order")
                    .push(cx.task().id.to_string());
                Ok(Report::new(Verdict::Succeeded, "counted"))
            }
            "hold" => {
                let held = cx
                    .step("ask", |_| async {
                        Ok(self.failures.fetch_add(1, Ordering::SeqCst))
                    })
                    .await?;
                match self.failures.load(Ordering::SeqCst) {
                    1 => {
                        self.failures.fetch_add(1, Ordering::SeqCst);
                        Err(Stop::Hold("somebody must look".to_owned()))
                    }
                    _ => Ok(Report::new(Verdict::Succeeded, format!("went on after {held}"))),
                }
            }
            "down" => {
                self.failures.fetch_add(1, Ordering::SeqCst);
                cx.step("reach", |_| async {
                    Err::<(), _>(Error::unavailable("the registry is down"))
                })
                .await?;
                unreachable!("the step always fails")
            }
            "hold with nul" => Err(Stop::Hold("a log says a\0b".to_owned())),
            "retry with nul" => Err(Stop::Retry(Error::unavailable("the far side says a\0b"))),
            "fail with nul" => {
                cx.step("read", |_| async {
                    Err::<(), _>(Error::rejected("the far side says a\0b"))
                })
                .await?;
                unreachable!("the step always fails")
            }
            "child with nul" => {
                let child =
                    NewTask::new("knit", serde_json::json!({"excerpt": "a\0b"})).assigned_to("builder");
                cx.spawn("child", child).await?;
                Ok(Report::new(Verdict::Succeeded, "handed on"))
            }
            "asked to come back late" => Err(Stop::Retry(Error::rate_limited(
                "too many requests",
                Some(Duration::from_secs(u64::from(u32::MAX) * 10_000)),
            ))),
            "deep" => {
                let deep =
                    |depth| (0..depth).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
                cx.step("read", |_| async { Ok(deep(200)) }).await?;
                Ok(Report::new(Verdict::Succeeded, "read"))
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

pub struct Running {
    pub stop: CancellationToken,
    pub kill: CancellationToken,
    pub done: JoinHandle<domain::Result<()>>,
}

impl Running {
    pub async fn stop(self) {
        self.stop.cancel();
        self.done.await.unwrap().unwrap();
    }
}

pub async fn start(db: &Database, handler: &Scripted, config: Config) -> Running {
    let store = db.worker_store().await;
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let registry = Registry::new().register(handler.clone());
    let worker = Worker::new(store, registry, config, Arc::new(Notify::new()));
    let done = tokio::spawn(worker.run(stop.clone(), kill.clone()));
    Running { stop, kill, done }
}

pub fn fast() -> Config {
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

pub async fn insert(db: &Database, id: &str, script: &str) {
    db.sql(&format!(
        "INSERT INTO tasks (id, task_type, assigned_to, payload) VALUES ('{id}', 'scripted', 'devops', '{{\"script\": \"{script}\"}}')"
    ))
    .await;
}

/// Waits until a query says `t`.
pub async fn until(db: &Database, condition: &str) {
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

pub async fn until_status(db: &Database, id: &str, status: &str) {
    until(
        db,
        &format!(
            "EXISTS (SELECT FROM tasks WHERE id = '{id}' AND status = '{status}' AND worker_id IS NULL)"
        ),
    )
    .await;
}

pub async fn summary(db: &Database, id: &str) -> String {
    db.value(&format!("SELECT result->>'summary' FROM tasks WHERE id = '{id}'"))
        .await
        .unwrap_or_default()
}
