//! Tasks that a person stops where they are, and lets go on.

use domain::{Error, Result, TaskId, redact};
use ports::{PAUSE_CHANGED, Paused};
use serde_json::{Value, json};
use sqlx::{PgConnection, Row};

use crate::error::SqlResult;
use crate::{Store, TaskRow};

/// Under this name the wish stands among the task's signals as long as it holds: no task takes it.
const STANDS: &str = "paused";

/// The tasks that listen for it; what else is told to stop goes on to its end.
const STOPPABLE: &str = "deploy";

impl Store {
    /// The task stops before more users get the new version, until it is resumed. Pausing twice is once. `Conflict` when it is over, or
    /// undoes what it did; `Invalid` for a task that knows no pause.
    pub async fn pause_task(&self, id: &TaskId, why: Option<&str>) -> Result<TaskRow> {
        let doing = "pause the task";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let task = self.lock_ours(&mut tx, id, doing).await?;
        self.may_stop(&mut tx, &task, "paused").await?;
        let clean = |text: &str| redact(&text.replace('\0', "\u{fffd}")).into_owned();
        let by = clean(self.actor().unwrap_or("hand"));
        let why = why.map(clean);
        let stands = self
            .query(
                "INSERT INTO longshore.signals (task_id, name, value)
                 SELECT $1, $2, $3 || jsonb_build_object('at', longshore.now())
                  WHERE NOT EXISTS (SELECT FROM longshore.signals WHERE task_id = $1 AND name = $2)",
            )
            .bind(id.as_str())
            .bind(STANDS)
            .bind(json!({ "by": &by, "why": &why }))
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        if stands.rows_affected() > 0 {
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            self.pause_changed(&mut tx, &task, "paused", &format!("Paused by {by}{why}"))
                .await?;
        }
        let task = self.changed(&mut tx, id).await?;
        tx.commit().await.doing(doing)?;
        Ok(task)
    }

    /// A paused task goes on. `Conflict` when it is not paused, is over, or undoes what it did.
    pub async fn resume_task(&self, id: &TaskId) -> Result<TaskRow> {
        let doing = "resume the task";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let task = self.lock_ours(&mut tx, id, doing).await?;
        self.may_stop(&mut tx, &task, "resumed").await?;
        let stood = self
            .query("DELETE FROM longshore.signals WHERE task_id = $1 AND name = $2")
            .bind(id.as_str())
            .bind(STANDS)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        if stood.rows_affected() == 0 {
            return Err(Error::conflict(format!("task {id} is not paused"))
                .next("`longshore tasks show` says what it waits for"));
        }
        self.pause_changed(&mut tx, &task, "resumed", &self.told("Resumed"))
            .await?;
        let task = self.changed(&mut tx, id).await?;
        tx.commit().await.doing(doing)?;
        Ok(task)
    }

    async fn may_stop(&self, tx: &mut PgConnection, task: &TaskRow, wish: &str) -> Result<()> {
        let id = &task.id;
        if task.task_type != STOPPABLE {
            return Err(Error::invalid(format!(
                "task {id} is of the type {}, and only a `{STOPPABLE}` can be {wish}",
                task.task_type
            ))
            .next("Cancel it, or keep its type from being started: `longshore queue pause`"));
        }
        if task.status.is_terminal() {
            return Err(Error::conflict(format!(
                "task {id} is {} and cannot be {wish}",
                task.status
            )));
        }
        let undoes = self
            .query("SELECT 1 FROM longshore.task_steps WHERE task_id = $1 AND scope = 'unwind' LIMIT 1")
            .bind(id.as_str())
            .fetch_optional(tx)
            .await
            .doing("look whether the task undoes what it did")?;
        match undoes {
            None => Ok(()),
            Some(_) => Err(Error::conflict(format!(
                "task {id} takes back what it did, and cannot be {wish} in that"
            ))),
        }
    }

    /// Tells the task, and its history.
    async fn pause_changed(
        &self,
        tx: &mut PgConnection,
        task: &TaskRow,
        kind: &str,
        said: &str,
    ) -> Result<()> {
        let doing = "tell the task of its pause";
        self.query("INSERT INTO longshore.signals (task_id, name, value) VALUES ($1, $2, $3)")
            .bind(task.id.as_str())
            .bind(PAUSE_CHANGED)
            .bind(Value::Null)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        self.query(
            "UPDATE tasks SET run_at = longshore.utc_now()
              WHERE id = $1 AND status = 'waiting' AND wait->'signals' ? $2",
        )
        .bind(task.id.as_str())
        .bind(PAUSE_CHANGED)
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        self.add_event_by_hand(&mut *tx, task, kind, said).await?;
        self.query("SELECT pg_notify('longshore', '')")
            .execute(tx)
            .await
            .doing(doing)?;
        Ok(())
    }

    /// Whether somebody paused it, and why.
    pub async fn pause_of(&self, id: &TaskId) -> Result<Option<Paused>> {
        let doing = "look whether the task is paused";
        let row = self
            .query("SELECT value FROM longshore.signals WHERE task_id = $1 AND name = $2")
            .bind(id.as_str())
            .bind(STANDS)
            .fetch_optional(self.pool())
            .await
            .doing(doing)?;
        let Some(row) = row else { return Ok(None) };
        let value: Value = row.try_get("value").doing(doing)?;
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Error::internal("a pause cannot be read").because(&error))
    }
}
