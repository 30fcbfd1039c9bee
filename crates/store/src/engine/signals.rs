use domain::{Result, TaskId};
use serde_json::Value;

use crate::Store;
use crate::error::SqlResult;

impl Store {
    /// Sends a signal to a task: an approval, a callback. It is kept until the task takes it; a task that
    /// waits for it is woken. False when there is no such task, or it is over.
    pub async fn signal(&self, task: &TaskId, name: &str, value: &Value) -> Result<bool> {
        let mut tx = self.pool().begin().await.doing("send a signal")?;
        // The row lock orders this before or after the task's parking, so that no wake-up is lost between.
        let open = self
            .query(
                "SELECT 1 FROM tasks WHERE id = $1 AND status NOT IN ('completed', 'failed', 'cancelled') FOR UPDATE",
            )
            .bind(task.as_str())
            .fetch_optional(&mut *tx)
            .await
            .doing("send a signal")?;
        if open.is_none() {
            return Ok(false);
        }
        self.query("INSERT INTO longshore.signals (task_id, name, value) VALUES ($1, $2, $3)")
            .bind(task.as_str())
            .bind(name)
            .bind(value)
            .execute(&mut *tx)
            .await
            .doing("send a signal")?;
        self.query(
            "UPDATE tasks SET run_at = longshore.utc_now()
              WHERE id = $1 AND status = 'waiting' AND wait->'signals' ? $2",
        )
        .bind(task.as_str())
        .bind(name)
        .execute(&mut *tx)
        .await
        .doing("send a signal")?;
        self.query("SELECT pg_notify('longshore', '')")
            .execute(&mut *tx)
            .await
            .doing("send a signal")?;
        tx.commit().await.doing("send a signal")?;
        Ok(true)
    }
}
