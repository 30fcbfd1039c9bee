use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use domain::{Error, Result, TaskId, TaskStatus};
use serde::Serialize;
use sqlx::{PgConnection, Row};

use super::row::{TaskRow, task_columns};
use crate::Store;
use crate::error::SqlResult;

/// Which tasks to list. Empty means all; at most `limit`, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFilter {
    pub status: Vec<TaskStatus>,
    pub limit: u32,
    pub task_type: Option<String>,
    pub assigned_to: Option<String>,
    pub repo_id: Option<String>,
}

impl Default for TaskFilter {
    fn default() -> Self {
        Self {
            status: Vec::new(),
            limit: 50,
            task_type: None,
            assigned_to: None,
            repo_id: None,
        }
    }
}

/// Where a list went on from: the last task of the page before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub created_at: DateTime<Utc>,
    pub id: TaskId,
}

impl From<&TaskRow> for Cursor {
    fn from(row: &TaskRow) -> Self {
        Self {
            created_at: row.created_at,
            id: row.id.clone(),
        }
    }
}

/// One journaled step, for people to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepRow {
    /// `run`, `unwind` or a branch of theirs.
    pub scope: String,
    pub key: String,
    /// `step`, `effect`, `sleep`, `wait`…
    pub kind: String,
    /// The attempt that did it, or began it.
    pub attempt: i64,
    pub started_at: DateTime<Utc>,
    /// None while it was begun and is not known to be done.
    pub done_at: Option<DateTime<Utc>>,
    /// When a sleep or a limited wait is over.
    pub deadline: Option<DateTime<Utc>>,
    /// Why it failed for good, where it did.
    pub error: Option<String>,
}

impl Store {
    /// One task; `NotFound` if there is none.
    pub async fn task(&self, id: &TaskId) -> Result<TaskRow> {
        let mut tx = self.pool().begin().await.doing("read the task")?;
        let row = self.task_in(&mut tx, id).await?;
        tx.commit().await.doing("read the task")?;
        Ok(row)
    }

    pub(super) async fn task_in(&self, tx: &mut PgConnection, id: &TaskId) -> Result<TaskRow> {
        let row = self
            .query(concat!(
                "SELECT ",
                task_columns!(),
                " FROM tasks t WHERE t.id = $1"
            ))
            .bind(id.as_str())
            .fetch_optional(tx)
            .await
            .doing("read the task")?;
        let row = row.ok_or_else(|| {
            Error::not_found(format!("there is no task {id}")).next("`longshore tasks list` shows the newest")
        })?;
        TaskRow::read(&row).doing("read the task")
    }

    /// The newest tasks that fit. Rows whose status is a word of another program alone are left out.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRow>> {
        self.tasks_before(filter, None).await
    }

    /// The next page of the list: what was made before `cursor`.
    pub async fn tasks_before(&self, filter: &TaskFilter, cursor: Option<&Cursor>) -> Result<Vec<TaskRow>> {
        let wanted: &[TaskStatus] = if filter.status.is_empty() {
            &TaskStatus::ALL
        } else {
            &filter.status
        };
        let wanted: Vec<&str> = wanted.iter().map(|status| status.as_str()).collect();
        let mut tx = self.pool().begin().await.doing("list tasks")?;
        let rows = self
            .query(concat!(
                "SELECT ",
                task_columns!(),
                " FROM tasks t
                  WHERE t.status = ANY ($1) AND ($2::text IS NULL OR t.task_type = $2)
                    AND ($3::text IS NULL OR t.assigned_to = $3) AND ($4::text IS NULL OR t.repo_id = $4)
                    AND ($5::timestamp IS NULL OR (t.created_at, t.id) < ($5, $6))
                  ORDER BY t.created_at DESC, t.id DESC LIMIT $7"
            ))
            .bind(&wanted)
            .bind(&filter.task_type)
            .bind(&filter.assigned_to)
            .bind(&filter.repo_id)
            .bind(cursor.map(|cursor| cursor.created_at.naive_utc()))
            .bind(cursor.map(|cursor| cursor.id.as_str()))
            .bind(i64::from(filter.limit))
            .fetch_all(&mut *tx)
            .await
            .doing("list tasks")?;
        tx.commit().await.doing("list tasks")?;
        rows.iter()
            .map(TaskRow::read)
            .collect::<Result<_, _>>()
            .doing("list tasks")
    }

    /// How many tasks stand in each status of the contract, over the whole table.
    pub async fn task_counts(&self) -> Result<BTreeMap<&'static str, i64>> {
        let doing = "count the tasks";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query("SELECT status, count(*) AS count FROM tasks GROUP BY status")
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        let mut counts: BTreeMap<_, _> = TaskStatus::ALL.map(|status| (status.as_str(), 0)).into();
        for row in rows {
            let word: String = row.try_get("status").doing(doing)?;
            if let Ok(status) = word.parse::<TaskStatus>() {
                counts.insert(status.as_str(), row.try_get("count").doing(doing)?);
            }
        }
        Ok(counts)
    }

    /// A task's journal in the order of its making.
    pub async fn steps(&self, id: &TaskId) -> Result<Vec<StepRow>> {
        let mut tx = self.pool().begin().await.doing("read the task's steps")?;
        let rows = self
            .query(
                "SELECT scope, key, kind, attempt, started_at, done_at, deadline,
                        concat_ws(': ', outcome->'err'->>'what', outcome->'err'->'causes'->>0) AS error
                   FROM longshore.task_steps
                  WHERE task_id = $1 ORDER BY started_at, scope, seq",
            )
            .bind(id.as_str())
            .fetch_all(&mut *tx)
            .await
            .doing("read the task's steps")?;
        tx.commit().await.doing("read the task's steps")?;
        rows.iter()
            .map(|row| {
                Ok(StepRow {
                    scope: row.try_get("scope")?,
                    key: row.try_get("key")?,
                    kind: row.try_get("kind")?,
                    attempt: row.try_get("attempt")?,
                    started_at: row.try_get("started_at")?,
                    done_at: row.try_get("done_at")?,
                    deadline: row.try_get("deadline")?,
                    error: row
                        .try_get::<Option<String>, _>("error")?
                        .filter(|error| !error.is_empty()),
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .doing("read the task's steps")
    }
}
