use async_trait::async_trait;
use domain::{Result, TaskId};

/// Reaches other tasks of ours: a rollback does not wait behind what it rolls back, and what is superseded makes way.
#[async_trait]
pub trait Cancels: Send + Sync {
    /// The task shall undo what it did and end. Asking again changes nothing, and what is over or not known needs no
    /// asking.
    async fn cancel(&self, task: &TaskId) -> Result<()>;

    /// Sends the task a signal: it wakes if it listens for one of that name, else it has it when it does. What is over or
    /// not known needs none.
    async fn signal(&self, task: &TaskId, name: &str) -> Result<()>;
}
