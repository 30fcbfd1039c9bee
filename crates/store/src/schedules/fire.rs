use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Error, Result, TaskId, redact};
use sqlx::{Connection, PgConnection, Row};

use super::table::schedule_columns;
use super::{Missed, Schedule, Timetable};
use crate::Store;
use crate::error::SqlResult;

/// How late a run may be before it is a missed one.
const LATE: TimeDelta = TimeDelta::minutes(5);
/// How far ahead of the clock a schedule's past may lie before the clock is taken to have been set back.
const AHEAD: TimeDelta = TimeDelta::hours(1);
/// Most schedules fired in one round.
const ROUND: usize = 1000;

/// What a look at the schedules came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// By schedule, the tasks that were made.
    pub made: Vec<(String, TaskId)>,
    /// By schedule, why a run made none.
    pub skipped: Vec<(String, String)>,
    /// By schedule, what kept it from being fired this time: it is still due.
    pub failed: Vec<(String, Error)>,
    /// Time until the next run of any schedule.
    pub next: Option<Duration>,
}

/// What a look at one schedule came to.
enum One {
    Fired(String, Run),
    /// With the time until one is.
    NoneDue(Option<Duration>),
}

/// What one run came to.
enum Run {
    Made(TaskId),
    Skipped(String),
}

impl Store {
    /// Makes the tasks of all schedules that are due by `longshore.now()`. Each task comes to be in the transaction that
    /// moves its schedule on, so that of many who call this at once one fires each run, and none twice. A fault at one
    /// schedule leaves that one due and keeps no other waiting.
    pub async fn fire_schedules(&self) -> Result<Fired> {
        let doing = "fire the schedules";
        let mut fired = Fired::default();
        for _ in 0..ROUND {
            let failed: Vec<&str> = fired.failed.iter().map(|(name, _)| name.as_str()).collect();
            let mut at = None;
            let looked = durable::catch(
                "the look at it",
                self.within(doing, self.fire_one(&failed, &mut at)),
            );
            match looked.await.flatten() {
                Ok(One::Fired(name, Run::Made(task))) => fired.made.push((name, task)),
                Ok(One::Fired(name, Run::Skipped(why))) => fired.skipped.push((name, why)),
                Ok(One::NoneDue(next)) => {
                    fired.next = next;
                    break;
                }
                Err(error) => match at {
                    Some(name) => {
                        if !error.is_transient() {
                            self.note_failed(&name, &error).await;
                        }
                        fired.failed.push((name, error));
                    }
                    None => return Err(error),
                },
            }
        }
        Ok(fired)
    }

    /// Lets a schedule that was not fired, and will hardly be by trying, tell why.
    async fn note_failed(&self, name: &str, error: &Error) {
        let doing = "note why a schedule was not fired";
        let noting = async {
            let mut tx = self.pool().begin().await.doing(doing)?;
            self.query(
                "UPDATE longshore.schedules SET skipped_run = longshore.now(), skipped_why = $2
                  WHERE name = $1 AND skipped_why IS DISTINCT FROM $2",
            )
            .bind(name)
            .bind(redact(&error.to_string()).as_ref())
            .execute(&mut *tx)
            .await
            .doing(doing)?;
            tx.commit().await.doing(doing)
        };
        if let Err(error) = self.within(doing, noting).await {
            // The fault itself is in the answer.
            tracing::warn!(schedule.name = name, error = %error, "Could not note at a schedule why it was not fired");
        }
    }

    /// Fires the schedule that is due for longest, which is named in `at` from then on. None is when others are at those
    /// that are due.
    async fn fire_one(&self, failed: &[&str], at: &mut Option<String>) -> Result<One> {
        let doing = "fire the schedules";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let row = self
            .query(concat!(
                "SELECT ",
                schedule_columns!(),
                ", longshore.now() AS now FROM longshore.schedules s
                  WHERE s.next_run <= longshore.now() AND NOT s.name = ANY ($1)
                  ORDER BY s.next_run LIMIT 1 FOR UPDATE OF s SKIP LOCKED"
            ))
            .bind(failed)
            .fetch_optional(&mut *tx)
            .await
            .doing(doing)?;
        let Some(row) = row else {
            let next = self
                .query(
                    "SELECT extract(epoch FROM min(next_run) - longshore.now())::float8 AS seconds
                       FROM longshore.schedules WHERE isfinite(next_run) AND NOT name = ANY ($1)",
                )
                .bind(failed)
                .fetch_one(&mut *tx)
                .await
                .doing(doing)?;
            tx.commit().await.doing(doing)?;
            let seconds: Option<f64> = next.try_get("seconds").doing(doing)?;
            let next = seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
            return Ok(One::NoneDue(next));
        };
        *at = Some(row.try_get("name").doing(doing)?);
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
        Ok(One::Fired(schedule.name, run))
    }

    /// Sets right what was counted by a clock that has been set back since: a schedule whose last run, or whose making, lies
    /// more than an hour ahead would rest until then. By less it rests at most for that hour, and no run comes twice.
    pub async fn recount_schedules(&self) -> Result<Vec<String>> {
        let doing = "count the schedules' next runs anew";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(
                "SELECT name, cron, time_zone, longshore.now() AS now FROM longshore.schedules
                  WHERE next_run > longshore.now()
                    AND greatest(last_run, skipped_run, updated_at) > longshore.now() + make_interval(secs => $1)
                  ORDER BY name FOR UPDATE SKIP LOCKED",
            )
            .bind(AHEAD.num_seconds() as f64)
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        let mut recounted = Vec::new();
        for row in rows {
            let text = |column: &str| row.try_get::<String, _>(column).doing(doing);
            let time = |column: &str| row.try_get::<DateTime<Utc>, _>(column).doing(doing);
            let (name, cron, zone, now) = (text("name")?, text("cron")?, text("time_zone")?, time("now")?);
            // What panics or cannot be read is told of when it is due.
            let counted = durable::catch("the look at it", async {
                Timetable::parse(&cron, &zone).map(|timetable| timetable.next_after(now))
            });
            let next = counted.await.flatten().ok().flatten();
            // What lies ahead was at another time than it says; it must not be taken for a sign of that clock again.
            let changed = self
                .query(
                    "UPDATE longshore.schedules AS s
                        SET next_run = least(s.next_run, $2), updated_at = least(s.updated_at, longshore.now()),
                            last_run = CASE WHEN s.last_run > longshore.now() THEN longshore.now() ELSE s.last_run END,
                            skipped_run = CASE WHEN s.skipped_run > longshore.now() THEN longshore.now() ELSE s.skipped_run END
                       FROM (SELECT name, next_run FROM longshore.schedules) AS was
                      WHERE s.name = $1 AND was.name = s.name
                  RETURNING s.next_run < was.next_run AS earlier",
                )
                .bind(&name)
                .bind(next)
                .fetch_one(&mut *tx)
                .await
                .doing(doing)?;
            if changed.try_get("earlier").doing(doing)? {
                recounted.push(name);
            }
        }
        tx.commit().await.doing(doing)?;
        Ok(recounted)
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
