use chrono::{DateTime, NaiveDateTime, Utc};
use domain::{TaskId, TaskStatus};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;

use crate::{HeldBack, json};

/// A row of `tasks`, without what only workers need.
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
    /// How often a worker of ours took it.
    pub attempt: i64,
    pub failures: i32,
    /// The worker of ours that runs it now.
    pub worker_id: Option<String>,
    /// What a parked task waits for; `held` in it is the reason why a person must look.
    pub wait: Option<Value>,
    pub started_at: Option<DateTime<Utc>>,
    /// In a list: the payload or details of the result are large and left out.
    pub omitted: bool,
    /// Of a pending task, and of a parked one that is due, however it is read for people: what keeps it from being started
    /// or from going on.
    pub held_back: Option<HeldBack>,
}

/// Payloads and results of more than 16 KiB as text are left out of lists. What is large as Postgres keeps it, compressed, need
/// not be unpacked to know.
macro_rules! large {
    ($column:literal) => {
        concat!(
            "CASE WHEN pg_column_size(",
            $column,
            ") > 4096 THEN true
                  ELSE coalesce(octet_length(",
            $column,
            "::text) > 16384, false) END"
        )
    };
}
pub(crate) use large;

/// The columns that [`TaskRow::read`] reads. Other programs may write any time that Postgres knows; `infinity`
/// and years that no calendar shows are read as none.
macro_rules! plain_columns {
    () => {
        "t.id, t.repo_id, t.task_type, t.priority, t.status, t.assigned_to, t.created_by,
         CASE WHEN t.created_at BETWEEN '0001-01-01' AND '9999-12-31' THEN t.created_at ELSE 'epoch' END AS created_at,
         CASE WHEN t.claimed_at BETWEEN '0001-01-01' AND '9999-12-31' THEN t.claimed_at END AS claimed_at,
         CASE WHEN t.completed_at BETWEEN '0001-01-01' AND '9999-12-31' THEN t.completed_at END AS completed_at,
         t.error, t.parent_task_id, t.attempt, t.failures, t.worker_id, t.wait,
         CASE WHEN t.started_at BETWEEN '0001-01-01' AND '9999-12-31' THEN t.started_at END AS started_at"
    };
}
pub(crate) use plain_columns;

macro_rules! task_columns {
    () => {
        concat!(
            $crate::tasks::plain_columns!(),
            ", t.payload, t.result, false AS omitted"
        )
    };
}
pub(crate) use task_columns;

/// The same for lists: of what is large, the payload is left out, and the result but for its first lines.
macro_rules! list_columns {
    () => {
        concat!(
            $crate::tasks::plain_columns!(),
            ", CASE WHEN NOT ", $crate::tasks::large!("t.payload"), " THEN t.payload END AS payload,
               CASE WHEN NOT ", $crate::tasks::large!("t.result"), " THEN t.result
                    WHEN jsonb_typeof(t.result) = 'object' THEN jsonb_build_object('verdict', t.result->'verdict',
                         'summary', left(t.result->>'summary', 500), 'ticket', t.result->'ticket') END AS result,
               ", $crate::tasks::large!("t.payload"), " OR ", $crate::tasks::large!("t.result"), " AS omitted"
        )
    };
}
pub(super) use list_columns;

impl TaskRow {
    pub(crate) fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let time = |name: &str| {
            row.try_get::<Option<NaiveDateTime>, _>(name)
                .map(|at| at.map(|at| at.and_utc()))
        };
        let status: String = row.try_get("status")?;
        Ok(Self {
            id: TaskId::from(row.try_get::<String, _>("id")?),
            repo_id: row.try_get("repo_id")?,
            task_type: row.try_get("task_type")?,
            priority: row.try_get("priority")?,
            payload: json::shown(row, "payload")?,
            status: status.parse().map_err(decode)?,
            assigned_to: row.try_get("assigned_to")?,
            created_by: row.try_get("created_by")?,
            created_at: time("created_at")?.unwrap_or_default(),
            claimed_at: time("claimed_at")?,
            completed_at: time("completed_at")?,
            result: json::shown(row, "result")?,
            error: row.try_get("error")?,
            parent_task_id: row
                .try_get::<Option<String>, _>("parent_task_id")?
                .map(TaskId::from),
            attempt: row.try_get("attempt")?,
            failures: row.try_get("failures")?,
            worker_id: row.try_get("worker_id")?,
            wait: json::shown(row, "wait")?,
            started_at: time("started_at")?,
            omitted: row.try_get("omitted")?,
            held_back: None,
        })
    }

    /// Cancelled, and a worker of ours has yet to undo what was done.
    pub fn is_cancelling(&self) -> bool {
        self.status == TaskStatus::Cancelled && (self.worker_id.is_some() || self.wait.is_some())
    }

    /// Why a person must look before it goes on.
    pub fn held(&self) -> Option<&str> {
        let wait = self
            .wait
            .as_ref()
            .filter(|_| self.status == TaskStatus::Waiting)?;
        wait.get("held")?.as_str()
    }
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}
