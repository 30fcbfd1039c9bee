use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use domain::{Error, Priority, Repo, Result, TaskId, TaskInfo};
use durable::Lease;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::limited::is_ruled;
use super::refuse;
use super::taken::{Places, Taken};
use super::ticket::{self, Ancestor};
use crate::Store;
use crate::error::SqlResult;
use crate::json;

const PRIORITIES: RangeInclusive<i32> = 1..=10;

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct Claim {
    pub worker: String,
    /// Agent names that it claims for; unassigned tasks go to the first.
    pub agents: Vec<String>,
    /// The types that it has handlers for.
    pub served: Vec<Served>,
    /// At most this many tasks.
    pub limit: u32,
    /// Of pending tasks, this many are to be the oldest ones, whatever their priority.
    pub oldest: u32,
    /// How deep a payload may be nested.
    pub max_depth: usize,
    /// Earlier claims, all of whose tasks have been written down as ended or parked.
    pub over: Vec<i64>,
}

#[derive(Clone, Debug)]
pub struct Served {
    pub task_type: String,
    /// The version that a fresh task is started with.
    pub version: i32,
    /// The versions that started tasks can be resumed in.
    pub resumes: Vec<i32>,
    /// Time from the first start to the end, waits included; none for no limit.
    pub deadline: Option<Duration>,
}

/// A task that is now ours to run.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub info: Arc<TaskInfo>,
    pub lease: Lease,
    /// The claim that took it, for [`Claim::over`].
    pub claim: i64,
    /// Attempts that ended in a transient error.
    pub failures: u32,
    /// Workers that died while running it.
    pub crashes: u32,
    pub max_attempts: Option<u32>,
    /// It was cancelled and is to be unwound.
    pub cancelled: bool,
    /// What is left of its deadline.
    pub left: Option<Duration>,
    /// Time from when it could run to now.
    pub waited: Duration,
    /// Why it cannot run at all: a reference or a payload that is wrong.
    pub refusal: Option<Error>,
}

impl Claim {
    pub(crate) fn types(&self) -> Vec<&str> {
        self.served
            .iter()
            .map(|served| served.task_type.as_str())
            .collect()
    }

    pub(super) fn versions(&self) -> Vec<i32> {
        self.served.iter().map(|served| served.version).collect()
    }

    pub(super) fn deadlines(&self) -> Vec<Option<f64>> {
        self.served
            .iter()
            .map(|served| served.deadline.map(|d| d.as_secs_f64()))
            .collect()
    }

    /// `TYPE/VERSION` of the begun tasks that can go on.
    pub(super) fn resumable(&self) -> Vec<String> {
        self.served
            .iter()
            .flat_map(|served| {
                served
                    .resumes
                    .iter()
                    .map(|version| format!("{}/{version}", served.task_type))
            })
            .collect()
    }
}

/// Whether we can go on with it: it was not begun, or in a version that we have.
macro_rules! resumable {
    () => {
        "(t.handler_version IS NULL OR t.task_type || '/' || t.handler_version = ANY ($6))"
    };
}
pub(super) use resumable;

/// Forgets the claims `$over`. Not under a lease that has run out: then somebody else has to find what stands in them.
macro_rules! over {
    ($over:literal) => {
        concat!(
            "DELETE FROM longshore.claims WHERE id = ANY (", $over, ")
                AND EXISTS (SELECT FROM longshore.workers w WHERE w.id = $1 AND w.lease_until > clock_timestamp())"
        )
    };
}
pub(super) use over;

