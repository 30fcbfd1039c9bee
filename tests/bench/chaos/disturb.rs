//! The disturbances. Each lasts for a while and ends with everything as it was, but for what it holds.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use tokio::task::JoinSet;

use super::worker::Crews;
use crate::Result;
use crate::drain::hold_xid;
use crate::server::{Database, Server, execute};

/// How long Postgres is away.
const AWAY: Duration = Duration::from_secs(3);
/// Between two killed sessions.
const KILLING: Duration = Duration::from_millis(100);
/// Between two killed workers.
const SHOOTING: Duration = Duration::from_secs(4);
const IDLE_CONNECTIONS: usize = 300;
const READERS: usize = 4;

/// What goes on being held while the time after the disturbance is judged.
#[derive(Default)]
pub struct Held(Vec<PgConnection>);

impl Held {
    pub async fn release(self) -> Result<()> {
        for connection in self.0 {
            connection.close().await?;
        }
        Ok(())
    }
}

pub async fn disturb(
    name: &str,
    length: Duration,
    server: &mut Server,
    database: &Database,
    crews: &mut Crews,
) -> Result<Held> {
    let mut held = Held::default();
    let until = Instant::now() + length;
    let rest = || tokio::time::sleep(until.saturating_duration_since(Instant::now()));
    match name {
        "postgres_restarted" => {
            server.stop().await?;
            tokio::time::sleep(AWAY.min(length / 2)).await;
            server.resume().await?;
            rest().await;
        }
        "backends_killed" => kill_sessions(database, until).await?,
        "idle_connections" => {
            let mut opening = JoinSet::new();
            for _ in 0..IDLE_CONNECTIONS {
                let database = database.clone();
                opening.spawn(async move { database.connect().await });
            }
            while let Some(opened) = opening.join_next().await {
                held.0.push(opened??);
            }
            rest().await;
        }
        "worker_killed_once" => {
            crews.kill_one().await?;
            rest().await;
        }
        "worker_killed_often" => {
            while Instant::now() < until {
                crews.kill_one().await?;
                tokio::time::sleep(SHOOTING.min(until.saturating_duration_since(Instant::now()))).await;
            }
        }
        "idle_in_transaction" => {
            let session = hold_xid(database).await?;
            rest().await;
            session.close().await?;
        }
        "scanning_readers" => scan(database, until).await?,
        // More load is all that is done.
        "load_150" | "burst" => rest().await,
        other => return Err(format!("nobody knows how to do {other}").into()),
    }
    Ok(held)
}

/// Ends one session of the workers after the other, whatever it is doing.
async fn kill_sessions(database: &Database, until: Instant) -> Result<()> {
    let mut connection = database.connect().await?;
    let mut killed = 0;
    while Instant::now() < until {
        let done = sqlx::query(
            "SELECT pg_terminate_backend(pid) FROM (
                 SELECT pid FROM pg_stat_activity
                  WHERE datname = current_database() AND application_name = 'longshore-worker'
                  ORDER BY random() LIMIT 1) AS one",
        )
        .execute(&mut connection)
        .await?;
        killed += done.rows_affected();
        tokio::time::sleep(KILLING).await;
    }
    crate::progress(&format!("{killed} sessions were killed"));
    connection.close().await?;
    Ok(())
}

/// Sessions that keep one snapshot for all of the time and read everything in it over and over.
async fn scan(database: &Database, until: Instant) -> Result<()> {
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let database = database.clone();
        readers.spawn(async move {
            let mut session = database.connect().await?;
            execute(&mut session, "BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
            while Instant::now() < until {
                execute(
                    &mut session,
                    "SELECT count(*), max(payload::text), max(result::text) FROM tasks",
                )
                .await?;
                execute(
                    &mut session,
                    "SELECT count(*), max(outcome::text) FROM longshore.task_steps",
                )
                .await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            execute(&mut session, "COMMIT").await?;
            session.close().await?;
            Result::Ok(())
        });
    }
    while let Some(ended) = readers.join_next().await {
        ended??;
    }
    Ok(())
}
