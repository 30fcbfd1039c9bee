//! How fast many tasks are put into the table at once, beside what Postgres itself can take into that table.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::Api;
use serde_json::Value;
use store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::server::{Database, Server};

/// Rows that one statement brings.
const STATEMENT: u64 = 1000;
/// Tasks that one call brings.
const CALL: u64 = 5000;
/// Calls under way at the same time.
const CALLERS: usize = 2;

/// How tasks are put in.
#[derive(Clone, Copy)]
pub enum Enqueue {
    Calls,
    Statements,
}

impl Enqueue {
    pub fn name(self) -> &'static str {
        match self {
            Self::Calls => "enqueue_bulk",
            Self::Statements => "enqueue_sql",
        }
    }

    pub fn setting(self, tasks: u64) -> String {
        match self {
            Self::Calls => format!(
                "{tasks} tasks over HTTP, {} a call, {} callers, beside COPY",
                CALL, CALLERS
            ),
            Self::Statements => format!("{tasks} tasks in statements of {} rows, beside COPY", STATEMENT),
        }
    }

    pub async fn measure(self, server: &Server, tasks: u64) -> Result<f64> {
        match self {
            Self::Calls => post(server, tasks).await,
            Self::Statements => insert(server, tasks).await,
        }
    }
}

fn payload(i: u64) -> String {
    format!(r#"{{"instruction": "deploy v1.4.{i} to staging"}}"#)
}

fn batches<T>(rows: u64, size: u64, of: impl Fn(std::ops::Range<u64>) -> T) -> Vec<T> {
    let step = usize::try_from(size).unwrap_or(usize::MAX);
    let firsts = (0..rows).step_by(step);
    firsts.map(|first| of(first..rows.min(first + size))).collect()
}

/// Rows a second by COPY, the fastest way there is into a table, with all its indexes and triggers.
pub async fn copy(server: &Server, rows: u64) -> Result<f64> {
    let name = "enqueue_copy";
    let database = server.database(name).await?;
    server.settle().await?;
    let mut text = String::new();
    for i in 0..rows {
        writeln!(text, "deploy\t{}", payload(i))?;
    }
    let mut connection = database.connect().await?;
    let started = Instant::now();
    let mut copy = connection
        .copy_in_raw("COPY tasks (task_type, payload) FROM STDIN")
        .await?;
    copy.send(text.as_bytes()).await?;
    copy.finish().await?;
    let took = started.elapsed();
    counted(&database, rows).await?;
    drop(connection);
    server.forget(name).await?;
    Ok(rows as f64 / took.as_secs_f64())
}

/// Rows a second by statements of many rows each, as any client can send them.
async fn insert(server: &Server, rows: u64) -> Result<f64> {
    let name = "enqueue_sql";
    let database = server.database(name).await?;
    server.settle().await?;
    let batches = batches(rows, STATEMENT, |of| of.map(payload).collect::<Vec<String>>());
    let mut connection = database.connect().await?;
    let started = Instant::now();
    for batch in &batches {
        sqlx::query(
            "INSERT INTO tasks (task_type, payload) SELECT 'deploy', p::jsonb FROM unnest($1::text[]) p",
        )
        .bind(batch)
        .execute(&mut connection)
        .await?;
    }
    let took = started.elapsed();
    counted(&database, rows).await?;
    drop(connection);
    server.forget(name).await?;
    Ok(rows as f64 / took.as_secs_f64())
}

/// Tasks a second by `POST /api/tasks/bulk` over loopback, from the first byte sent to the last answer read.
async fn post(server: &Server, rows: u64) -> Result<f64> {
    let name = "enqueue_bulk";
    let database = server.database(name).await?;
    let served = Served::start(&database).await?;
    server.settle().await?;
    let bodies = batches(rows, CALL, |of| {
        let count = of.end - of.start;
        let line = |i| format!("{{\"type\": \"deploy\", \"payload\": {}}}\n", payload(i));
        (bytes::Bytes::from(of.map(line).collect::<String>()), count)
    });
    // Connections are there before they are needed, as a program has them that enqueues all day.
    let http = reqwest::Client::new();
    let empty = (bytes::Bytes::new(), 0);
    call(&http, &served.url, &empty).await?;

    let calls = Arc::new((AtomicUsize::new(0), bodies));
    let mut callers = JoinSet::new();
    let started = Instant::now();
    for _ in 0..CALLERS {
        let (calls, http, url) = (calls.clone(), http.clone(), served.url.clone());
        callers.spawn(async move {
            let (next, bodies) = &*calls;
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                call(&http, &url, body).await?;
            }
            Result::Ok(())
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended??;
    }
    let took = started.elapsed();
    counted(&database, rows).await?;
    served.end().await;
    server.forget(name).await?;
    Ok(rows as f64 / took.as_secs_f64())
}

/// Sends some tasks and reads the answer: each must have been created.
async fn call(http: &reqwest::Client, url: &str, (lines, count): &(bytes::Bytes, u64)) -> Result<()> {
    let request = http
        .post(url)
        .header("content-type", "application/x-ndjson")
        .body(lines.clone());
    let response = request.send().await?.error_for_status()?;
    let answer: Value = serde_json::from_slice(&response.bytes().await?)?;
    match answer["created"].as_u64() == Some(*count) {
        true => Ok(()),
        false => Err(format!("the API answered {answer} to {count} tasks").into()),
    }
}

/// The API as `longshore serve` wires it on loopback, in this process; no log is written.
struct Served {
    store: Store,
    url: String,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<domain::Result<()>>,
}

impl Served {
    async fn start(database: &Database) -> Result<Self> {
        let store = Store::connect(store::Config {
            application_name: "longshore-api".to_owned(),
            ..store::Config::new(&database.url)
        })
        .await?;
        let config = api::Config {
            tokens: Vec::new(),
            open: true,
            hosts: Some(Vec::new()),
            gitlab_webhook_secret: None,
            github_webhook_secret: None,
            request_timeout: Duration::from_secs(30),
            live_check: Duration::from_secs(15),
            agent: "devops".to_owned(),
            version: env!("CARGO_PKG_VERSION"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/api/tasks/bulk", listener.local_addr()?);
        let stop = CancellationToken::new();
        let serving = tokio::spawn(api::serve(
            listener,
            Api::new(store.clone(), config, None),
            stop.clone(),
        ));
        Ok(Self {
            store,
            url,
            stop,
            serving,
        })
    }

    async fn end(self) {
        self.stop.cancel();
        // Connections that the client keeps do not hold it up for long.
        let _ = self.serving.await;
        self.store.close().await;
    }
}

async fn counted(database: &Database, rows: u64) -> Result<()> {
    let there = database
        .number("SELECT count(*) FROM tasks WHERE status = 'pending' AND payload ? 'instruction'")
        .await?;
    match u64::try_from(there) == Ok(rows) {
        true => Ok(()),
        false => Err(format!("{there} tasks are there instead of {rows}").into()),
    }
}
