//! What people and their programs do with tasks from outside: make, list, look at, cancel, try again.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, Utc};
use domain::{Error, NewTask, Result, TaskId, TaskStatus};
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

/// A row of the table `tasks`.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRow {
    pub id: TaskId,
    pub repo_id: Option<String>,
    pub task_type: String,
    pub priority: i32,
    pub payload: Option<Value>,
    pub status: TaskStatus,
    pub assigned_to: Option<String>,
    pub created_by: Option<String>,
    pub created_at: DateTime<Utc>,
    pub claimed_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub result: Option<Value>,
    pub error: Option<String>,
    pub parent_task_id: Option<TaskId>,
    pub attempt: i64,
    pub worker_id: Option<String>,
    pub wait: Option<Value>,
    pub started_at: Option<DateTime<Utc>>,
}

/// Which tasks to list; what is empty does not restrict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    pub status: Vec<TaskStatus>,
    pub task_type: Option<String>,
    pub assigned_to: Option<String>,
    pub repo_id: Option<String>,
    pub limit: u32,
}

/// One step of a task, as its journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    pub scope: String,
    pub key: String,
    pub kind: String,
    pub started_at: DateTime<Utc>,
    pub done_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Puts a task into the table. What it refers to is checked when it is claimed.
    pub async fn create_task(&self, task: &NewTask) -> Result<TaskId> {
        let mut tx = self.pool().begin().await.doing("create the task")?;
        let id = insert_task(self, &mut tx, task).await.doing("create the task")?;
        tx.commit().await.doing("create the task")?;
        Ok(id)
    }

    /// One task; `NotFound` when there is none.
    pub async fn task(&self, id: &TaskId) -> Result<TaskRow> {
        let mut tx = self.pool().begin().await.doing("read the task")?;
        let row = self
            .query("SELECT * FROM tasks WHERE id = $1")
            .bind(id.as_str())
            .fetch_optional(&mut *tx)
            .await
            .doing("read the task")?;
        tx.commit().await.doing("read the task")?;
        read(row.as_ref().ok_or_else(|| missing(id))?).doing("read the task")
    }

    /// Tasks, newest first.
    pub async fn tasks(&self, filter: &TaskFilter) -> Result<Vec<TaskRow>> {
        let mut tx = self.pool().begin().await.doing("list tasks")?;
        let states: Vec<&str> = filter.status.iter().map(|status| status.as_str()).collect();
        let rows = self
            .query(
                "SELECT * FROM tasks
                  WHERE ($1::text[] = '{}' OR status = ANY ($1)) AND ($2::text IS NULL OR task_type = $2)
                    AND ($3::text IS NULL OR assigned_to = $3) AND ($4::text IS NULL OR repo_id = $4)
                  ORDER BY created_at DESC, id DESC LIMIT $5",
            )
            .bind(states)
            .bind(filter.task_type.as_deref())
            .bind(filter.assigned_to.as_deref())
            .bind(filter.repo_id.as_deref())
            .bind(i64::from(filter.limit))
            .fetch_all(&mut *tx)
            .await
            .doing("list tasks")?;
        tx.commit().await.doing("list tasks")?;
        rows.iter()
            .map(read)
            .collect::<std::result::Result<_, _>>()
            .doing("list tasks")
    }

    /// How many tasks are in each state, over the whole table.
    pub async fn task_counts(&self) -> Result<BTreeMap<&'static str, i64>> {
        let mut tx = self.pool().begin().await.doing("count tasks")?;
        let rows = self
            .query("SELECT status, count(*) FROM tasks GROUP BY status")
            .fetch_all(&mut *tx)
            .await
            .doing("count tasks")?;
        tx.commit().await.doing("count tasks")?;
        let mut counts: BTreeMap<&'static str, i64> = TaskStatus::ALL
            .into_iter()
            .map(|status| (status.as_str(), 0))
            .collect();
        for row in rows {
            let status: String = row.try_get(0).doing("count tasks")?;
            if let Ok(status) = status.parse::<TaskStatus>() {
                counts.insert(status.as_str(), row.try_get(1).doing("count tasks")?);
            }
        }
        Ok(counts)
    }

    /// The steps of a task in the order in which they began.
    pub async fn steps(&self, id: &TaskId) -> Result<Vec<StepRow>> {
        let mut tx = self.pool().begin().await.doing("read the task's steps")?;
        let rows = self
            .query(
                "SELECT scope, key, kind, started_at, done_at FROM longshore.task_steps
                  WHERE task_id = $1 ORDER BY started_at, scope, seq",
            )
            .bind(id.as_str())
            .fetch_all(&mut *tx)
            .await
            .doing("read the task's steps")?;
        tx.commit().await.doing("read the task's steps")?;
        let read = |row: &PgRow| -> std::result::Result<StepRow, sqlx::Error> {
            Ok(StepRow {
                scope: row.try_get("scope")?,
                key: row.try_get("key")?,
                kind: row.try_get("kind")?,
                started_at: row.try_get("started_at")?,
                done_at: row.try_get("done_at")?,
            })
        };
        rows.iter()
            .map(read)
            .collect::<std::result::Result<_, _>>()
            .doing("read the task's steps")
    }

    /// Cancels a task: one that nobody began at once; one that runs or waits is asked to, and its worker undoes
    /// what it did. `Conflict` when it is over.
    pub async fn cancel_task(&self, id: &TaskId) -> Result<TaskRow> {
        let doing = "cancel the task";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let now = self.locked(&mut tx, id, doing).await?;
        if now.status.is_terminal() {
            return Err(over(&now, "cancelled"));
        }
        let row = self
            .query(
                "UPDATE tasks SET status = 'cancelled',
                        completed_at = CASE WHEN worker_id IS NULL AND wait IS NULL THEN longshore.utc_now() END,
                        run_at = longshore.utc_now()
                  WHERE id = $1 RETURNING *",
            )
            .bind(id.as_str())
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        let row = read(&row).doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(row)
    }

    /// Tries a task again: a failed or cancelled one from the start, a held one from where it stopped.
    /// `Conflict` when it is neither.
    pub async fn retry_task(&self, id: &TaskId) -> Result<TaskRow> {
        let doing = "retry the task";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let now = self.locked(&mut tx, id, doing).await?;
        let held = now.wait.as_ref().is_some_and(|wait| wait.get("held").is_some());
        let ended = matches!(now.status, TaskStatus::Failed | TaskStatus::Cancelled)
            && now.worker_id.is_none()
            && now.wait.is_none();
        let sql = if ended {
            // The finished run's journal would be replayed to the same end.
            self.query("DELETE FROM longshore.task_steps WHERE task_id = $1")
                .bind(id.as_str())
                .execute(&mut *tx)
                .await
                .doing(doing)?;
            "UPDATE tasks SET status = 'pending', completed_at = NULL, claimed_at = NULL, result = NULL, error = NULL,
                    failures = 0, crashes = 0, started_at = NULL, deadline_at = NULL, handler_version = NULL,
                    run_at = longshore.utc_now()
              WHERE id = $1 RETURNING *"
        } else if now.status == TaskStatus::Waiting && held {
            "UPDATE tasks SET wait = '{\"why\": \"to go on\"}', failures = 0, crashes = 0, run_at = longshore.utc_now()
              WHERE id = $1 RETURNING *"
        } else {
            return Err(over(&now, "tried again").next(
                "Only failed, cancelled and held tasks are tried again; a held one goes on where it stopped",
            ));
        };
        let row = self
            .query(sql)
            .bind(id.as_str())
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        let row = read(&row).doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(row)
    }

    /// Puts tasks back to `pending` that were claimed longer ago than `age` and that no live worker runs.
    /// Waiting tasks stay as they are.
    pub async fn reset_stale(&self, age: Duration) -> Result<Vec<TaskId>> {
        let doing = "reset stale tasks";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rows = self
            .query(
                "WITH stale AS (
                     SELECT t.id FROM tasks t
                      WHERE t.status IN ('claimed', 'in_progress')
                        AND coalesce(t.claimed_at, t.created_at) < longshore.utc_now() - make_interval(secs => $1)
                        AND NOT EXISTS (SELECT FROM longshore.workers w
                                         WHERE w.id = t.worker_id AND w.lease_until > clock_timestamp())
                      ORDER BY t.id FOR UPDATE OF t SKIP LOCKED)
                 UPDATE tasks t SET status = 'pending', worker_id = NULL, claimed_at = NULL, run_at = longshore.utc_now()
                   FROM stale WHERE t.id = stale.id RETURNING t.id",
            )
            .bind(age.as_secs_f64())
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        rows.iter()
            .map(|row| Ok(TaskId::from(row.try_get::<String, _>("id")?)))
            .collect::<std::result::Result<_, sqlx::Error>>()
            .doing(doing)
    }

    async fn locked(&self, tx: &mut PgConnection, id: &TaskId, doing: &str) -> Result<TaskRow> {
        let row = self
            .query("SELECT * FROM tasks WHERE id = $1 FOR UPDATE")
            .bind(id.as_str())
            .fetch_optional(tx)
            .await
            .doing(doing)?;
        read(row.as_ref().ok_or_else(|| missing(id))?).doing(doing)
    }
}

