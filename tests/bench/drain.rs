//! How fast pending tasks go through the real worker, a handler that does nothing, and into finished rows.

use std::time::Instant;

use worker::Registry;

use crate::crew::{Countdown, Crew, Noop};
use crate::server::{self, Database};
use crate::{Result, progress};

/// The same task as in the raw limit's table.
pub async fn fill(database: &Database, pending: u64) -> Result<()> {
    database
        .execute(&format!(
            "INSERT INTO tasks (task_type, payload)
             SELECT 'deploy', jsonb_build_object('i', i, 'pad', repeat('x', 200)) FROM generate_series(1, {pending}) i"
        ))
        .await?;
    database.execute("VACUUM ANALYZE tasks").await
}

/// A session that took its snapshot, wrote a row and then does nothing: what is dead after that cannot be cleared away
/// until it ends.
pub async fn hold_xid(database: &Database) -> Result<sqlx::PgConnection> {
    let mut session = database.connect().await?;
    server::execute(
        &mut session,
        "CREATE TABLE IF NOT EXISTS held (at timestamptz);
         BEGIN ISOLATION LEVEL REPEATABLE READ;
         INSERT INTO held VALUES (now());
         SELECT count(*) FROM (SELECT FROM tasks LIMIT 1) AS looked",
    )
    .await?;
    Ok(session)
}

/// Tasks a second, from before the first claim until the last result is committed.
pub async fn measure(database: &Database, pending: u64, slots: u32) -> Result<f64> {
    let left = Countdown::new(pending);
    let registry = Registry::new().register(Noop(left.clone()));
    let completed =
        "SELECT count(*) FROM tasks WHERE status = 'completed' AND result->>'verdict' = 'succeeded'";
    let before = database.number(completed).await?;
    let started = Instant::now();
    let mut crew = Crew::start(&database.url, registry, slots).await?;
    tokio::select! {
        () = left.over() => {}
        broke = crew.broke() => broke?,
    }
    crew.finish().await?;
    let took = started.elapsed();
    let done = database.number(completed).await? - before;
    if u64::try_from(done) != Ok(pending) {
        return Err(format!("{done} of {pending} tasks were completed").into());
    }
    progress(&format!("{pending} tasks in {:.2} s", took.as_secs_f64()));
    Ok(pending as f64 / took.as_secs_f64())
}
