use async_trait::async_trait;
use domain::{Error, ErrorKind, Result, TaskId, TaskStatus};
use ports::{Cancels, Paused};
use sqlx::PgConnection;

use super::ours::is_ours;
use super::row::TaskRow;
use crate::Store;
use crate::error::{SqlResult, constraint, describe};

impl Store {
    /// Cancels a task: one that never began ends at once, any other is told to undo what it did. Cancelling
    /// twice is once. `Conflict` when it is over already, `Denied` when it is another agent's.
    pub async fn cancel_task(&self, id: &TaskId) -> Result<TaskRow> {
        let doing = "cancel the task";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let task = self.lock_ours(&mut tx, id, doing).await?;
        if task.status.is_terminal() && task.status != TaskStatus::Cancelled {
            return Err(over(&task, "cancelled"));
        }
        if task.status != TaskStatus::Cancelled {
            // Steps of an earlier run must be undone by a worker; without any there is nothing to undo.
            self.query(
                "UPDATE tasks t
                    SET status = 'cancelled',
                        wait = coalesce(t.wait, CASE WHEN s.begun THEN '{\"why\": \"for a worker that undoes it\"}'::jsonb END),
                        completed_at = CASE WHEN t.worker_id IS NULL AND t.wait IS NULL AND NOT s.begun
                                            THEN longshore.utc_now() END
                   FROM (SELECT $2 AND EXISTS (SELECT FROM longshore.task_steps WHERE task_id = $1) AS begun) AS s
                  WHERE t.id = $1",
            )
            .bind(id.as_str())
            .bind(task.worker_id.is_none())
            .execute(&mut *tx)
            .await
            .doing(doing)?;
            self.add_event_by_hand(&mut tx, &task, "cancel asked", &self.told("Cancelled"))
                .await?;
        }
        let task = self.changed(&mut tx, id).await?;
        tx.commit().await.doing(doing)?;
        Ok(task)
    }

    /// Tries a failed or cancelled task anew, from its first step; lets a waiting or held one go on now.
    pub async fn retry_task(&self, id: &TaskId) -> Result<TaskRow> {
        let doing = "retry the task";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let task = self.lock_ours(&mut tx, id, doing).await?;
        match task.status {
            TaskStatus::Completed => return Err(over(&task, "tried again")),
            TaskStatus::Cancelled if task.is_cancelling() => {
                return Err(Error::conflict(format!("task {id} is being cancelled"))
                    .next("Wait until what it did is undone, then retry it"));
            }
            TaskStatus::Claimed | TaskStatus::InProgress => {
                return Err(Error::conflict(format!("task {id} is being worked on"))
                    .next("Cancel it first, or wait for its end"));
            }
            TaskStatus::Failed | TaskStatus::Cancelled => self.start_anew(&mut tx, &task).await?,
            TaskStatus::Waiting => self.let_go_on(&mut tx, &task).await?,
            TaskStatus::Pending => {
                self.query("UPDATE tasks SET run_at = longshore.utc_now(), status = status WHERE id = $1")
                    .bind(id.as_str())
                    .execute(&mut *tx)
                    .await
                    .doing(doing)?;
                self.add_event_by_hand(&mut tx, &task, "resumed", &self.told("Told to start now"))
                    .await?;
            }
        }
        let task = self.changed(&mut tx, id).await?;
        tx.commit().await.doing(doing)?;
        Ok(task)
    }

    /// The task after its change; where that made it pending, with what holds it back.
    pub(crate) async fn changed(&self, tx: &mut PgConnection, id: &TaskId) -> Result<TaskRow> {
        let mut task = self.task_in(tx, id).await?;
        self.note_held_back(tx, std::slice::from_mut(&mut task)).await?;
        Ok(task)
    }

