use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use domain::{Error, NewTask, Result};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::Timetable;
use crate::error::SqlResult;
use crate::{Made, Store};

/// Longest name of a schedule, in characters.
const NAME_CHARS: usize = 100;

/// What to do at a run while the task of an earlier one is unfinished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Make no task this time.
    #[default]
    Skip,
    Allow,
}

/// What to do with runs that fell into an outage of all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Make up for all of them with one task.
    #[default]
    Once,
    /// Leave out what is more than five minutes late.
    Skip,
}

impl Overlap {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Allow => "allow",
        }
    }
}

impl Missed {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Skip => "skip",
        }
    }
}

/// A word that is none of those which may stand there.
#[derive(Debug, thiserror::Error)]
#[error("{said:?} is unknown; it is {known}")]
pub struct UnknownWord {
    said: String,
    known: &'static str,
}

impl FromStr for Overlap {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "skip" => Ok(Self::Skip),
            "allow" => Ok(Self::Allow),
            _ => Err(UnknownWord {
                said: word.to_owned(),
                known: "skip or allow",
            }),
        }
    }
}

impl FromStr for Missed {
    type Err = UnknownWord;
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "once" => Ok(Self::Once),
            "skip" => Ok(Self::Skip),
            _ => Err(UnknownWord {
                said: word.to_owned(),
                known: "once or skip",
            }),
        }
    }
}

impl fmt::Display for Overlap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A schedule as somebody wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewSchedule {
    pub name: String,
    pub cron: String,
    /// IANA name.
    pub time_zone: String,
    /// What is made at each run.
    pub task: NewTask,
    pub overlap: Overlap,
    pub missed: Missed,
    pub enabled: bool,
}

/// A schedule and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Schedule {
    pub name: String,
    pub cron: String,
    pub time_zone: String,
    /// As it stands in the table; `domain::NewTask` where nobody wrote another thing there.
    pub task: Value,
    pub overlap: String,
    pub missed: String,
    pub enabled: bool,
    /// None while it is disabled, or when no day that will come fits.
    pub next_run: Option<DateTime<Utc>>,
    /// The last run that made a task.
    pub last_run: Option<DateTime<Utc>>,
    pub last_task: Option<String>,
    /// How that task stands, while it is kept.
    pub last_task_status: Option<String>,
    /// The last run that made none, and why.
    pub skipped_run: Option<DateTime<Utc>>,
    pub skipped_why: Option<String>,
}

/// The columns that [`Schedule::read`] reads. Somebody may have written any time that Postgres knows by hand; `infinity` and
/// years that no calendar shows are read as none.
macro_rules! schedule_columns {
    () => {
        "s.name, s.cron, s.time_zone, s.task, s.overlap, s.missed, s.enabled, s.last_task, s.skipped_why,
         CASE WHEN s.next_run BETWEEN '0001-01-01' AND '9999-12-31' THEN s.next_run END AS next_run,
         CASE WHEN s.last_run BETWEEN '0001-01-01' AND '9999-12-31' THEN s.last_run END AS last_run,
         CASE WHEN s.skipped_run BETWEEN '0001-01-01' AND '9999-12-31' THEN s.skipped_run END AS skipped_run,
         (SELECT t.status FROM tasks t WHERE t.id = s.last_task) AS last_task_status"
    };
}
pub(super) use schedule_columns;

