use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Result, TaskId};
use serde::{Deserialize, Serialize};

/// The signal that a task gets when a person pauses it or lets it go on. It says no more than that: [`Cancels::paused`] says
/// which.
pub const PAUSE_CHANGED: &str = "pause-changed";

/// A person's wish that a task stops where it is, until somebody lets it go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    pub by: String,
    #[serde(default)]
    pub why: Option<String>,
    pub at: DateTime<Utc>,
}

/// Reaches tasks of ours: a rollback does not wait behind what it rolls back, what is superseded makes way, and what a person
/// paused stops.
#[async_trait]
pub trait Cancels: Send + Sync {
    /// The task shall undo what it did and end. Asking again changes nothing, and what is over or not known needs no
    /// asking.
    async fn cancel(&self, task: &TaskId) -> Result<()>;

    /// Sends the task a signal: it wakes if it listens for one of that name, else it has it when it does. What is over or
    /// not known needs none.
    async fn signal(&self, task: &TaskId, name: &str) -> Result<()>;

    /// Whether a person wants it to stop where it is.
    async fn paused(&self, task: &TaskId) -> Result<Option<Paused>>;
}
