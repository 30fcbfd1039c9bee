//! A handler that asks people, and a worker that runs it.

use std::sync::Arc;
use std::time::Duration;

use domain::{Error, Report, Verdict};
use durable::{Cause, Handler, Stop, TaskCx};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use worker::{Config, Registry, Worker};

use crate::served::Served;

#[derive(Deserialize, JsonSchema)]
pub struct Params {
    asks: Vec<String>,
    /// All at once instead of one after another.
    #[serde(default)]
    together: bool,
    /// What is asked before the task is undone.
    #[serde(default)]
    undo: Option<String>,
}

struct Asker;

impl Handler for Asker {
    const TASK_TYPES: &'static [&'static str] = &["ask"];
    type Params = Params;

    async fn run(&self, cx: &TaskCx, params: &Params) -> Result<Report, Stop> {
        cx.step("plan", |_| async { Ok(()) }).await?;
        let mut told = Vec::new();
        if params.together {
            let mut asking = Vec::new();
            for (at, what) in params.asks.iter().enumerate() {
                let branch = cx.branch(&format!("{at} {what}"))?;
                asking.push(async move { ask(&branch, what).await });
            }
            told = durable::join_all(asking).await?;
        } else {
            for what in &params.asks {
                told.push(ask(cx, what).await?);
            }
        }
        Ok(Report::new(Verdict::Succeeded, told.join("; ")))
    }

    async fn unwind(&self, cx: &TaskCx, params: &Params, cause: &Cause) -> Result<Report, Stop> {
        let mut report = cause.report();
        if let Some(what) = &params.undo {
            report.summary = ask(cx, what).await?;
        }
        Ok(report)
    }
}

async fn ask(cx: &TaskCx, what: &str) -> Result<String, Stop> {
    let Some(approval) = cx.wait_for_approval(what, None).await? else {
        return Err(Error::rejected("nobody decided").into());
    };
    let told = format!(
        "{what} {} by {} ({})",
        approval.decision.as_str(),
        approval.by,
        approval.comment.as_deref().unwrap_or("no comment")
    );
    if approval.is_approved() {
        Ok(told)
    } else {
        Err(Error::rejected(told).into())
    }
}

/// Runs until it is dropped.
pub async fn work(served: &Served) -> DropGuard {
    let store = served.database.worker_store().await;
    let config = Config {
        poll: Duration::from_millis(20),
        listens: false,
        ..Config::default()
    };
    let stop = CancellationToken::new();
    let worker = Worker::new(
        store,
        Registry::new().register(Asker),
        config,
        Arc::new(Notify::new()),
    );
    tokio::spawn(worker.run(stop.clone(), stop.clone()));
    stop.drop_guard()
}

/// Makes a task that asks, and waits until it does.
pub async fn asking(served: &Served, asks: &[&str], together: bool) -> String {
    let body = json!({"type": "ask", "to": "devops", "payload": {"asks": asks, "together": together}});
    let (status, made) = served.post("/api/tasks", body.to_string()).await;
    assert_eq!(status, 201, "{made}");
    let id = made["task_id"].as_str().unwrap().to_owned();
    reaches(served, &id, "waiting").await;
    id
}

/// The task once it is in that state.
pub async fn reaches(served: &Served, id: &str, state: &str) -> Value {
    let mut task = Value::Null;
    for _ in 0..1000 {
        task = served.get(&format!("/api/tasks/{id}")).await.1["task"].clone();
        if task["state"] == state {
            return task;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the task never is {state}: {task}");
}