pub(crate) async fn insert_task(
    store: &Store,
    tx: &mut PgConnection,
    task: &NewTask,
) -> std::result::Result<TaskId, sqlx::Error> {
    let id = TaskId::generate();
    store
        .query(
            "INSERT INTO tasks (id, repo_id, task_type, priority, payload, assigned_to, created_by, parent_task_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(id.as_str())
        .bind(task.repo_id.as_deref())
        .bind(&task.task_type)
        .bind(i32::from(task.priority.get()))
        .bind(&task.payload)
        .bind(task.assigned_to.as_deref())
        .bind(task.created_by.as_deref())
        .bind(task.parent.as_ref().map(TaskId::as_str))
        .execute(tx)
        .await?;
    Ok(id)
}

fn missing(id: &TaskId) -> Error {
    Error::not_found(format!("there is no task {id}"))
        .next("`longshore tasks list` shows the tasks that there are")
}

fn over(task: &TaskRow, wish: &str) -> Error {
    Error::conflict(format!(
        "task {} is {} and cannot be {wish}",
        task.id, task.status
    ))
}

fn read(row: &PgRow) -> std::result::Result<TaskRow, sqlx::Error> {
    let utc = |at: Option<NaiveDateTime>| at.map(|at| at.and_utc());
    let status: String = row.try_get("status")?;
    Ok(TaskRow {
        id: TaskId::from(row.try_get::<String, _>("id")?),
        repo_id: row.try_get("repo_id")?,
        task_type: row.try_get("task_type")?,
        priority: row.try_get("priority")?,
        payload: row.try_get("payload")?,
        status: status
            .parse()
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        assigned_to: row.try_get("assigned_to")?,
        created_by: row.try_get("created_by")?,
        created_at: row.try_get::<NaiveDateTime, _>("created_at")?.and_utc(),
        claimed_at: utc(row.try_get("claimed_at")?),
        completed_at: utc(row.try_get("completed_at")?),
        result: row.try_get("result")?,
        error: row.try_get("error")?,
        parent_task_id: row
            .try_get::<Option<String>, _>("parent_task_id")?
            .map(TaskId::from),
        attempt: row.try_get("attempt")?,
        worker_id: row.try_get("worker_id")?,
        wait: row.try_get("wait")?,
        started_at: utc(row.try_get("started_at")?),
    })
}