/// Makes the rows `$which` ours.
macro_rules! taking {
    ($which:literal) => {
        concat!(
            "mine AS (
                 UPDATE tasks t
                    SET status = CASE t.status WHEN 'cancelled' THEN 'cancelled' ELSE 'in_progress' END,
                        worker_id = $1,
                        attempt = t.attempt + 1,
                        assigned_to = coalesce(t.assigned_to, $2[1]),
                        claimed_at = longshore.utc_now(),
                        started_at = coalesce(t.started_at, longshore.utc_now()),
                        crashes = t.crashes + (t.worker_id IS NOT NULL AND t.status <> 'pending')::int,
                        wait = NULL,
                        handler_version = coalesce(t.handler_version, ($5::int[])[array_position($4, t.task_type)]),
                        deadline_at = coalesce(t.deadline_at, longshore.utc_now()
                            + make_interval(secs => ($7::float8[])[array_position($4, t.task_type)]))
                  WHERE ", $which, "
                    AND EXISTS (SELECT FROM longshore.workers w WHERE w.id = $1 AND w.lease_until > clock_timestamp())
              RETURNING t.id, t.repo_id, t.task_type, t.priority, t.payload, t.status, t.assigned_to, t.created_by,
                        t.parent_task_id, t.attempt, t.failures, t.crashes, t.max_attempts,
                        CASE WHEN t.attempt = 1 AND t.created_at BETWEEN '0001-01-01' AND '9999-12-31' AND t.run_at <= t.created_at + interval '1 minute'
                             THEN t.created_at END AS in_turn,
                        CASE WHEN isfinite(t.deadline_at) THEN date_part('epoch', t.deadline_at - longshore.utc_now()) END AS left,
                        date_part('epoch', longshore.utc_now()
                            - greatest(CASE WHEN isfinite(t.created_at) THEN t.created_at END,
                                       CASE WHEN isfinite(t.run_at) THEN t.run_at END)) AS waited),
             noted AS (
                 INSERT INTO longshore.claims (worker_id, tasks)
                 SELECT $1, array_agg(id) FROM mine HAVING count(*) > 0 RETURNING id)"
        )
    };
}
pub(super) use taking;

/// Where the columns of a claimed row stand, as [`taking`] gives them: to look for each by its name is a good part of what
/// reading a row costs.
pub(super) mod column {
    pub(in crate::engine) const ID: usize = 0;
    pub(in crate::engine) const REPO_ID: usize = 1;
    pub(in crate::engine) const TASK_TYPE: usize = 2;
    pub(in crate::engine) const PRIORITY: usize = 3;
    pub(in crate::engine) const PAYLOAD: usize = 4;
    pub(in crate::engine) const STATUS: usize = 5;
    pub(in crate::engine) const ASSIGNED_TO: usize = 6;
    pub(in crate::engine) const CREATED_BY: usize = 7;
    pub(in crate::engine) const PARENT: usize = 8;
    pub(in crate::engine) const ATTEMPT: usize = 9;
    pub(in crate::engine) const FAILURES: usize = 10;
    pub(in crate::engine) const CRASHES: usize = 11;
    pub(in crate::engine) const MAX_ATTEMPTS: usize = 12;
    pub(in crate::engine) const IN_TURN: usize = 13;
    pub(in crate::engine) const LEFT: usize = 14;
    pub(in crate::engine) const WAITED: usize = 15;
    /// Of the statement, not of the row.
    pub(in crate::engine) const CLAIM: usize = 16;
}

