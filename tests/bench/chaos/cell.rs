//! One cell: what is done, and how what came of it is judged.

use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::disturb::disturb;
use super::load::Load;
use super::worker::Crews;
use crate::figure::{median, short};
use crate::server::{Database, Server};
use crate::{Result, progress};

pub const NAMES: [&str; 9] = [
    "postgres_restarted",
    "backends_killed",
    "idle_connections",
    "worker_killed_once",
    "worker_killed_often",
    "idle_in_transaction",
    "load_150",
    "scanning_readers",
    "burst",
];

/// Until both workers have warmed up, if a window is not shorter than that.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long what was left behind may take to end: leases, retries and their delays among it.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The load must be kept up again afterwards.
    Fault,
    /// The load must be kept up all the while.
    Pressure,
}

#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub name: &'static str,
    pub kind: Kind,
    /// The load during the disturbance, as a multiple of the steady one.
    pub factor: f64,
}

#[derive(Clone, Copy, Debug)]
pub struct Windows {
    pub around: Duration,
    pub during: Duration,
}

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Came {
    pub tasks: i64,
    /// Completed tasks a second in each window.
    pub before: f64,
    pub during: f64,
    pub after: f64,
    /// Tasks that did not complete, whatever became of them.
    pub lost: i64,
    /// Effects that a completed task lacks or has twice.
    pub doubled: i64,
    pub missing: i64,
    /// From enqueue to completion during the disturbance, in ms.
    pub median_ms: f64,
    pub slowest_ms: f64,
}

pub struct Verdict {
    cell: Cell,
    came: Came,
    pub ratio: f64,
    pub limit: f64,
    pub pass: bool,
}

impl Cell {
    pub fn all() -> impl Iterator<Item = Self> {
        NAMES.into_iter().map(|name| Self {
            name,
            kind: match name {
                "idle_in_transaction" | "load_150" | "scanning_readers" | "burst" => Kind::Pressure,
                _ => Kind::Fault,
            },
            factor: match name {
                "load_150" => 1.5,
                "burst" => 2.0,
                _ => 1.0,
            },
        })
    }

    pub async fn run(&self, server: &mut Server, rate: f64, windows: Windows) -> Result<Came> {
        let database = server.database(self.name).await?;
        let mut crews = Crews::start(&database).await?;
        let load = Load::start(&database, rate);
        tokio::time::sleep(WARM_UP.min(windows.around)).await;
        let mut marks = vec![SystemTime::now()];
        tokio::time::sleep(windows.around).await;
        marks.push(SystemTime::now());
        load.set(rate * self.factor);
        disturb(self.name, windows.during, server, &database, &mut crews).await?;
        load.set(rate);
        marks.push(SystemTime::now());
        tokio::time::sleep(windows.around).await;
        marks.push(SystemTime::now());
        let tasks = load.end().await?;
        until_ended(&database).await?;
        crews.check()?;
        let mut came = count(&database, tasks, &marks).await?;
        if came.before < 0.98 * rate {
            progress(
                "the steady load is more than this machine carries even undisturbed; lower it with --rate",
            );
        }
        // A window's edge may add a task or two, but there was no more than the load.
        came.before = came.before.min(rate);
        drop(crews);
        server.forget(self.name).await?;
        Ok(came)
    }

    pub fn judge(self, came: &Came) -> Verdict {
        let (ratio, limit) = match self.kind {
            Kind::Fault => (came.after / came.before, 0.98),
            Kind::Pressure => (came.during / (came.before * self.factor), 0.90),
        };
        Verdict {
            pass: ratio >= limit
                && came.tasks > 0
                && came.lost == 0
                && came.doubled == 0
                && came.missing == 0,
            cell: self,
            came: came.clone(),
            ratio,
            limit,
        }
    }
}

async fn until_ended(database: &Database) -> Result<()> {
    let started = std::time::Instant::now();
    let open = "SELECT count(*) FROM tasks WHERE status NOT IN ('completed', 'failed', 'cancelled')";
    // What does not end is counted as lost.
    while database.number(open).await? > 0 && started.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}