impl Schedule {
    pub(super) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("name")?,
            cron: row.try_get("cron")?,
            time_zone: row.try_get("time_zone")?,
            task: row.try_get("task")?,
            overlap: row.try_get("overlap")?,
            missed: row.try_get("missed")?,
            enabled: row.try_get("enabled")?,
            next_run: row.try_get("next_run")?,
            last_run: row.try_get("last_run")?,
            last_task: row.try_get("last_task")?,
            last_task_status: row.try_get("last_task_status")?,
            skipped_run: row.try_get("skipped_run")?,
            skipped_why: row.try_get("skipped_why")?,
        })
    }

    /// Whether both say the same, whatever came of it so far.
    fn is_as(&self, other: &Self) -> bool {
        let said = |one: &Self| {
            let words = [&one.cron, &one.time_zone, &one.overlap, &one.missed].map(String::clone);
            (words, one.task.clone(), one.enabled)
        };
        said(self) == said(other)
    }

    /// The task of one run.
    pub(super) fn new_task(&self) -> Result<NewTask> {
        let mut task: NewTask = serde_json::from_value(self.task.clone()).map_err(|error| {
            Error::invalid(format!("the task of the schedule {} cannot be read", self.name))
                .because(&error)
                .next(format!(
                    "Set it again with `longshore schedules set {}`",
                    self.name
                ))
        })?;
        let name = format!("schedule:{}", self.name);
        if self.overlap != Overlap::Allow.as_str() && task.dedupe_key.is_none() {
            task.dedupe_key = Some(name.clone());
        }
        task.created_by.get_or_insert(name);
        Ok(task)
    }
}

impl Store {
    /// Makes a schedule, or changes the one of that name. Its next run is counted from now, unless neither expression nor
    /// zone changed.
    pub async fn set_schedule(&self, schedule: &NewSchedule) -> Result<Schedule> {
        let doing = "set the schedule";
        check_name(&schedule.name)?;
        let timetable = Timetable::parse(&schedule.cron, &schedule.time_zone)?;
        if schedule.task.parent.is_some() {
            return Err(Error::invalid(
                "`parent_task_id` has no meaning for a task that is made again and again",
            )
            .next("Leave it out"));
        }
        if schedule.task.run_at.is_some() {
            return Err(
                Error::invalid("`run_at` has no meaning for a task that is made again and again")
                    .next("Leave it out: `cron` says when"),
            );
        }
        let mut tx = self.pool().begin().await.doing(doing)?;
        self.check_task(&mut tx, &schedule.task).await?;
        let next = timetable.next_after(self.clock(&mut tx).await.doing(doing)?);
        if next.is_none() {
            return Err(Error::invalid(format!(
                "`cron` is {:?}, and no day that will come fits it",
                schedule.cron
            ))
            .next("Look at the day of the month and the month"));
        }
        let before = self.find_schedule(&mut tx, &schedule.name, true).await?;
        self.query(
            "INSERT INTO longshore.schedules AS s (name, cron, time_zone, task, overlap, missed, enabled, next_run)
             VALUES ($1, $2, $3, $4, $5, $6, $7, CASE WHEN $7 THEN $8::timestamptz END)
             ON CONFLICT (name) DO UPDATE
                SET cron = $2, time_zone = $3, task = $4, overlap = $5, missed = $6, enabled = $7,
                    next_run = CASE WHEN s.cron = $2 AND s.time_zone = $3 AND $7 THEN coalesce(s.next_run, $8)
                                    WHEN $7 THEN $8 END,
                    updated_at = longshore.now()",
        )
        .bind(&schedule.name)
        .bind(&schedule.cron)
        .bind(&schedule.time_zone)
        .bind(json!(schedule.task))
        .bind(schedule.overlap.as_str())
        .bind(schedule.missed.as_str())
        .bind(schedule.enabled)
        .bind(next)
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        let set = self.schedule_in(&mut tx, &schedule.name, false).await?;
        match before {
            None => self.note_change(&mut tx, &schedule.name, "made").await?,
            // Programs that say again and again what they want change nothing.
            Some(before) if before.is_as(&set) => {}
            Some(_) => self.note_change(&mut tx, &schedule.name, "changed").await?,
        }
        tx.commit().await.doing(doing)?;
        Ok(set)
    }

    pub async fn schedules(&self) -> Result<Vec<Schedule>> {
        let doing = "list the schedules";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(concat!(
                "SELECT ",
                schedule_columns!(),
                " FROM longshore.schedules s ORDER BY s.name"
            ))
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        rows.iter()
            .map(Schedule::read)
            .collect::<Result<_, _>>()
            .doing(doing)
    }

    /// One schedule; `NotFound` if there is none.
    pub async fn schedule(&self, name: &str) -> Result<Schedule> {
        let mut tx = self.pool().begin().await.doing("read the schedule")?;
        let schedule = self.schedule_in(&mut tx, name, false).await?;
        tx.commit().await.doing("read the schedule")?;
        Ok(schedule)
    }

