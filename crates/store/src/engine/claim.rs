use std::collections::HashMap;
use std::time::Duration;

use domain::{Error, Priority, Repo, Result, TaskId, TaskInfo};
use durable::Lease;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use super::ticket::{self, Ancestor};
use crate::Store;
use crate::error::SqlResult;
use crate::json::{self, Unreadable};

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
    pub info: TaskInfo,
    pub lease: Lease,
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
}

impl Store {
    /// Takes up to `limit` tasks: first those whose worker died, that were cancelled or whose wait is over,
    /// then as many of the oldest pending ones as the claim says, then pending ones by priority (10 first) and age. One
    /// statement; rows that others are taking are skipped.
    pub async fn claim(&self, claim: &Claim) -> Result<Vec<Claimed>> {
        self.within("claim tasks", self.claim_unlimited(claim)).await
    }

    async fn claim_unlimited(&self, claim: &Claim) -> Result<Vec<Claimed>> {
        let mut tx = self.pool().begin().await.doing("claim tasks")?;
        let rows = self.take(&mut tx, claim).await?;
        if rows.is_empty() {
            tx.commit().await.doing("claim tasks")?;
            return Ok(Vec::new());
        }
        let repos = self.repos_of(&mut tx, &rows).await?;
        let mut ancestors = self.ancestors_of(&mut tx, &rows).await?;
        tx.commit().await.doing("claim tasks")?;
        rows.iter()
            .map(|row| {
                let id: String = row.try_get("id").doing("read a claimed task")?;
                read(row, claim, &repos, ancestors.remove(&id).unwrap_or_default())
                    .doing("read a claimed task")
            })
            .collect()
    }

