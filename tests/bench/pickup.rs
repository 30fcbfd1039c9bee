//! How long an idle system takes from the end of an enqueue call to the start of the handler, beside what the server itself
//! gives: a notification and a claim in plain SQL.

use std::time::{Duration, Instant};

use domain::{NewTask, Report, Verdict};
use durable::{Cause, Handler, Stop, TaskCx};
use serde_json::json;
use sqlx::postgres::PgListener;
use store::Store;
use tokio::sync::mpsc;
use worker::Registry;

use crate::Result;
use crate::crew::{Anything, Crew};
use crate::server::{Database, Server};

/// Between two tasks: a random length, so that no timer of ours beats with it, and long enough that all is quiet again.
const PAUSE_MS: std::ops::Range<u64> = 20..60;
/// How long one task may stay away before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says when it was started.
struct Punctual(mpsc::UnboundedSender<Instant>);

impl Handler for Punctual {
    const TASK_TYPES: &'static [&'static str] = &["deploy"];
    type Params = Anything;

    async fn run(&self, _cx: &TaskCx, _params: &Anything) -> std::result::Result<Report, Stop> {
        // Nobody listens any more when the measurement was given up.
        let _ = self.0.send(Instant::now());
        Ok(Report::new(Verdict::Succeeded, "started"))
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

/// Milliseconds from the return of each enqueue call to the start of what it put there.
async fn each(
    pickups: u32,
    started: &mut mpsc::UnboundedReceiver<Instant>,
    mut enqueue: impl AsyncFnMut() -> Result<()>,
) -> Result<Vec<f64>> {
    let mut waits = Vec::new();
    // The first ones open connections and prepare statements.
    for counted in std::iter::repeat_n(false, 10).chain(std::iter::repeat_n(true, pickups as usize)) {
        tokio::time::sleep(Duration::from_millis(rand::random_range(PAUSE_MS))).await;
        enqueue().await?;
        let returned = Instant::now();
        let started = tokio::time::timeout(PATIENCE, started.recv())
            .await
            .map_err(|_| format!("a task was not started within {PATIENCE:?}"))?
            .ok_or("whoever takes tasks is gone")?;
        if counted {
            waits.push(started.saturating_duration_since(returned).as_secs_f64() * 1e3);
        }
    }
    Ok(waits)
}

/// Milliseconds of each pickup, on this process's monotonic clock. A handler that starts before the call has even
/// returned counts as 0.
pub async fn measure(database: &Database, pickups: u32, slots: u32) -> Result<Vec<f64>> {
    let (sender, mut started) = mpsc::unbounded_channel();
    let crew = Crew::start(&database.url, Registry::new().register(Punctual(sender)), slots).await?;
    let desk = Store::connect(store::Config {
        application_name: "longshore-api".to_owned(),
        ..store::Config::new(&database.url)
    })
    .await?;
    let waits = each(pickups, &mut started, async || {
        let task = NewTask::new("deploy", json!({"instruction": "nothing"}));
        desk.create_task(&task).await?;
        Ok(())
    })
    .await?;
    crew.finish().await?;
    desk.close().await;
    Ok(waits)
}

/// As [`measure`], of the raw limit's table: one connection puts a row in and notifies, another hears of it, and a third one
/// takes the row.
pub async fn bare(server: &Server, pickups: u32) -> Result<Vec<f64>> {
    const CHANNEL: &str = "bare_pickup";
    let database = server.bare_database(CHANNEL).await?;
    let mut desk = database.connect().await?;
    crate::server::execute(&mut desk, &crate::raw::SCHEMA.replace(":ROWS", "0")).await?;
    let mut listener = PgListener::connect(&database.url).await?;
    listener.listen(CHANNEL).await?;
    let mut claims = database.connect().await?;
    let (sender, mut started) = mpsc::unbounded_channel();
    let worker: tokio::task::JoinHandle<sqlx::Result<()>> = tokio::spawn(async move {
        loop {
            listener.recv().await?;
            sqlx::query(
                "UPDATE t SET status = 'in_progress', claimed_at = now(), attempt = attempt + 1
                  WHERE id = (SELECT id FROM t WHERE status = 'pending' AND run_at <= now()
                               ORDER BY priority DESC, run_at LIMIT 1 FOR UPDATE SKIP LOCKED)
                RETURNING id, payload",
            )
            .fetch_one(&mut claims)
            .await?;
            if sender.send(Instant::now()).is_err() {
                return Ok(());
            }
        }
    });
    let waits = each(pickups, &mut started, async || {
        sqlx::query(
            "WITH made AS (INSERT INTO t (task_type, payload) VALUES ('deploy', $1) RETURNING id)
             SELECT pg_notify($2, '') FROM made",
        )
        .bind(json!({"instruction": "nothing"}))
        .bind(CHANNEL)
        .execute(&mut desk)
        .await?;
        Ok(())
    })
    .await?;
    worker.abort();
    server.forget(CHANNEL).await?;
    Ok(waits)
}