/// What is pending in one priority (`level`), locked, at most so many of each agent and each type. They are looked up one
/// by one, so that what others have pending is not walked through.
macro_rules! pending {
    ($most:literal) => {
        concat!(
            "SELECT mine.* FROM unnest($2::text[]) AS agent CROSS JOIN LATERAL (
                 SELECT t.ctid AS place, t.created_at AS since, t.id FROM tasks t
                  WHERE t.live = 'pending' AND t.assigned_to = agent AND t.priority = level.priority
                    AND (t.created_at, t.id) >= (level.since, level.after) AND t.run_at <= longshore.utc_now()
                    AND ", resumable!(), "
                  ORDER BY t.created_at, t.id LIMIT (SELECT ", $most, " FROM room) FOR UPDATE SKIP LOCKED) AS mine
             UNION ALL
             SELECT anyones.* FROM unnest($4::text[]) AS served CROSS JOIN LATERAL (
                 SELECT t.ctid AS place, t.created_at AS since, t.id FROM tasks t
                  WHERE t.live = 'pending' AND t.assigned_to IS NULL AND t.task_type = served
                    AND t.priority = level.priority
                    AND (t.created_at, t.id) >= (level.since, level.after) AND t.run_at <= longshore.utc_now()
                    AND ", resumable!(), "
                  ORDER BY t.created_at, t.id LIMIT (SELECT ", $most, " FROM room) FOR UPDATE SKIP LOCKED) AS anyones
             UNION ALL
             SELECT late.* FROM unnest($2::text[]) AS agent CROSS JOIN LATERAL (
                 SELECT t.ctid AS place, t.created_at AS since, t.id FROM tasks t
                  WHERE t.live = 'later' AND t.assigned_to = agent AND t.priority = level.priority
                    AND t.run_at <= longshore.utc_now()
                    AND ", resumable!(), "
                  ORDER BY t.run_at LIMIT (SELECT ", $most, " FROM room) FOR UPDATE SKIP LOCKED) AS late
             UNION ALL
             SELECT * FROM (
                 SELECT t.ctid AS place, t.created_at AS since, t.id FROM tasks t
                  WHERE t.live = 'later' AND t.assigned_to IS NULL AND t.task_type = ANY ($4)
                    AND t.priority = level.priority AND t.run_at <= longshore.utc_now()
                    AND ", resumable!(), "
                  ORDER BY t.run_at LIMIT (SELECT ", $most, " FROM room) FOR UPDATE SKIP LOCKED) AS late"
        )
    };
}

impl Store {
    /// Takes up to `limit` tasks: first those whose worker died, that were cancelled or whose wait is over,
    /// then as many of the oldest pending ones as the claim says, then pending ones by priority (10 first) and age. One
    /// statement; rows that others look at, to take them or not, are skipped. Where there are rules, what these allow.
    /// `taken` is kept from one claim to the next, and shared by those under way at the same time.
    pub async fn claim(&self, claim: &Claim, taken: &Taken) -> Result<Vec<Claimed>> {
        let claimed = self
            .within("claim tasks", self.claim_unlimited(claim, taken))
            .await;
        if claimed.is_err() {
            taken.forget();
        }
        claimed
    }

    async fn claim_unlimited(&self, claim: &Claim, taken: &Taken) -> Result<Vec<Claimed>> {
        if self.is_ruled()
            && let Some(claimed) = self.claim_ruled(claim).await?
        {
            taken.forget();
            return Ok(claimed);
        }
        let mut session = self.pinned_session().await.doing("claim tasks")?;
        let claimed = self.claim_unruled(&mut session, claim, taken).await?;
        session.end().await.doing("claim tasks")?;
        if let Some(claimed) = claimed {
            return Ok(claimed);
        }
        taken.forget();
        Ok(self.claim_ruled(claim).await?.unwrap_or_default())
    }

    /// Nothing where it met rules.
    pub(super) async fn claim_unruled(
        &self,
        db: &mut PgConnection,
        claim: &Claim,
        taken: &Taken,
    ) -> Result<Option<Vec<Claimed>>> {
        let places = taken.places(PRIORITIES.rev());
        let rows = self.take(db, claim, &places).await.doing("claim tasks")?;
        if self.has_met_rules(&rows)? {
            return Ok(None);
        }
        // Nothing is known of these tasks before the claim's end: what is read of them is as it was then or later.
        let claimed = self.read_claimed(db, claim, &rows).await?;
        taken
            .note(&places, &rows, rows.len() >= claim.limit as usize)
            .doing("read a claimed task")?;
        Ok(Some(claimed))
    }

    pub(super) async fn read_claimed(
        &self,
        db: &mut PgConnection,
        claim: &Claim,
        rows: &[PgRow],
    ) -> Result<Vec<Claimed>> {
        let repos = self.repos_of(db, rows).await?;
        let mut ancestors = self.ancestors_of(db, rows).await?;
        let doing = "read a claimed task";
        let worker = Arc::from(claim.worker.as_str());
        rows.iter()
            .map(|row| {
                let id: String = row.try_get(column::ID).doing(doing)?;
                read(
                    row,
                    claim,
                    &worker,
                    &repos,
                    ancestors.remove(&id).unwrap_or_default(),
                )
                .doing(doing)
            })
            .collect()
    }