    async fn take(&self, tx: &mut PgConnection, claim: &Claim) -> Result<Vec<PgRow>> {
        let versions: Vec<i32> = claim.served.iter().map(|served| served.version).collect();
        let deadlines: Vec<Option<f64>> = claim
            .served
            .iter()
            .map(|served| served.deadline.map(|d| d.as_secs_f64()))
            .collect();
        let resumable: Vec<String> = claim
            .served
            .iter()
            .flat_map(|served| {
                served
                    .resumes
                    .iter()
                    .map(|version| format!("{}/{version}", served.task_type))
            })
            .collect();
        // Each agent and each type is looked up by itself, so that what others have pending is not walked through.
        // `taken` is as the statement's snapshot has it; what may have changed before the lock is read from `t`.
        // `handler_version` of a type that nobody serves stays null: such a task fails at its first attempt.
        // Rows are named by arrays, which the planner always looks up: of a join it may think that it brings many.
        // The oldest are looked for in each priority by itself, so that no index by age alone must be kept.
        self.query(
            "WITH woken AS MATERIALIZED (
                 SELECT id FROM (
                     SELECT t.id FROM tasks t
                      WHERE t.worker_id IS NOT NULL AND t.status IN ('in_progress', 'cancelled')
                        AND NOT EXISTS (SELECT FROM longshore.workers w
                                         WHERE w.id = t.worker_id AND w.lease_until > clock_timestamp())
                        AND t.assigned_to = ANY ($2)
                        AND (t.handler_version IS NULL OR t.task_type || '/' || t.handler_version = ANY ($6))
                      LIMIT $3 FOR UPDATE SKIP LOCKED) AS abandoned
                 UNION ALL
                 SELECT id FROM (
                     SELECT t.id FROM tasks t
                      WHERE t.status = 'cancelled' AND t.worker_id IS NULL AND t.wait IS NOT NULL
                        AND t.assigned_to = ANY ($2)
                        AND (t.handler_version IS NULL OR t.task_type || '/' || t.handler_version = ANY ($6))
                      LIMIT $3 FOR UPDATE SKIP LOCKED) AS cancelled
                 UNION ALL
                 SELECT id FROM (
                     SELECT t.id FROM tasks t
                      WHERE t.status = 'waiting' AND t.run_at <= longshore.utc_now() AND t.assigned_to = ANY ($2)
                        AND (t.handler_version IS NULL OR t.task_type || '/' || t.handler_version = ANY ($6))
                      ORDER BY t.run_at LIMIT $3 FOR UPDATE SKIP LOCKED) AS due
                 LIMIT $3),
             room AS MATERIALIZED (SELECT greatest($3 - count(*), 0) AS slots FROM woken),
             aged AS MATERIALIZED (
                 SELECT id FROM (
                     SELECT mine.* FROM unnest($2::text[]) AS agent CROSS JOIN generate_series(1, 10) AS level
                      CROSS JOIN LATERAL (
                         SELECT t.id, t.created_at FROM tasks t
                          WHERE t.status = 'pending' AND t.assigned_to = agent AND t.priority = level
                            AND t.run_at <= longshore.utc_now()
                            AND (t.handler_version IS NULL OR t.task_type || '/' || t.handler_version = ANY ($6))
                          ORDER BY t.created_at LIMIT (SELECT least($8, slots) FROM room)
                            FOR UPDATE SKIP LOCKED) AS mine
                     UNION ALL
                     SELECT anyones.* FROM unnest($4::text[]) AS served CROSS JOIN generate_series(1, 10) AS level
                      CROSS JOIN LATERAL (
                         SELECT t.id, t.created_at FROM tasks t
                          WHERE t.status = 'pending' AND t.assigned_to IS NULL AND t.task_type = served
                            AND t.priority = level AND t.run_at <= longshore.utc_now()
                            AND (t.handler_version IS NULL OR t.task_type || '/' || t.handler_version = ANY ($6))
                          ORDER BY t.created_at LIMIT (SELECT least($8, slots) FROM room)
                            FOR UPDATE SKIP LOCKED) AS anyones) AS old
                  ORDER BY created_at LIMIT (SELECT least($8, slots) FROM room)),
             pending AS MATERIALIZED (
                 SELECT id FROM (
                     SELECT mine.* FROM unnest($2::text[]) AS agent CROSS JOIN LATERAL (
                         SELECT t.id, t.priority, t.created_at FROM tasks t
                          WHERE t.status = 'pending' AND t.assigned_to = agent AND t.run_at <= longshore.utc_now()
                            AND (t.handler_version IS NULL OR t.task_type || '/' || t.handler_version = ANY ($6))
                            AND t.id <> ALL (ARRAY (SELECT id FROM aged))
                          ORDER BY t.priority DESC, t.created_at
                          LIMIT (SELECT slots FROM room) FOR UPDATE SKIP LOCKED) AS mine
                     UNION ALL
                     SELECT anyones.* FROM unnest($4::text[]) AS served CROSS JOIN LATERAL (
                         SELECT t.id, t.priority, t.created_at FROM tasks t
                          WHERE t.status = 'pending' AND t.assigned_to IS NULL AND t.task_type = served
                            AND t.run_at <= longshore.utc_now()
                            AND (t.handler_version IS NULL OR t.task_type || '/' || t.handler_version = ANY ($6))
                            AND t.id <> ALL (ARRAY (SELECT id FROM aged))
                          ORDER BY t.priority DESC, t.created_at
                          LIMIT (SELECT slots FROM room) FOR UPDATE SKIP LOCKED) AS anyones) AS first
                  ORDER BY priority DESC, created_at
                  LIMIT (SELECT slots - (SELECT count(*) FROM aged) FROM room)),
             taken AS MATERIALIZED (
                 SELECT t.id, t.run_at, s.version, s.deadline
                   FROM tasks t
                   LEFT JOIN unnest($4::text[], $5::int[], $7::float8[]) AS s(task_type, version, deadline)
                     ON s.task_type = t.task_type
                  WHERE t.id = ANY (ARRAY (SELECT id FROM woken UNION SELECT id FROM aged UNION SELECT id FROM pending)))
             UPDATE tasks t
                SET status = CASE t.status WHEN 'cancelled' THEN 'cancelled' ELSE 'in_progress' END,
                    worker_id = $1,
                    attempt = t.attempt + 1,
                    assigned_to = coalesce(t.assigned_to, $2[1]),
                    claimed_at = longshore.utc_now(),
                    started_at = coalesce(t.started_at, longshore.utc_now()),
                    crashes = t.crashes + (t.worker_id IS NOT NULL AND t.status <> 'pending')::int,
                    wait = NULL,
                    handler_version = coalesce(t.handler_version, taken.version),
                    deadline_at = coalesce(t.deadline_at, longshore.utc_now() + make_interval(secs => taken.deadline))
               FROM taken
              WHERE t.id = taken.id AND t.id = ANY (ARRAY (SELECT id FROM taken))
                AND EXISTS (SELECT FROM longshore.workers w WHERE w.id = $1 AND w.lease_until > clock_timestamp())
          RETURNING t.id, t.repo_id, t.task_type, t.priority, t.payload, t.status, t.assigned_to, t.created_by,
                    t.parent_task_id, t.attempt, t.failures, t.crashes, t.max_attempts,
                    CASE WHEN isfinite(t.deadline_at)
                         THEN extract(epoch FROM t.deadline_at - longshore.utc_now())::float8 END AS left,
                    extract(epoch FROM longshore.utc_now()
                        - greatest(CASE WHEN isfinite(t.created_at) THEN t.created_at END,
                                   CASE WHEN isfinite(taken.run_at) THEN taken.run_at END))::float8 AS waited",
        )
        .bind(&claim.worker)
        .bind(&claim.agents)
        .bind(i64::from(claim.limit))
        .bind(claim.types())
        .bind(&versions)
        .bind(&resumable)
        .bind(&deadlines)
        .bind(i64::from(claim.oldest))
        .fetch_all(tx)
        .await
        .doing("claim tasks")
    }

    async fn repos_of(&self, tx: &mut PgConnection, rows: &[PgRow]) -> Result<HashMap<String, Repo>> {
        let mut ids: Vec<String> = rows
            .iter()
            .filter_map(|row| row.try_get("repo_id").ok().flatten())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let repos = self.repos_by_ids(tx, &ids).await?;
        Ok(repos.into_iter().map(|repo| (repo.id.clone(), repo)).collect())
    }

    /// Each task's chain of parents, nearest first, up to one more than may be.
    async fn ancestors_of(
        &self,
        tx: &mut PgConnection,
        rows: &[PgRow],
    ) -> Result<HashMap<String, Vec<Ancestor>>> {
        let children: Vec<String> = rows
            .iter()
            .filter(|row| {
                row.try_get::<Option<String>, _>("parent_task_id")
                    .is_ok_and(|parent| parent.is_some())
            })
            .filter_map(|row| row.try_get("id").ok())
            .collect();
        if children.is_empty() {
            return Ok(HashMap::new());
        }
        ticket::ancestors(self, tx, &children).await
    }
}

