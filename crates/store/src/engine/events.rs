use chrono::{DateTime, Utc};
use domain::{Result, TaskId, redact};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

/// One line of a task's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskEvent {
    /// Rises with time.
    pub id: i64,
    pub at: DateTime<Utc>,
    /// `told`, `parked`, `retried`, `held`, `failed`, `cancelled`…
    pub kind: String,
    pub attempt: i64,
    pub worker_id: Option<String>,
    pub summary: String,
}

impl TaskEvent {
    pub(crate) fn read(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            at: row.try_get("at")?,
            kind: row.try_get("kind")?,
            attempt: row.try_get("attempt")?,
            worker_id: row.try_get("worker_id")?,
            summary: row.try_get("summary")?,
        })
    }
}

impl Store {
    /// The newest events of a task, oldest first.
    pub async fn events(&self, task: &TaskId, limit: u32) -> Result<Vec<TaskEvent>> {
        self.events_after(task, 0, limit).await
    }

    /// As [`Store::events`], of those after this id.
    pub async fn events_after(&self, task: &TaskId, after: i64, limit: u32) -> Result<Vec<TaskEvent>> {
        let mut tx = self.pool().begin().await.doing("read a task's history")?;
        let rows = self
            .query(
                "SELECT * FROM (SELECT id, at, kind, attempt, worker_id, summary FROM longshore.task_events
                                 WHERE task_id = $1 AND id > $2 ORDER BY id DESC LIMIT $3) AS newest ORDER BY id",
            )
            .bind(task.as_str())
            .bind(after)
            .bind(i64::from(limit))
            .fetch_all(&mut *tx)
            .await
            .doing("read a task's history")?;
        tx.commit().await.doing("read a task's history")?;
        rows.iter()
            .map(TaskEvent::read)
            .collect::<std::result::Result<_, sqlx::Error>>()
            .doing("read a task's history")
    }

    pub(crate) async fn add_event(
        &self,
        tx: &mut PgConnection,
        lease: &durable::Lease,
        kind: &str,
        summary: &str,
    ) -> std::result::Result<(), sqlx::Error> {
        self.query(
            "INSERT INTO longshore.task_events (task_id, kind, attempt, worker_id, summary) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(lease.task.as_str())
        .bind(kind)
        .bind(lease.attempt)
        .bind(&lease.worker)
        .bind(redact(&summary.replace('\0', "\u{fffd}")).as_ref())
        .execute(tx)
        .await?;
        Ok(())
    }
}
