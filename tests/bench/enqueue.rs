//! How fast many tasks are put into the table at once, beside what Postgres itself can take into that table.

use std::fmt::Write;
use std::time::Instant;

use crate::Result;
use crate::server::{Database, Server};

/// Rows that one statement or call brings.
const BATCH: u64 = 1000;

fn payload(i: u64) -> String {
    format!(r#"{{"instruction": "deploy v1.4.{i} to staging"}}"#)
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
pub async fn insert(server: &Server, rows: u64) -> Result<f64> {
    let name = "enqueue_bulk";
    let database = server.database(name).await?;
    server.settle().await?;
    let batches: Vec<Vec<String>> = (0..rows)
        .step_by(usize::try_from(BATCH)?)
        .map(|first| (first..rows.min(first + BATCH)).map(payload).collect())
        .collect();
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

async fn counted(database: &Database, rows: u64) -> Result<()> {
    let there = database
        .number("SELECT count(*) FROM tasks WHERE status = 'pending' AND payload ? 'instruction'")
        .await?;
    match u64::try_from(there) == Ok(rows) {
        true => Ok(()),
        false => Err(format!("{there} tasks are there instead of {rows}").into()),
    }
}