fn read(
    row: &PgRow,
    claim: &Claim,
    repos: &HashMap<String, Repo>,
    ancestors: Vec<Ancestor>,
) -> std::result::Result<Claimed, sqlx::Error> {
    let id = TaskId::from(row.try_get::<String, _>("id")?);
    let repo_id: Option<String> = row.try_get("repo_id")?;
    let parent: Option<String> = row.try_get("parent_task_id")?;
    let stored = json::read(row, "payload")?;
    let repo = repo_id.as_ref().and_then(|id| repos.get(id)).cloned();
    let refusal = refuse_payload(&stored, claim.max_depth)
        .or_else(|| repo_id.filter(|_| repo.is_none()).map(unknown_repo))
        .or_else(|| repo.as_ref().and_then(refuse_settings))
        .or_else(|| ticket::refuse_parents(&id, parent.as_deref(), &ancestors));
    let payload = stored.ok().flatten().unwrap_or_default();
    let priority = Priority::try_from(i64::from(row.try_get::<i32, _>("priority")?)).unwrap_or_default();
    let seconds = |name| -> std::result::Result<Option<Duration>, sqlx::Error> {
        let value: Option<f64> = row.try_get(name)?;
        Ok(value.map(|s| Duration::try_from_secs_f64(s).unwrap_or_default()))
    };
    Ok(Claimed {
        lease: Lease {
            task: id.clone(),
            worker: claim.worker.clone(),
            attempt: row.try_get("attempt")?,
        },
        failures: row.try_get::<i32, _>("failures")?.unsigned_abs(),
        crashes: row.try_get::<i32, _>("crashes")?.unsigned_abs(),
        max_attempts: row
            .try_get::<Option<i32>, _>("max_attempts")?
            .and_then(|n| u32::try_from(n).ok()),
        cancelled: row.try_get::<String, _>("status")? == "cancelled",
        left: seconds("left")?,
        waited: seconds("waited")?.unwrap_or_default(),
        refusal,
        info: TaskInfo {
            ticket: ticket::of(&payload, repo.as_ref(), &ancestors),
            id,
            task_type: row.try_get("task_type")?,
            priority,
            payload,
            created_by: row.try_get("created_by")?,
            assigned_to: row.try_get("assigned_to")?,
            parent: parent.map(TaskId::from),
            repo,
        },
    })
}

fn unknown_repo(id: String) -> Error {
    Error::invalid(format!("repo_id {id:?} is not in the table repos"))
        .next("Register it with `longshore repos add`, or name a registered one (`longshore repos list`)")
}

/// Settings that other programs wrote by hand and that no handler could read.
fn refuse_settings(repo: &Repo) -> Option<Error> {
    let wrong = match &repo.settings {
        Value::Null | Value::Object(_) => return None,
        Value::String(text) => format!("a string ({})", text.chars().take(200).collect::<String>()),
        other => kind_of(other).to_owned(),
    };
    Some(
        Error::invalid(format!(
            "settings of repo {:?} is {wrong} where an object is needed",
            repo.id
        ))
        .next("Mend them, for example with `longshore repos add`, and send the task again"),
    )
}

fn refuse_payload(payload: &json::Stored, max_depth: usize) -> Option<Error> {
    let payload = match payload {
        Ok(payload) => payload.as_ref().unwrap_or(&Value::Null),
        Err(Unreadable::TooDeep) => return Some(too_deep(max_depth)),
        Err(Unreadable::Other(why)) => {
            return Some(
                Error::invalid(format!("payload cannot be read: {why}"))
                    .next("Send numbers that a 64-bit float can hold; put larger ones into strings"),
            );
        }
    };
    match payload {
        Value::Object(_) => {
            let mut level: Vec<&Value> = vec![payload];
            for _ in 0..max_depth {
                level = level.into_iter().flat_map(children).collect();
                if level.is_empty() {
                    return None;
                }
            }
            Some(too_deep(max_depth))
        }
        other => Some(
            Error::invalid(format!("payload is {} where an object is needed", kind_of(other)))
                .next(r#"Send an object such as {"instruction": "fix pipeline 4711"}"#),
        ),
    }
}

fn too_deep(max_depth: usize) -> Error {
    Error::invalid(format!("payload is nested deeper than {max_depth} levels"))
        .next("Flatten it, or put the deep part into a string")
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