    /// Lets a schedule run, from now on, or stops it. Runs while it stood still are not missed ones.
    pub async fn enable_schedule(&self, name: &str, enabled: bool) -> Result<Schedule> {
        let doing = if enabled {
            "enable the schedule"
        } else {
            "disable the schedule"
        };
        let mut tx = self.pool().begin().await.doing(doing)?;
        let known = self.schedule_in(&mut tx, name, true).await?;
        if known.enabled != enabled || enabled && known.next_run.is_none() {
            let now = self.clock(&mut tx).await.doing(doing)?;
            let next = match enabled {
                true => Timetable::parse(&known.cron, &known.time_zone)?.next_after(now),
                false => None,
            };
            self.query(
                "UPDATE longshore.schedules SET enabled = $2, next_run = $3, updated_at = longshore.now() WHERE name = $1",
            )
            .bind(name)
            .bind(enabled)
            .bind(next)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
            let what = if enabled { "enabled" } else { "disabled" };
            self.note_change(&mut tx, name, what).await?;
        }
        let schedule = self.schedule_in(&mut tx, name, false).await?;
        tx.commit().await.doing(doing)?;
        Ok(schedule)
    }

    /// Forgets a schedule; the tasks that it made stay.
    pub async fn delete_schedule(&self, name: &str) -> Result<()> {
        let doing = "delete the schedule";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let gone = self
            .query("DELETE FROM longshore.schedules WHERE name = $1")
            .bind(name)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        if gone.rows_affected() == 0 {
            return Err(self.no_schedule(&mut tx, name).await);
        }
        self.note_change(&mut tx, name, "deleted").await?;
        tx.commit().await.doing(doing)
    }

    /// Makes the schedule's task now, enabled or not; the next run stays where it is.
    pub async fn run_schedule(&self, name: &str) -> Result<Made> {
        let doing = "run the schedule";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let schedule = self.schedule_in(&mut tx, name, true).await?;
        let made = self.insert_task(&mut tx, &schedule.new_task()?).await?;
        if !made.exists {
            self.query(
                "UPDATE longshore.schedules SET last_run = longshore.now(), last_task = $2 WHERE name = $1",
            )
            .bind(name)
            .bind(made.id.as_str())
            .execute(&mut *tx)
            .await
            .doing(doing)?;
            self.note_change(&mut tx, name, "run").await?;
        }
        tx.commit().await.doing(doing)?;
        Ok(made)
    }

    /// `locked`: for a change that follows in this transaction.
    async fn schedule_in(&self, tx: &mut PgConnection, name: &str, locked: bool) -> Result<Schedule> {
        match self.find_schedule(tx, name, locked).await? {
            Some(schedule) => Ok(schedule),
            None => Err(self.no_schedule(tx, name).await),
        }
    }

    async fn find_schedule(
        &self,
        tx: &mut PgConnection,
        name: &str,
        locked: bool,
    ) -> Result<Option<Schedule>> {
        let query = if locked {
            concat!(
                "SELECT ",
                schedule_columns!(),
                " FROM longshore.schedules s WHERE s.name = $1 FOR UPDATE"
            )
        } else {
            concat!(
                "SELECT ",
                schedule_columns!(),
                " FROM longshore.schedules s WHERE s.name = $1"
            )
        };
        let row = self
            .query(query)
            .bind(name)
            .fetch_optional(tx)
            .await
            .doing("read the schedule")?;
        row.map(|row| Schedule::read(&row))
            .transpose()
            .doing("read the schedule")
    }

    /// What time it is for Postgres, or for the test that holds its clock.
    pub(super) async fn clock(&self, tx: &mut PgConnection) -> Result<DateTime<Utc>, sqlx::Error> {
        self.query("SELECT longshore.now() AS now")
            .fetch_one(tx)
            .await?
            .try_get("now")
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if (1..=NAME_CHARS).contains(&name.chars().count()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!("`name` is {name:?}")).next(format!(
        "Use 1 to {NAME_CHARS} letters, digits, dots, dashes and underscores, such as nightly-backup"
    )))
}
