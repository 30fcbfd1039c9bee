//! How fast pending tasks go through the real worker, a handler that does nothing, and into finished rows.

use worker::Registry;

use crate::crew::{Countdown, Crew, Noop};
use crate::server::{Database, execute};
use crate::{Result, progress};

/// The same task as in the raw limit's table.
pub async fn fill(database: &Database, pending: u64) -> Result<()> {
    database
        .execute(&format!(
            "INSERT INTO tasks (task_type, payload)
             SELECT 'deploy', jsonb_build_object('i', i, 'pad', repeat('x', 200)) FROM generate_series(1, {pending}) i"
        ))
        .await
}

/// Rows that are done for: what retention has not cleared away yet.
pub async fn fill_finished(database: &Database, finished: u64) -> Result<()> {
    progress(&format!("{finished} finished rows"));
    database
        .execute(&format!(
            "INSERT INTO tasks (task_type, payload, status, assigned_to, created_at, claimed_at, completed_at, result,
                                run_at, attempt, handler_version, started_at)
             SELECT 'deploy', jsonb_build_object('i', i, 'pad', repeat('x', 200)), 'completed', 'devops', at, at, at,
                    '{{\"verdict\": \"succeeded\", \"summary\": \"nothing was to be done\"}}', at, 1, 1, at
               FROM generate_series(1, {finished}) i
              CROSS JOIN LATERAL (SELECT longshore.utc_now() - make_interval(secs => {finished} - i) AS at) AS old"
        ))
        .await
}

/// As autovacuum leaves a table, at a moment of ours.
pub async fn vacuum(database: &Database) -> Result<()> {
    database.execute("VACUUM ANALYZE tasks").await
}

/// A session that took its snapshot, wrote a row and then does nothing: what is dead after that cannot be cleared away
/// until it ends.
pub async fn hold_xid(database: &Database) -> Result<sqlx::PgConnection> {
    let mut session = database.connect().await?;
    for sql in [
        "CREATE TABLE IF NOT EXISTS held (at timestamptz)",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "INSERT INTO held VALUES (now())",
        "SELECT count(*) FROM (SELECT FROM tasks LIMIT 1) AS looked",
    ] {
        execute(&mut session, sql).await?;
    }
    Ok(session)
}

/// Tasks a second, from before the first claim until the last result is committed.
pub async fn measure(database: &Database, pending: u64, slots: u32) -> Result<f64> {
    let left = Countdown::new(pending);
    let registry = Registry::new().register(Noop(left.clone()));
    let completed =
        "SELECT count(*) FROM tasks WHERE status = 'completed' AND result->>'verdict' = 'succeeded'";
    let before = database.number(completed).await?;
    let mut crew = Crew::start(&database.url, registry, slots).await?;
    let started = crew.started();
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
