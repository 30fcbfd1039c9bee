//! How long the task of a worker that was killed waits for another one.

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::binary::Process;
use crate::idle::ready;
use crate::server::{Database, Server};
use crate::{Result, progress};

/// Seconds from SIGKILL to the other worker's claim, with the binary's default lease and poll.
///
/// The task is a `fix_build` that reads from a forge which takes the connection and never answers.
pub async fn measure(server: &Server, binary: &Path) -> Result<f64> {
    let name = "takeover";
    let database = server.database(name).await?;
    let silent = SilentForge::start().await?;
    database
        .execute(&format!(
            "INSERT INTO repos (id, name, gitlab_url, gitlab_project_id)
             VALUES ('app', 'app', '{}', 'group/app');
             INSERT INTO tasks (task_type, repo_id, assigned_to, payload)
             VALUES ('fix_build', 'app', 'devops', '{{\"pipeline\": {{\"id\": 4711}}}}')",
            silent.url
        ))
        .await?;
    let env = [
        ("DATABASE_URL", database.url.as_str()),
        ("GITLAB_URL", silent.url.as_str()),
        ("GITLAB_TOKEN", "glpat-of-the-benchmark"),
        ("LONGSHORE_GITLAB_TIMEOUT", "10m"),
    ];
    let mut first = Process::worker(binary, &env)?;
    ready(&database, &mut first).await?;
    until_attempt(&database, 1, Duration::from_secs(30)).await?;
    let mut second = Process::worker(binary, &env)?;
    ready(&database, &mut second).await?;
    // Anywhere between two heartbeats.
    let phase = worker::Config::default().lease / 3;
    tokio::time::sleep(phase.mul_f64(rand::random_range(0.2..1.2))).await;
    first.check()?;
    first.kill()?;
    let died = Instant::now();
    until_attempt(&database, 2, Duration::from_secs(120)).await?;
    let took = died.elapsed().as_secs_f64();
    second.check()?;
    second.kill()?;
    server.forget(name).await?;
    progress(&format!("taken over after {took:.2} s"));
    Ok(took)
}

async fn until_attempt(database: &Database, attempt: i64, patience: Duration) -> Result<()> {
    let mut connection = database.connect().await?;
    let started = Instant::now();
    loop {
        let at: i64 = sqlx::query_scalar(
            "SELECT attempt FROM tasks WHERE worker_id IS NOT NULL UNION ALL SELECT 0 LIMIT 1",
        )
        .fetch_one(&mut connection)
        .await?;
        if at >= attempt {
            return Ok(());
        }
        if started.elapsed() > patience {
            return Err(format!("nobody claimed the task within {patience:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Takes every connection and says nothing.
struct SilentForge {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl SilentForge {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                held.push(connection);
            }
        });
        Ok(Self { url, task })
    }
}

impl Drop for SilentForge {
    fn drop(&mut self) {
        self.task.abort();
    }
}
