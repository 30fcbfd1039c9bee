//! Follow-on tasks, made in the transaction of the step that wants them.

use domain::{NewTask, TaskId};
use durable::Lease;
use serde_json::Value;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::tasks::LOOKS;

impl Store {
    /// The child's id, and whether it is an unfinished task with the same dedupe key that was there already.
    pub(super) async fn insert_child(
        &self,
        tx: &mut PgConnection,
        lease: &Lease,
        child: &NewTask,
        payload: &Value,
    ) -> Result<(TaskId, bool), sqlx::Error> {
        for _ in 0..LOOKS {
            if let Some(key) = &child.dedupe_key
                && let Some(made) = self.unfinished_of(tx, key).await?
            {
                return Ok((made.id, true));
            }
            let row = self
                .query(
                    "INSERT INTO tasks (repo_id, task_type, priority, payload, assigned_to, created_by, parent_task_id, dedupe_key)
                     SELECT coalesce($2, t.repo_id), $3, $4, $5, $6, coalesce($7, t.assigned_to), t.id, $8
                       FROM tasks t WHERE t.id = $1
                     ON CONFLICT (dedupe_key)
                         WHERE dedupe_key <> '' AND (status NOT IN ('completed', 'failed', 'cancelled')
                                                     OR status = 'cancelled' AND (worker_id IS NOT NULL OR wait IS NOT NULL))
                         DO NOTHING
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
                .await?;
            if let Some(row) = row {
                return Ok((TaskId::from(row.try_get::<String, _>("id")?), false));
            }
        }
        Err(sqlx::Error::RowNotFound)
    }
}