    async fn take(&self, db: &mut PgConnection, claim: &Claim, places: &Places) -> sqlx::Result<Vec<PgRow>> {
        // Rows go by their place (`ctid`) from the look to the update: locked in between, they cannot move. The planner makes
        // nested loops of LATERAL, so priorities are looked at from the highest, and only until there is enough.
        // Each agent and each type is looked up by itself, so that what others have pending is not walked through.
        // `handler_version` of a type that nobody serves stays null: such a task fails at its first attempt.
        // A claim need not be on the disk before the task is run: whatever the task writes comes after it in the log, and
        // a claim that is lost with the server was never made.
        self.query(concat!(
            "WITH ruled AS MATERIALIZED (SELECT ", is_ruled!(), " AS yes),
             woken AS MATERIALIZED (
                 SELECT place FROM (
                     SELECT t.ctid AS place FROM tasks t
                      WHERE t.id = ANY (ARRAY (
                                SELECT unnest(c.tasks) FROM longshore.workers w JOIN longshore.claims c ON c.worker_id = w.id
                                 WHERE w.lease_until <= clock_timestamp()))
                        AND t.status = 'in_progress' AND t.assigned_to = ANY ($2)
                        AND EXISTS (SELECT FROM longshore.workers w
                                     WHERE w.id = t.worker_id AND w.lease_until <= clock_timestamp())
                        AND ", resumable!(), "
                      LIMIT $3 FOR UPDATE SKIP LOCKED) AS abandoned
                 UNION
                 SELECT place FROM (
                     SELECT t.ctid AS place FROM tasks t
                      WHERE t.live = 'cancelling' AND t.assigned_to = ANY ($2)
                        AND NOT EXISTS (SELECT FROM longshore.workers w
                                         WHERE w.id = t.worker_id AND w.lease_until > clock_timestamp())
                        AND ", resumable!(), "
                      LIMIT $3 FOR UPDATE SKIP LOCKED) AS cancelled
                 UNION
                 SELECT place FROM (
                     SELECT t.ctid AS place FROM tasks t
                      WHERE t.live = 'waiting' AND t.run_at <= longshore.utc_now() AND t.assigned_to = ANY ($2)
                        AND ", resumable!(), "
                      ORDER BY t.run_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS due
                 LIMIT (SELECT CASE WHEN yes THEN 0 ELSE $3 END FROM ruled)),
             room AS MATERIALIZED (
                 SELECT slots, least($8, slots) AS oldest, set_config('synchronous_commit', 'off', true)
                   FROM (SELECT CASE WHEN (SELECT yes FROM ruled) THEN 0 ELSE $3 - (SELECT count(*) FROM woken) END AS slots) AS free),
             level AS MATERIALIZED (
                 SELECT * FROM unnest($11::int[], $9::text[]::timestamp[], $10::text[]) AS l(priority, since, after)),
             aged AS MATERIALIZED (
                 SELECT old.place FROM level CROSS JOIN LATERAL (", pending!("oldest"), ") AS old
                  ORDER BY old.since LIMIT (SELECT oldest FROM room)),
             in_turn AS MATERIALIZED (
                 SELECT next.place FROM level CROSS JOIN LATERAL (
                     SELECT found.place FROM (", pending!("slots"), ") AS found
                      ORDER BY found.since, found.id LIMIT (SELECT slots FROM room)) AS next
                  LIMIT (SELECT slots FROM room)),
             ", taking!("t.ctid = ANY (ARRAY (
                        SELECT place FROM woken
                        UNION ALL SELECT place FROM aged
                        UNION ALL (SELECT place FROM in_turn WHERE place <> ALL (ARRAY (SELECT place FROM aged))
                                    LIMIT (SELECT slots - (SELECT count(*) FROM aged) FROM room))))"), ",
             over AS (", over!("$12"), ")
             SELECT mine.*, noted.id AS claim, ruled.yes AS ruled
               FROM ruled LEFT JOIN (mine CROSS JOIN noted) ON true WHERE ruled.yes OR mine.id IS NOT NULL"
        ))
        .bind(&claim.worker)
        .bind(&claim.agents)
        .bind(i64::from(claim.limit))
        .bind(claim.types())
        .bind(claim.versions())
        .bind(claim.resumable())
        .bind(claim.deadlines())
        .bind(i64::from(claim.oldest))
        .bind(&places.since)
        .bind(&places.after)
        .bind(PRIORITIES.rev().collect::<Vec<i32>>())
        .bind(&claim.over)
        .fetch_all(db)
        .await
    }

    async fn repos_of(&self, db: &mut PgConnection, rows: &[PgRow]) -> Result<HashMap<String, Repo>> {
        let mut ids: Vec<String> = rows
            .iter()
            .filter_map(|row| row.try_get(column::REPO_ID).ok().flatten())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let repos = self.repos_by_ids(db, &ids).await?;
        Ok(repos.into_iter().map(|repo| (repo.id.clone(), repo)).collect())
    }

    /// Each task's chain of parents, nearest first, up to one more than may be.
    async fn ancestors_of(
        &self,
        db: &mut PgConnection,
        rows: &[PgRow],
    ) -> Result<HashMap<String, Vec<Ancestor>>> {
        let children: Vec<String> = rows
            .iter()
            .filter(|row| {
                row.try_get::<Option<String>, _>(column::PARENT)
                    .is_ok_and(|parent| parent.is_some())
            })
            .filter_map(|row| row.try_get(column::ID).ok())
            .collect();
        if children.is_empty() {
            return Ok(HashMap::new());
        }
        ticket::ancestors(self, db, &children).await
    }
}

fn read(
    row: &PgRow,
    claim: &Claim,
    worker: &Arc<str>,
    repos: &HashMap<String, Repo>,
    ancestors: Vec<Ancestor>,
) -> std::result::Result<Claimed, sqlx::Error> {
    let id = TaskId::from(row.try_get::<String, _>(column::ID)?);
    let repo_id: Option<String> = row.try_get(column::REPO_ID)?;
    let parent: Option<String> = row.try_get(column::PARENT)?;
    let stored = json::read(row, column::PAYLOAD)?;
    let repo = repo_id.as_ref().and_then(|id| repos.get(id)).cloned();
    let refusal = refuse::payload(&stored, claim.max_depth)
        .or_else(|| repo_id.filter(|_| repo.is_none()).map(refuse::unknown_repo))
        .or_else(|| repo.as_ref().and_then(refuse::settings))
        .or_else(|| ticket::refuse_parents(&id, parent.as_deref(), &ancestors));
    let payload = stored.ok().flatten().unwrap_or_default();
    let priority =
        Priority::try_from(i64::from(row.try_get::<i32, _>(column::PRIORITY)?)).unwrap_or_default();
    let seconds = |column: usize| -> std::result::Result<Option<Duration>, sqlx::Error> {
        let value: Option<f64> = row.try_get(column)?;
        Ok(value.map(|s| Duration::try_from_secs_f64(s).unwrap_or_default()))
    };
    Ok(Claimed {
        lease: Lease {
            task: id.clone(),
            worker: worker.clone(),
            attempt: row.try_get(column::ATTEMPT)?,
        },
        claim: row.try_get(column::CLAIM)?,
        failures: row.try_get::<i32, _>(column::FAILURES)?.unsigned_abs(),
        crashes: row.try_get::<i32, _>(column::CRASHES)?.unsigned_abs(),
        max_attempts: row
            .try_get::<Option<i32>, _>(column::MAX_ATTEMPTS)?
            .and_then(|n| u32::try_from(n).ok()),
        cancelled: row.try_get::<String, _>(column::STATUS)? == "cancelled",
        left: seconds(column::LEFT)?,
        waited: seconds(column::WAITED)?.unwrap_or_default(),
        refusal,
        info: Arc::new(TaskInfo {
            ticket: ticket::of(&payload, repo.as_ref(), &ancestors),
            id,
            task_type: row.try_get(column::TASK_TYPE)?,
            priority,
            payload,
            created_by: row.try_get(column::CREATED_BY)?,
            assigned_to: row.try_get(column::ASSIGNED_TO)?,
            parent: parent.map(TaskId::from),
            repo,
        }),
    })
}
