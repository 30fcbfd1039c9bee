//! How long an idle system takes from the end of an enqueue call to the start of the handler.

use std::time::{Duration, Instant};

use domain::{NewTask, Report, Verdict};
use durable::{Cause, Handler, Stop, TaskCx};
use serde_json::json;
use store::Store;
use tokio::sync::mpsc;
use worker::Registry;

use crate::Result;
use crate::crew::{Anything, Crew};
use crate::server::Database;

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
    let mut waits = Vec::new();
    // The first ones open connections and prepare statements.
    for counted in std::iter::repeat_n(false, 10).chain(std::iter::repeat_n(true, pickups as usize)) {
        let pause = rand::random_range(PAUSE_MS);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        desk.create_task(&NewTask::new("deploy", json!({"instruction": "nothing"})))
            .await?;
        let returned = Instant::now();
        let started = tokio::time::timeout(PATIENCE, started.recv())
            .await
            .map_err(|_| format!("a task was not started within {PATIENCE:?}"))?
            .ok_or("the worker is gone")?;
        if counted {
            waits.push(started.saturating_duration_since(returned).as_secs_f64() * 1e3);
        }
    }
    crew.finish().await?;
    desk.close().await;
    Ok(waits)
}
