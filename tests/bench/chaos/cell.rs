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
pub const WARM_UP: Duration = Duration::from_secs(3);
/// A window is judged by the median of so many equal parts, so that one hiccup of the machine decides nothing.
const PARTS: i32 = 10;
/// While a cell is judged under pressure, this share of the clean capacity is asked for. Of two cores four readers leave no
/// nine tenths.
const PRESSED: f64 = 0.75;
/// A fault leaves room to catch up.
const STEADY: f64 = 0.5;
/// Less than this of the load before the disturbance, and nothing can be told of what comes after it.
const CARRIED: f64 = 0.98;
/// How long what was left behind may take to end: leases, retries and their delays among it.
pub const PATIENCE: Duration = Duration::from_secs(180);

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
    /// The steady load, in tasks a second.
    pub rate: f64,
    /// Completed tasks a second in each window, of what was asked for: what is caught up on does not count twice.
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

    /// The steady load's share of what two workers carry undisturbed.
    pub fn share(&self) -> f64 {
        match self.kind {
            Kind::Fault => STEADY,
            Kind::Pressure => PRESSED / self.factor,
        }
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
        let held = disturb(self.name, windows.during, server, &database, &mut crews).await?;
        load.set(rate);
        marks.push(SystemTime::now());
        tokio::time::sleep(windows.around).await;
        marks.push(SystemTime::now());
        held.release().await?;
        let tasks = load.end().await?;
        until_ended(&database).await?;
        crews.check()?;
        let came = self.count(&database, tasks, rate, &marks).await?;
        if came.before < CARRIED * rate {
            progress(
                "the load before the disturbance was not carried, so the cell cannot be judged; lower it with --capacity",
            );
        }
        drop(crews);
        server.forget(self.name).await?;
        Ok(came)
    }

    async fn count(self, database: &Database, tasks: i64, rate: f64, marks: &[SystemTime]) -> Result<Came> {
        let in_window = async |at: usize, load: f64| rate_in(database, marks[at], marks[at + 1], load).await;
        let completed = database
            .number(
                "SELECT count(*) FROM tasks WHERE status = 'completed' AND result->>'verdict' = 'succeeded'",
            )
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
        let (from, to) = (seconds(marks[1])?, seconds(marks[2])?);
        let waits = database
            .numbers(&format!(
                "SELECT (extract(epoch FROM completed_at - created_at) * 1000)::bigint FROM tasks
                  WHERE status = 'completed' AND extract(epoch FROM created_at) BETWEEN {from} AND {to} ORDER BY 1"
            ))
            .await?;
        let waits: Vec<f64> = waits.into_iter().map(|ms| ms as f64).collect();
        Ok(Came {
            tasks,
            rate,
            before: in_window(0, rate).await?,
            during: in_window(1, rate * self.factor).await?,
            after: in_window(2, rate).await?,
            lost: tasks - completed,
            doubled: of_effects("greatest(n - 1, 0)").await?,
            missing: of_effects("greatest(1 - n, 0)").await?,
            median_ms: median(&waits),
            slowest_ms: waits.last().copied().unwrap_or(f64::NAN),
        })
    }

    pub fn judge(self, came: &Came) -> Verdict {
        let (ratio, limit) = match self.kind {
            Kind::Fault => (came.after / came.before, 0.98),
            Kind::Pressure => (came.during / (came.before * self.factor), 0.90),
        };
        Verdict {
            pass: ratio >= limit
                && came.before >= CARRIED * came.rate
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

fn seconds(mark: SystemTime) -> Result<f64> {
    Ok(mark.duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64())
}

/// Completed tasks a second, the median of the parts of that time, by the database's clock.
pub async fn rate_in(database: &Database, from: SystemTime, to: SystemTime, load: f64) -> Result<f64> {
    let (from, to) = (seconds(from)?, seconds(to)?);
    let part = (to - from) / f64::from(PARTS);
    let completed = database
        .numbers(&format!(
            "SELECT count(t.id) FROM generate_series(0, {PARTS} - 1) AS part
               LEFT JOIN tasks t ON t.status = 'completed'
                    AND floor((extract(epoch FROM t.completed_at) - {from}) / {part}) = part
              GROUP BY part ORDER BY part"
        ))
        .await?;
    Ok(of_parts(&completed, part, load))
}

/// No part counts for more than was asked for in it: what is caught up on later hides no hole.
fn of_parts(completed: &[i64], seconds: f64, load: f64) -> f64 {
    let rates: Vec<f64> = completed
        .iter()
        .map(|completed| (*completed as f64 / seconds).min(load))
        .collect();
    median(&rates)
}

pub const HEADINGS: &str = "cell                  tasks    load  before  during   after tasks/s  ratio  limit  lost  doubled  median, slowest ms  verdict";

impl Verdict {
    pub fn json(&self) -> Value {
        let Came {
            tasks,
            rate,
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
            "load": cents(*rate),
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
            "{:<20} {:>6} {:>7.1} {:>7.1} {:>7.1} {:>7.1}         {:>6.3}  {:>5.2}  {:>4}  {:>7}  {:>18}  {}",
            self.cell.name,
            came.tasks,
            came.rate,
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
            rate: 50.0,
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
    fn what_is_caught_up_on_hides_no_hole() {
        // Nothing for most of a window, and then all of it at once: the mean would be the load.
        let burst = [0, 0, 0, 0, 0, 0, 0, 0, 500, 500];
        assert_eq!(of_parts(&burst, 2.0, 50.0), 0.0);
        let steady = [100, 99, 0, 101, 100, 100, 98, 100, 102, 100];
        assert_eq!(of_parts(&steady, 2.0, 50.0), 50.0);
        assert_eq!(of_parts(&[80; 10], 2.0, 50.0), 40.0);
        assert_eq!(of_parts(&[300; 10], 2.0, f64::INFINITY), 150.0);
    }

    #[test]
    fn under_pressure_three_quarters_of_the_capacity_are_asked_for() {
        for cell in Cell::all().filter(|cell| cell.kind == Kind::Pressure) {
            let asked = cell.share() * cell.factor;
            assert!((asked - 0.75).abs() < 1e-9, "{}: {asked}", cell.name);
        }
    }

    #[test]
    fn where_the_load_was_not_carried_before_nothing_passes() {
        for name in ["postgres_restarted", "scanning_readers"] {
            assert!(!cell(name).judge(&came(40.0, 40.0, 40.0)).pass, "{name}");
        }
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
