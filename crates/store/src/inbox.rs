//! Events that were posted to us: stored before they are acknowledged, each worked on once.

mod many;

use domain::{NewTask, Result, TaskId};
use serde_json::Value;
use sqlx::Row;

use crate::Store;
use crate::error::SqlResult;
pub use many::Arrival;

/// An event as it came in.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Who sends such events: `gitlab`, `github`, `alertmanager`.
    pub source: &'a str,
    /// The same for the same event, however often it is sent.
    pub key: &'a str,
    /// What the source calls this kind of event.
    pub event: &'a str,
    pub body: &'a Value,
}

/// What became of a delivery, with the task that was made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    New(Option<TaskId>),
    /// It was stored before.
    Known(Option<TaskId>),
}

impl Store {
    /// Stores an event and makes the task that it asks for, both or neither; an event that was stored before
    /// makes nothing. A task that is refused is an error, and the sender may try again.
    pub async fn receive(&self, delivery: &Delivery<'_>, task: Option<&NewTask>) -> Result<Received> {
        let doing = "store the event";
        let mut body = delivery.body.clone();
        crate::json::replace_nul(&mut body);
        let key = delivery.key.replace('\0', "\u{fffd}");
        let mut tx = self.pool().begin().await.doing(doing)?;
        let stored = self
            .query(
                "INSERT INTO longshore.inbox (source, delivery, event, body) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (source, delivery) DO NOTHING",
            )
            .bind(delivery.source)
            .bind(&key)
            .bind(delivery.event)
            .bind(&body)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        if stored.rows_affected() == 0 {
            let row = self
                .query("SELECT task_id FROM longshore.inbox WHERE source = $1 AND delivery = $2")
                .bind(delivery.source)
                .bind(&key)
                .fetch_one(&mut *tx)
                .await
                .doing(doing)?;
            tx.commit().await.doing(doing)?;
            let task: Option<String> = row.try_get("task_id").doing(doing)?;
            return Ok(Received::Known(task.map(TaskId::from)));
        }
        let id = match task {
            Some(task) => Some(self.insert_task(&mut tx, task).await?.id),
            None => None,
        };
        self.query("UPDATE longshore.inbox SET task_id = $3 WHERE source = $1 AND delivery = $2")
            .bind(delivery.source)
            .bind(&key)
            .bind(id.as_ref().map(TaskId::as_str))
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(Received::New(id))
    }
}
