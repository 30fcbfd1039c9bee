//! Follow-on tasks, made in the transaction of the step that wants them.

use domain::{Error, NewTask, TaskId};
use durable::{JournalError, Lease};
use serde_json::Value;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::describe;
use crate::tasks::LOOKS;

const DOING: &str = "insert a follow-on task";

impl Store {
    /// What a child that is cancelled with its parent is told: by whom that one was, where its record says so.
    pub(super) async fn told_with_parent(
        &self,
        tx: &mut PgConnection,
        parent: &TaskId,
    ) -> Result<String, JournalError> {
        let broken =
            |error: sqlx::Error| JournalError::from(describe(&error, "read who cancelled the parent"));
        // After an end or another try, what was asked before is no answer: the parent was cancelled in plain SQL.
        let asked: Option<String> = self
            .query(
                "SELECT CASE WHEN kind = 'cancel asked' THEN summary END FROM longshore.task_events
                  WHERE task_id = $1 AND kind IN ('cancel asked', 'retry asked', 'completed', 'failed', 'cancelled')
                  ORDER BY id DESC LIMIT 1",
            )
            .bind(parent.as_str())
            .fetch_optional(tx)
            .await
            .and_then(|row| row.map_or(Ok(None), |row| row.try_get(0)))
            .map_err(broken)?;
        Ok(with_parent(asked.as_deref(), parent))
    }

    /// The child's id, and whether it is an unfinished task with the same dedupe key that was there already. `Conflict` where
    /// that one is the task itself or above it: whoever waits for it would wait for ever.
    pub(super) async fn insert_child(
        &self,
        tx: &mut PgConnection,
        lease: &Lease,
        child: &NewTask,
        payload: &Value,
    ) -> Result<(TaskId, bool), JournalError> {
        let broken = |error: sqlx::Error| JournalError::from(describe(&error, DOING));
        for _ in 0..LOOKS {
            if let Some(key) = &child.dedupe_key
                && let Some(made) = self.unfinished_of(tx, key).await.map_err(broken)?
            {
                if self.is_below(tx, &lease.task, &made.id).await.map_err(broken)? {
                    return Err(own_key(key, &lease.task, &made.id).into());
                }
                return Ok((made.id, true));
            }
            let row = self
                .query(
                    "INSERT INTO tasks (repo_id, task_type, priority, payload, assigned_to, created_by, parent_task_id, dedupe_key)
                     SELECT coalesce($2, t.repo_id), $3, $4, $5, $6, coalesce($7, t.assigned_to), t.id, $8
                       FROM tasks t WHERE t.id = $1
                     ON CONFLICT (open_key) WHERE open_key IS NOT NULL DO NOTHING
                  RETURNING id",
                )
                .bind(lease.task.as_str())
                .bind(&child.repo_id)
                .bind(&child.task_type)
                .bind(i32::from(child.priority.get()))
                .bind(payload)
                .bind(&child.assigned_to)
                .bind(&child.created_by)
                .bind(&child.dedupe_key)
                .fetch_optional(&mut *tx)
                .await
                .map_err(broken)?;
            if let Some(row) = row {
                let id: String = row.try_get("id").map_err(broken)?;
                return Ok((TaskId::from(id), false));
            }
        }
        Err(broken(sqlx::Error::RowNotFound))
    }

    /// Whether a task is this one or a follow-on of it, at whatever distance.
    async fn is_below(
        &self,
        tx: &mut PgConnection,
        task: &TaskId,
        above: &TaskId,
    ) -> Result<bool, sqlx::Error> {
        let row = self
            .query(
                "WITH RECURSIVE up AS (
                     SELECT id, parent_task_id FROM tasks WHERE id = $1
                     UNION SELECT p.id, p.parent_task_id FROM up JOIN tasks p ON p.id = up.parent_task_id)
                 SELECT EXISTS (SELECT FROM up WHERE id = $2) AS below",
            )
            .bind(task.as_str())
            .bind(above.as_str())
            .fetch_one(tx)
            .await?;
        row.try_get("below")
    }
}

fn own_key(key: &str, task: &TaskId, found: &TaskId) -> Error {
    let whose = if task == found {
        "the task itself".to_owned()
    } else {
        format!("task {found}, of which it is a part")
    };
    Error::conflict(format!(
        "task {task} wants a follow-on with the dedupe key {key:?}, which is that of {whose}"
    ))
    .next("It would wait for itself: the handler has to give its follow-ons keys of their own")
}

/// `Cancelled by ada, with its parent b42`; of several generations, the nearest parent is named.
fn with_parent(asked: Option<&str>, parent: &TaskId) -> String {
    const WITH: &str = " with its parent ";
    let told = asked.unwrap_or("Cancelled");
    let by = told
        .rsplit_once(WITH)
        .map_or(told, |(by, _)| by.trim_end_matches(','));
    let comma = if by.contains(' ') { "," } else { "" };
    format!("{by}{comma}{WITH}{parent}")
}
