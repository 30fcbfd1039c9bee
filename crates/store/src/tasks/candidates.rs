//! Tasks in given states that are not completed, found through indexes that hold such tasks alone.

use chrono::{DateTime, Utc};
use domain::{Error, Result, TaskStatus};
use sqlx::PgConnection;

use super::cursor::Cursor;
use crate::Store;
use crate::error::SqlResult;
use crate::rules::running;

/// A state as people name it: a status, or `held`, which is `waiting` for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Status(TaskStatus),
    Held,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status(status) => status.as_str(),
            Self::Held => "held",
        }
    }

    pub(super) fn has_index(self) -> bool {
        self != Self::Status(TaskStatus::Completed)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for State {
    type Err = Error;
    fn from_str(word: &str) -> Result<Self> {
        if word == "held" {
            return Ok(Self::Held);
        }
        word.parse()
            .map(Self::Status)
            .map_err(|error: domain::ParseStatusError| Error::invalid(format!("{error}, held")))
    }
}

/// What is looked for; what is none does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted<'a> {
    /// None of them `completed`.
    pub(super) states: &'a [State],
    pub(super) task_type: Option<&'a str>,
    pub(super) assigned_to: Option<&'a str>,
    pub(super) repo_id: Option<&'a str>,
    pub(super) created_before: Option<DateTime<Utc>>,
    pub(super) created_after: Option<DateTime<Utc>>,
    /// An error or a reason for holding, or what such have in common.
    pub(super) error: Option<&'a str>,
}

/// One state's tasks. `OFFSET 0` keeps the planner from walking through all tasks by age until enough have the state.
macro_rules! of_state {
    ($state:literal, $which:expr, $error:literal, $fence:literal) => {
        concat!(
            "(SELECT id, created_at FROM (SELECT t.id, t.created_at FROM tasks t
               WHERE ", $which, " AND '", $state, "' = ANY ($1)
                 AND ($2::text IS NULL OR t.task_type = $2) AND ($3::text IS NULL OR t.assigned_to = $3)
                 AND ($4::text IS NULL OR t.repo_id = $4)
                 AND ($5::timestamp IS NULL OR t.created_at < $5) AND ($6::timestamp IS NULL OR t.created_at >= $6)
                 AND ($7::text IS NULL OR longshore.error_class(", $error, ") = longshore.error_class($7))
                 AND ($8::text IS NULL OR (t.created_at, t.id) < ($8::text::timestamp, $9)) ",
            $fence, ") AS s ORDER BY created_at DESC, id DESC LIMIT $10)"
        )
    };
}

impl Store {
    /// The newest tasks behind `from`, in order.
    pub(super) async fn candidates(
        &self,
        tx: &mut PgConnection,
        wanted: &Wanted<'_>,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<Vec<Cursor>> {
        let doing = "look for tasks";
        let words: Vec<&str> = wanted.states.iter().map(|state| state.as_str()).collect();
        let rows = self
            .query(concat!(
                "SELECT id, created_at::text AS at FROM (SELECT DISTINCT id, created_at FROM (",
                of_state!("pending", "t.live = 'pending' AND t.assigned_to IS NOT NULL", "t.error", "OFFSET 0"),
                " UNION ALL ",
                of_state!("pending", "t.live = 'pending' AND t.assigned_to IS NULL", "t.error", "OFFSET 0"),
                " UNION ALL ",
                of_state!("pending", "t.live = 'later'", "t.error", "OFFSET 0"),
                " UNION ALL ",
                of_state!(
                    "claimed",
                    "t.live = 'taken' AND t.status = 'claimed'",
                    "t.error",
                    "OFFSET 0"
                ),
                " UNION ALL ",
                of_state!(
                    "in_progress",
                    concat!(
                        "t.id = ANY (ARRAY (SELECT id FROM tasks WHERE live = 'taken' AND status = 'in_progress'
                                            UNION ALL SELECT id FROM ", running!(), " AS running)) AND t.status = 'in_progress'"
                    ),
                    "t.error",
                    "OFFSET 0"
                ),
                " UNION ALL ",
                of_state!("waiting", "t.live = 'waiting'", "t.wait->>'held'", "OFFSET 0"),
                " UNION ALL ",
                of_state!(
                    "held",
                    "t.live = 'waiting' AND t.wait ? 'held'",
                    "t.wait->>'held'",
                    "OFFSET 0"
                ),
                " UNION ALL ",
                of_state!("failed", "t.live = 'failed'", "t.error", ""),
                " UNION ALL ",
                of_state!("cancelled", "t.live IN ('cancelled', 'cancelling')", "t.error", ""),
                ") AS every) AS found ORDER BY created_at DESC, id DESC LIMIT $10"
            ))
            .bind(&words)
            .bind(wanted.task_type)
            .bind(wanted.assigned_to)
            .bind(wanted.repo_id)
            .bind(wanted.created_before.map(|at| at.naive_utc()))
            .bind(wanted.created_after.map(|at| at.naive_utc()))
            .bind(wanted.error)
            .bind(from.map(|from| &from.created_at))
            .bind(from.map(|from| &from.id))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(Cursor::read)
            .collect::<Result<_, _>>()
            .doing(doing)
    }
}