async fn count(database: &Database, tasks: i64, marks: &[SystemTime]) -> Result<Came> {
    let seconds =
        |mark: &SystemTime| -> Result<f64> { Ok(mark.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64()) };
    let mut rates = Vec::new();
    for pair in marks.windows(2) {
        let (from, to) = (seconds(&pair[0])?, seconds(&pair[1])?);
        let completed = database
            .number(&format!(
                "SELECT count(*) FROM tasks WHERE status = 'completed'
                    AND extract(epoch FROM completed_at) >= {from} AND extract(epoch FROM completed_at) < {to}"
            ))
            .await?;
        rates.push(completed as f64 / (to - from));
    }
    let completed = database
        .number("SELECT count(*) FROM tasks WHERE status = 'completed' AND result->>'verdict' = 'succeeded'")
        .await?;
    // Every completed task has each of its effects once.
    let of_effects = async |what: &str| {
        database
            .number(&format!(
                "SELECT coalesce(sum({what}), 0)::bigint FROM (
                     SELECT t.id, s.step, (SELECT count(*) FROM bench_effects e WHERE e.task_id = t.id AND e.step = s.step) AS n
                       FROM tasks t CROSS JOIN (VALUES ('first'), ('second')) AS s(step)
                      WHERE t.status = 'completed') AS counted"
            ))
            .await
    };
    let (from, to) = (seconds(&marks[1])?, seconds(&marks[2])?);
    let waits = database
        .numbers(&format!(
            "SELECT (extract(epoch FROM completed_at - created_at) * 1000)::bigint FROM tasks
              WHERE status = 'completed' AND extract(epoch FROM created_at) BETWEEN {from} AND {to} ORDER BY 1"
        ))
        .await?;
    let waits: Vec<f64> = waits.into_iter().map(|ms| ms as f64).collect();
    Ok(Came {
        tasks,
        before: rates[0],
        during: rates[1],
        after: rates[2],
        lost: tasks - completed,
        doubled: of_effects("greatest(n - 1, 0)").await?,
        missing: of_effects("greatest(1 - n, 0)").await?,
        median_ms: median(&waits),
        slowest_ms: waits.last().copied().unwrap_or(f64::NAN),
    })
}

pub const HEADINGS: &str = "cell                  tasks  before  during   after tasks/s  ratio  limit  lost  doubled  median, slowest ms  verdict";

impl Verdict {
    pub fn json(&self) -> Value {
        let Came {
            tasks,
            before,
            during,
            after,
            lost,
            doubled,
            missing,
            median_ms,
            slowest_ms,
        } = &self.came;
        let cents = |value: f64| (value * 100.0).round() / 100.0;
        json!({
            "name": self.cell.name,
            "kind": match self.cell.kind { Kind::Fault => "fault", Kind::Pressure => "pressure" },
            "tasks": tasks,
            "unit": "tasks/s",
            "before": cents(*before),
            "during": cents(*during),
            "after": cents(*after),
            "ratio": (self.ratio * 1e4).round() / 1e4,
            "limit": self.limit,
            "lost": lost,
            "doubled": doubled,
            "missing_effects": missing,
            "median_ms": median_ms,
            "slowest_ms": slowest_ms,
            "pass": self.pass,
        })
    }

    pub fn line(&self) -> String {
        let came = &self.came;
        format!(
            "{:<20} {:>6} {:>7.1} {:>7.1} {:>7.1}         {:>6.3}  {:>5.2}  {:>4}  {:>7}  {:>18}  {}",
            self.cell.name,
            came.tasks,
            came.before,
            came.during,
            came.after,
            self.ratio,
            self.limit,
            came.lost,
            came.doubled + came.missing,
            format!("{}, {}", short(came.median_ms), short(came.slowest_ms)),
            if self.pass { "ok" } else { "MISSED" },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(name: &str) -> Cell {
        Cell::all()
            .find(|cell| cell.name == name)
            .expect("a cell of that name")
    }

    fn came(before: f64, during: f64, after: f64) -> Came {
        Came {
            tasks: 1000,
            before,
            during,
            after,
            ..Came::default()
        }
    }

    #[test]
    fn after_a_fault_the_load_is_kept_up_again() {
        let fault = cell("postgres_restarted");
        assert!(fault.judge(&came(50.0, 3.0, 49.0)).pass);
        assert!(!fault.judge(&came(50.0, 50.0, 48.9)).pass);
    }

    #[test]
    fn under_pressure_the_load_is_kept_up_all_the_while() {
        let readers = cell("scanning_readers");
        assert!(readers.judge(&came(50.0, 45.0, 0.0)).pass);
        assert!(!readers.judge(&came(50.0, 44.9, 50.0)).pass);
        let more = cell("load_150");
        assert!(
            more.judge(&came(50.0, 67.5, 50.0)).pass,
            "nine tenths of one and a half times"
        );
        assert!(!more.judge(&came(50.0, 67.0, 50.0)).pass);
    }

    #[test]
    fn one_lost_or_doubled_task_is_one_too_many() {
        let well = came(50.0, 50.0, 50.0);
        for cell in Cell::all() {
            let came = Came {
                during: 50.0 * cell.factor,
                ..well.clone()
            };
            assert!(cell.judge(&came).pass, "{}", cell.name);
            for spoilt in [
                Came {
                    lost: 1,
                    ..came.clone()
                },
                Came {
                    doubled: 1,
                    ..came.clone()
                },
                Came {
                    missing: 1,
                    ..came.clone()
                },
                Came {
                    tasks: 0,
                    ..came.clone()
                },
                Came {
                    before: 0.0,
                    during: 0.0,
                    after: 0.0,
                    ..came.clone()
                },
            ] {
                let verdict = cell.judge(&spoilt);
                assert!(!verdict.pass, "{}: {spoilt:?}", cell.name);
                assert_eq!(verdict.json()["pass"], false);
                assert!(verdict.line().ends_with("MISSED"));
            }
        }
    }
}
