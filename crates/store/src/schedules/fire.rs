use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Result, TaskId};
use sqlx::{Connection, PgConnection, Row};

use super::table::schedule_columns;
use super::{Missed, Schedule, Timetable};
use crate::Store;
use crate::error::SqlResult;

/// How late a run may be before it is a missed one.
const LATE: TimeDelta = TimeDelta::minutes(5);
/// Most schedules fired in one round.
const ROUND: usize = 1000;

/// What a look at the schedules came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// By schedule, the tasks that were made.
    pub made: Vec<(String, TaskId)>,
    /// By schedule, why a run made none.
    pub skipped: Vec<(String, String)>,
    /// Time until the next run of any schedule.
    pub next: Option<Duration>,
}

/// What one run came to.
enum Run {
    Made(TaskId),
    Skipped(String),
}

impl Store {
    /// Makes the tasks of all schedules that are due by `longshore.now()`. Each task comes to be in the transaction that
    /// moves its schedule on, so that of many who call this at once one fires each run, and none twice.
    pub async fn fire_schedules(&self) -> Result<Fired> {
        let mut fired = Fired::default();
        for _ in 0..ROUND {
            if !self
                .within("fire the schedules", self.fire_one(&mut fired))
                .await?
            {
                break;
            }
        }
        Ok(fired)
    }

    /// False when none is due, or others are at those that are.
    async fn fire_one(&self, fired: &mut Fired) -> Result<bool> {
        let doing = "fire the schedules";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let row = self
            .query(concat!(
                "SELECT ",
                schedule_columns!(),
                ", longshore.now() AS now FROM longshore.schedules s
                  WHERE s.next_run <= longshore.now() ORDER BY s.next_run LIMIT 1 FOR UPDATE OF s SKIP LOCKED"
            ))
            .fetch_optional(&mut *tx)
            .await
            .doing(doing)?;
        let Some(row) = row else {
            let next = self
                .query(
                    "SELECT extract(epoch FROM min(next_run) - longshore.now())::float8 AS seconds
                       FROM longshore.schedules WHERE next_run IS NOT NULL",
                )
                .fetch_one(&mut *tx)
                .await
                .doing(doing)?;
            tx.commit().await.doing(doing)?;
            let seconds: Option<f64> = next.try_get("seconds").doing(doing)?;
            fired.next = seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
            return Ok(false);
        };
        let schedule = Schedule::read(&row).doing(doing)?;
        let now: DateTime<Utc> = row.try_get("now").doing(doing)?;
        let (run_at, next, run) = match Timetable::parse(&schedule.cron, &schedule.time_zone) {
            // Somebody wrote it by hand: it stands still until it is set right.
            Err(error) => (now, None, Run::Skipped(error.to_string())),
            Ok(timetable) => {
                let due = schedule.next_run.unwrap_or(now);
                let run_at = timetable.last_until(now).map_or(due, |last| last.max(due));
                let run = if schedule.missed == Missed::Skip.as_str() && now - run_at > LATE {
                    Run::Skipped("it was missed, and the next one is waited for".to_owned())
                } else {
                    self.run(&mut tx, &schedule).await?
                };
                (run_at, timetable.next_after(now), run)
            }
        };
        let (task, why) = match &run {
            Run::Made(id) => (Some(id.as_str()), None),
            Run::Skipped(why) => (None, Some(why.as_str())),
        };
        self.query(
            "UPDATE longshore.schedules
                SET next_run = $2,
                    last_run = CASE WHEN $4::text IS NULL THEN last_run ELSE $3 END, last_task = coalesce($4, last_task),
                    skipped_run = CASE WHEN $5::text IS NULL THEN skipped_run ELSE $3 END, skipped_why = coalesce($5, skipped_why)
              WHERE name = $1",
        )
        .bind(&schedule.name)
        .bind(next)
        .bind(run_at)
        .bind(task)
        .bind(why)
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        self.notify(&mut tx).await.doing(doing)?;
        tx.commit().await.doing(doing)?;
        match run {
            Run::Made(id) => fired.made.push((schedule.name, id)),
            Run::Skipped(why) => fired.skipped.push((schedule.name, why)),
        }
        Ok(true)
    }

    /// Makes the task; what is wrong with it skips this run and is kept for people to see.
    async fn run(&self, tx: &mut PgConnection, schedule: &Schedule) -> Result<Run> {
        let doing = "fire the schedules";
        let task = match schedule.new_task() {
            Ok(task) => task,
            Err(error) => return Ok(Run::Skipped(error.to_string())),
        };
        let mut inner = tx.begin().await.doing(doing)?;
        match self.insert_task(&mut inner, &task).await {
            Ok(made) => {
                inner.commit().await.doing(doing)?;
                Ok(if made.exists {
                    Run::Skipped(format!("task {} of an earlier run is unfinished", made.id))
                } else {
                    Run::Made(made.id)
                })
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                inner.rollback().await.doing(doing)?;
                Ok(Run::Skipped(error.to_string()))
            }
        }
    }
}
