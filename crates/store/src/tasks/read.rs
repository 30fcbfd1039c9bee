use chrono::{DateTime, Utc};
use domain::{Error, Result, TaskId};
use serde::Serialize;
use sqlx::{PgConnection, Row};

use super::row::{TaskRow, task_columns};
use crate::Store;
use crate::error::SqlResult;

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
        let mut row = self.task_in(&mut tx, id).await?;
        self.note_held_back(&mut tx, std::slice::from_mut(&mut row))
            .await?;
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
