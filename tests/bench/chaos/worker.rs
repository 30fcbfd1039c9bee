//! The two workers, each a process of its own: this program again, with the real worker and a handler that leaves traces.

use std::io::Read;

use clap::Args;
use domain::{Error, Report, Verdict};
use durable::{Cause, Handler, Reconciled, Stop, TaskCx};
use sqlx::postgres::{PgPool, PgPoolOptions};
use worker::Registry;

use crate::Result;
use crate::binary::Process;
use crate::crew::{Anything, Crew};
use crate::idle::ready;
use crate::server::Database;

/// One row each time that an effect happens. Nothing in the table forbids that it happens twice.
const EFFECTS: &str =
    "CREATE TABLE bench_effects (task_id text NOT NULL, step text NOT NULL, pid integer NOT NULL);
                       CREATE INDEX ON bench_effects (task_id, step)";

#[derive(Args, Debug)]
pub struct Work {
    url: String,
}

/// Works until its input is closed, which the kernel sees to when the benchmark ends.
pub async fn work(work: Work) -> Result<()> {
    let outside = PgPoolOptions::new().max_connections(8).connect(&work.url).await?;
    let registry = Registry::new().register(Traced { outside });
    let mut crew = Crew::start(&work.url, registry, worker::Config::default().slots).await?;
    let orphaned = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
    tokio::select! {
        _ = orphaned => crew.finish().await,
        broke = crew.broke() => broke,
    }
}

/// Two effects that may not be repeated, on an outside that can be looked at.
struct Traced {
    outside: PgPool,
}

impl Traced {
    async fn trace(&self, cx: &TaskCx, step: &'static str) -> std::result::Result<(), Stop> {
        let task = cx.task().id.to_string();
        cx.effect(step)
            .reconcile(async |_| {
                let found: i64 =
                    sqlx::query_scalar("SELECT count(*) FROM bench_effects WHERE task_id = $1 AND step = $2")
                        .bind(&task)
                        .bind(step)
                        .fetch_one(&self.outside)
                        .await
                        .map_err(away)?;
                Ok(match found {
                    0 => Reconciled::Absent,
                    _ => Reconciled::Found(()),
                })
            })
            .run(async |_| {
                sqlx::query("INSERT INTO bench_effects (task_id, step, pid) VALUES ($1, $2, $3)")
                    .bind(&task)
                    .bind(step)
                    .bind(i32::try_from(std::process::id()).unwrap_or_default())
                    .execute(&self.outside)
                    .await
                    .map_err(away)?;
                Ok(())
            })
            .await
    }
}

fn away(error: sqlx::Error) -> Error {
    Error::unavailable("the outside does not answer").because(&error)
}

impl Handler for Traced {
    const TASK_TYPES: &'static [&'static str] = &["deploy"];
    type Params = Anything;

    async fn run(&self, cx: &TaskCx, _params: &Anything) -> std::result::Result<Report, Stop> {
        self.trace(cx, "first").await?;
        self.trace(cx, "second").await?;
        Ok(Report::new(Verdict::Succeeded, "both traces are left"))
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

/// The workers of one cell.
pub struct Crews {
    database: Database,
    workers: Vec<Process>,
    next: usize,
}

impl Crews {
    pub async fn start(database: &Database) -> Result<Self> {
        database.execute(EFFECTS).await?;
        let mut crews = Self {
            database: database.clone(),
            workers: Vec::new(),
            next: 0,
        };
        for _ in 0..2 {
            let mut worker = crews.launch()?;
            ready(database, &mut worker).await?;
            crews.workers.push(worker);
        }
        Ok(crews)
    }

    fn launch(&self) -> Result<Process> {
        Process::start(&std::env::current_exe()?, &["work", &self.database.url], &[])
    }

    /// SIGKILL for one of them, by turns; another process takes its place at once, as a supervisor would see to.
    pub async fn kill_one(&mut self) -> Result<()> {
        let at = self.next % self.workers.len();
        self.next += 1;
        self.workers[at].kill()?;
        self.workers[at] = self.launch()?;
        Ok(())
    }

    /// A worker that ended by itself is told of.
    pub fn check(&mut self) -> Result<()> {
        self.workers.iter_mut().try_for_each(Process::check)
    }
}
