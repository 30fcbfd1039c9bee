//! Dead letters: what failed or is held, and so needs somebody.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDateTime, Utc};
use domain::{Result, TaskId, redact};
use serde::Serialize;
use sqlx::Row;

use super::ours::is_ours;
use crate::Store;
use crate::error::SqlResult;

/// The newest failed tasks that are looked at; likewise of held ones.
const LOOKED_AT: i64 = 10_000;
/// Ids shown of one group.
const SHOWN: i64 = 5;

/// Which dead letters; what is none does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadFilter {
    pub task_type: Option<String>,
    pub assigned_to: Option<String>,
    pub repo_id: Option<String>,
    pub created_after: Option<DateTime<Utc>>,
    /// At most so many groups.
    pub limit: u32,
}

/// Tasks of one type that stopped for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadGroup {
    /// `failed` or `held`.
    pub state: String,
    pub task_type: String,
    /// What their errors, or the reasons for holding them, have in common: the first line, with `#` for ids and numbers. Where
    /// that held a secret, the newest one's line without it, by which none of them is found again.
    pub error: String,
    pub count: i64,
    pub first_seen: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    /// The newest of them.
    pub task_ids: Vec<TaskId>,
}

/// The dead letters, those seen last first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetters {
    pub groups: Vec<DeadGroup>,
    /// Tasks in all groups, those beyond `limit` included.
    pub total: i64,
    /// False when there are so many that only the newest ten thousand were looked at.
    pub complete: bool,
}

/// A token with `#` for its numbers is one that nobody would recognise: the newest of the errors themselves is looked at.
fn without_secrets(class: String, newest: Option<String>) -> String {
    let newest = newest.unwrap_or_default();
    match redact(&newest) {
        Cow::Borrowed(_) => redact(&class).into_owned(),
        clean => clean.into_owned(),
    }
}

impl Store {
    /// Our failed and held tasks by type and error. What was completed is not looked at.
    pub async fn dead_letters(&self, filter: &DeadFilter) -> Result<DeadLetters> {
        let doing = "look for dead letters";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let ours = self.ours(&mut tx).await?;
        let rows = self
            .query(concat!(
                "WITH failed AS MATERIALIZED (
                     SELECT t.id, t.task_type, 'failed' AS state, t.error AS said, coalesce(t.completed_at, t.created_at) AS at
                       FROM tasks t WHERE t.live = 'failed' AND ",
                is_ours!(),
                "   AND ($3::text IS NULL OR t.task_type = $3) AND ($4::text IS NULL OR t.assigned_to = $4)
                    AND ($5::text IS NULL OR t.repo_id = $5) AND ($6::timestamp IS NULL OR t.created_at >= $6)
                  ORDER BY t.created_at DESC, t.id DESC LIMIT $7),
                 held AS MATERIALIZED (
                     SELECT t.id, t.task_type, 'held' AS state, t.wait->>'held' AS said, coalesce(t.claimed_at, t.created_at) AS at
                       FROM tasks t WHERE t.live = 'waiting' AND t.wait ? 'held' AND ",
                is_ours!(),
                "   AND ($3::text IS NULL OR t.task_type = $3) AND ($4::text IS NULL OR t.assigned_to = $4)
                    AND ($5::text IS NULL OR t.repo_id = $5) AND ($6::timestamp IS NULL OR t.created_at >= $6)
                  LIMIT $7),
                 dead AS (SELECT * FROM failed UNION ALL SELECT * FROM held)
                 SELECT state, task_type, coalesce(longshore.error_class(said), '') AS error, count(*) AS count,
                        min(at) AS first_seen, max(at) AS last_seen,
                        (array_agg(left(split_part(said, E'\\n', 1), 2000) ORDER BY at DESC, id DESC))[1] AS newest, (array_agg(id ORDER BY at DESC, id DESC))[1:$8] AS ids,
                        (SELECT count(*) FROM dead) AS total,
                        greatest((SELECT count(*) FROM failed), (SELECT count(*) FROM held)) < $7 AS complete
                   FROM dead WHERE isfinite(at) GROUP BY 1, 2, 3 ORDER BY max(at) DESC, count(*) DESC LIMIT $9"
            ))
            .bind(&ours.agents)
            .bind(&ours.types)
            .bind(&filter.task_type)
            .bind(&filter.assigned_to)
            .bind(&filter.repo_id)
            .bind(filter.created_after.map(|at| at.naive_utc()))
            .bind(LOOKED_AT)
            .bind(SHOWN)
            .bind(i64::from(filter.limit))
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        let (mut total, mut complete) = (0, true);
        let mut groups = Vec::with_capacity(rows.len());
        let mut read = || -> Result<(), sqlx::Error> {
            for row in &rows {
                total = row.try_get("total")?;
                complete = row.try_get("complete")?;
                let ids: Vec<String> = row.try_get("ids")?;
                groups.push(DeadGroup {
                    state: row.try_get("state")?,
                    task_type: row.try_get("task_type")?,
                    error: without_secrets(row.try_get("error")?, row.try_get("newest")?),
                    count: row.try_get("count")?,
                    first_seen: row.try_get::<NaiveDateTime, _>("first_seen")?.and_utc(),
                    last_seen: row.try_get::<NaiveDateTime, _>("last_seen")?.and_utc(),
                    task_ids: ids.into_iter().map(TaskId::from).collect(),
                });
            }
            Ok(())
        };
        read().doing(doing)?;
        Ok(DeadLetters {
            groups,
            total,
            complete,
        })
    }
}
