//! What two workers carry when nothing disturbs them and there is always more to do.

use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::cell::{PATIENCE, WARM_UP, rate_in};
use super::worker::Crews;
use crate::Result;
use crate::server::{Database, Server};

/// More than anything here completes in a second: the tasks must not run out.
const AT_MOST: f64 = 5_000.0;

/// Tasks a second, the median over the parts of a window.
pub async fn find(server: &Server, window: Duration) -> Result<f64> {
    const NAME: &str = "capacity";
    let database = server.database(NAME).await?;
    let warm_up = WARM_UP.min(window);
    let tasks = (AT_MOST * (warm_up + window).as_secs_f64()).ceil();
    database
        .execute(&format!(
            "INSERT INTO tasks (task_type, payload) SELECT 'deploy', '{{\"instruction\": \"nothing\"}}'
               FROM generate_series(1, {tasks})"
        ))
        .await?;
    let mut crews = Crews::start(&database).await?;
    until_first(&database).await?;
    tokio::time::sleep(warm_up).await;
    let from = SystemTime::now();
    tokio::time::sleep(window).await;
    let to = SystemTime::now();
    let left = database
        .number("SELECT count(*) FROM tasks WHERE status = 'pending'")
        .await?;
    crews.check()?;
    if left == 0 {
        return Err(format!("two workers did more than {AT_MOST} tasks a second and ran out of them").into());
    }
    let found = rate_in(&database, from, to, f64::INFINITY).await?;
    drop(crews);
    server.forget(NAME).await?;
    match found > 0.0 {
        true => Ok(found),
        false => Err("two undisturbed workers completed next to nothing; take a longer --window".into()),
    }
}

/// On a busy machine a worker may take its time to begin; that is not what is measured.
async fn until_first(database: &Database) -> Result<()> {
    let started = Instant::now();
    while database
        .number("SELECT count(*) FROM tasks WHERE status = 'completed'")
        .await?
        == 0
    {
        if started.elapsed() > PATIENCE {
            return Err("two undisturbed workers completed nothing".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

pub fn json(found: f64) -> Value {
    json!({"name": "capacity", "value": (found * 100.0).round() / 100.0, "unit": "tasks/s", "pass": true})
}