    async fn start_anew(&self, tx: &mut PgConnection, task: &TaskRow) -> Result<()> {
        for forget in [
            "DELETE FROM longshore.task_steps WHERE task_id = $1",
            "DELETE FROM longshore.resource_locks WHERE task_id = $1",
            "DELETE FROM longshore.signals WHERE task_id = $1",
            // The attempt keeps rising: it fences what an earlier one may still try to write.
            "UPDATE tasks
                SET status = 'pending', run_at = longshore.utc_now(), failures = 0, crashes = 0, wait = NULL,
                    worker_id = NULL, handler_version = NULL, result = NULL, error = NULL, claimed_at = NULL,
                    started_at = NULL, completed_at = NULL, deadline_at = NULL
              WHERE id = $1",
        ] {
            self.query(forget)
                .bind(task.id.as_str())
                .execute(&mut *tx)
                .await
                .map_err(|error| match constraint(&error) {
                    Some("longshore_tasks_dedupe") => Error::conflict(format!(
                        "another task with the dedupe key of {} is unfinished",
                        task.id
                    ))
                    .next("Wait for that one's end, or cancel it"),
                    _ => describe(&error, "retry the task"),
                })?;
        }
        let said = format!("{}, from its first step", self.told("Retried"));
        self.add_event_by_hand(tx, task, "retry asked", &said).await
    }

    async fn let_go_on(&self, tx: &mut PgConnection, task: &TaskRow) -> Result<()> {
        self.query(
            "UPDATE tasks
                SET run_at = longshore.utc_now(), status = status, failures = 0, crashes = 0,
                    wait = CASE WHEN wait ? 'held' THEN '{\"why\": \"for a worker; a person let it go on\"}'::jsonb
                                ELSE coalesce(wait, '{\"why\": \"for a worker\"}') END
              WHERE id = $1",
        )
        .bind(task.id.as_str())
        .execute(&mut *tx)
        .await
        .doing("let the task go on")?;
        let said = if task.held().is_some() {
            "Let go on"
        } else {
            "Woken"
        };
        self.add_event_by_hand(tx, task, "resumed", &self.told(said))
            .await
    }

    /// The row under a lock, if it is ours to change: assigned to an agent of ours, run or parked by us, or
    /// unassigned, untaken and of a type that we serve.
    pub(crate) async fn lock_ours(&self, tx: &mut PgConnection, id: &TaskId, doing: &str) -> Result<TaskRow> {
        let known = self.ours(tx).await?;
        let ours = self
            .query(concat!(
                "SELECT ",
                is_ours!(),
                " AS ours FROM tasks t WHERE t.id = $3 FOR UPDATE"
            ))
            .bind(&known.agents)
            .bind(&known.types)
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await
            .doing(doing)?;
        let task = self.task_in(tx, id).await?;
        let ours = ours
            .map(|row| sqlx::Row::try_get::<bool, _>(&row, "ours"))
            .transpose()
            .doing(doing)?;
        if ours == Some(true) {
            return Ok(task);
        }
        let (whose, next) = match &task.assigned_to {
            Some(agent) => (
                format!("belongs to the agent {agent}"),
                "Ask the program that works for that agent; longshore changes only its own tasks".to_owned(),
            ),
            None => (
                format!("is of the type {}, which no worker of ours serves", task.task_type),
                "Start a worker that serves it; or, where nobody does, write status = 'cancelled' into the row yourself"
                    .to_owned(),
            ),
        };
        Err(Error::denied(format!("could not {doing}: {id} {whose}")).next(next))
    }

    pub(crate) async fn add_event_by_hand(
        &self,
        tx: &mut PgConnection,
        task: &TaskRow,
        kind: &str,
        said: &str,
    ) -> Result<()> {
        self.query(
            "INSERT INTO longshore.task_events (task_id, kind, attempt, summary) VALUES ($1, $2, $3, $4)",
        )
        .bind(task.id.as_str())
        .bind(kind)
        .bind(task.attempt)
        .bind(said)
        .execute(tx)
        .await
        .doing("write the task's history")?;
        Ok(())
    }
}

fn over(task: &TaskRow, wish: &str) -> Error {
    Error::conflict(format!(
        "task {} is {} already and cannot be {wish}",
        task.id, task.status
    ))
    .next("Create a new task for what is still to be done")
}

#[async_trait]
impl Cancels for Store {
    async fn cancel(&self, task: &TaskId) -> Result<()> {
        match self.cancel_task(task).await {
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => Ok(()),
            done => done.map(|_| ()),
        }
    }

    async fn signal(&self, task: &TaskId, name: &str) -> Result<()> {
        Store::signal(self, task, name, &serde_json::Value::Null)
            .await
            .map(|_| ())
    }

    async fn paused(&self, task: &TaskId) -> Result<Option<Paused>> {
        self.pause_of(task).await
    }
}
