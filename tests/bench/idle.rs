//! What a worker costs that has nothing to do.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::Result;
use crate::binary::Process;
use crate::server::{Database, Server};

/// What it settles before it is idle: connections, the first look at the table, the first housekeeping.
const SETTLING: Duration = Duration::from_secs(10);

/// What one window of idleness cost.
pub struct Idle {
    /// Transactions a second in the worker's database, whoever's but the server's own.
    pub transactions: f64,
    pub resident_mb: f64,
    /// Percent of one core.
    pub core: f64,
}

/// One worker alone, for so many windows of this length.
pub async fn measure(server: &Server, binary: &Path, rounds: u32, window: Duration) -> Result<Vec<Idle>> {
    let database = server.database("idle").await?;
    // The same with nobody in it: the server's own housekeeping visits both.
    server.database("idle_twin").await?;
    let observer = server.bare_database("observer").await?;
    let mut worker = Process::worker(binary, &[("DATABASE_URL", &database.url)])?;
    ready(&database, &mut worker).await?;
    tokio::time::sleep(SETTLING).await;
    let mut windows = Vec::new();
    let mut before = look(&observer, &worker).await?;
    for _ in 0..rounds {
        tokio::time::sleep(window).await;
        worker.check()?;
        let after = look(&observer, &worker).await?;
        let seconds = (after.at - before.at).as_secs_f64();
        windows.push(Idle {
            transactions: (after.transactions - before.transactions) as f64 / seconds,
            resident_mb: worker.resident_mb()?,
            core: (after.cpu - before.cpu) / seconds * 100.0,
        });
        before = after;
    }
    worker.kill()?;
    for name in ["idle", "idle_twin", "observer"] {
        server.forget(name).await?;
    }
    Ok(windows)
}

/// Waits until the worker has registered itself.
pub async fn ready(database: &Database, worker: &mut Process) -> Result<()> {
    let started = Instant::now();
    let alive = format!(
        "SELECT count(*) FROM longshore.workers WHERE pid = {} AND lease_until > clock_timestamp()",
        worker.pid()
    );
    while database.number(&alive).await? == 0 {
        worker.check()?;
        if started.elapsed() > Duration::from_secs(60) {
            return Err("longshore worker did not register itself within a minute".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

struct Look {
    at: Instant,
    transactions: i64,
    cpu: f64,
}

/// From another database, so that looking is not counted.
async fn look(observer: &Database, worker: &Process) -> Result<Look> {
    let transactions = observer
        .number(
            "SELECT sum(CASE datname WHEN 'idle' THEN xact_commit + xact_rollback ELSE -xact_commit - xact_rollback END)::bigint
               FROM pg_stat_database WHERE datname IN ('idle', 'idle_twin')",
        )
        .await?;
    Ok(Look {
        at: Instant::now(),
        transactions,
        cpu: worker.cpu_seconds()?,
    })
}
