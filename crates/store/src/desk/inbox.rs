use domain::{NewTask, Result, TaskId};
use serde_json::Value;
use sqlx::Row;

use crate::Store;
use crate::desk::tasks::insert_task;
use crate::error::SqlResult;

/// What another system delivered.
#[derive(Clone, Debug)]
pub struct Delivery<'a> {
    /// Which system: `gitlab`.
    pub source: &'a str,
    /// What makes it the same event again.
    pub key: &'a str,
    /// As the sender names it: `Pipeline Hook`.
    pub event: &'a str,
    pub body: &'a Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    New(Option<TaskId>),
    /// The same event came before; the task that it made then.
    Known(Option<TaskId>),
}

impl Store {
    /// Stores a delivery and makes the task that it asks for, in one transaction. The same event again makes
    /// nothing.
    pub async fn receive(&self, delivery: &Delivery<'_>, task: Option<&NewTask>) -> Result<Received> {
        let doing = "store the delivery";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let stored = self
            .query(
                "INSERT INTO longshore.inbox (source, delivery, event, body) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (source, delivery) DO NOTHING",
            )
            .bind(delivery.source)
            .bind(delivery.key)
            .bind(delivery.event)
            .bind(delivery.body)
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        if stored.rows_affected() == 0 {
            let row = self
                .query("SELECT task_id FROM longshore.inbox WHERE source = $1 AND delivery = $2")
                .bind(delivery.source)
                .bind(delivery.key)
                .fetch_one(&mut *tx)
                .await
                .doing(doing)?;
            let made: Option<String> = row.try_get(0).doing(doing)?;
            return Ok(Received::Known(made.map(TaskId::from)));
        }
        let made = match task {
            Some(task) => {
                let id = insert_task(self, &mut tx, task).await.doing(doing)?;
                self.query("UPDATE longshore.inbox SET task_id = $3 WHERE source = $1 AND delivery = $2")
                    .bind(delivery.source)
                    .bind(delivery.key)
                    .bind(id.as_str())
                    .execute(&mut *tx)
                    .await
                    .doing(doing)?;
                Some(id)
            }
            None => None,
        };
        tx.commit().await.doing(doing)?;
        Ok(Received::New(made))
    }
}
