use async_trait::async_trait;
use domain::{Result, TaskId};

/// Asks other tasks of ours to stop: a rollback does not wait behind what it rolls back.
#[async_trait]
pub trait Cancels: Send + Sync {
    /// The task shall undo what it did and end. Asking again changes nothing, and what is over or not known needs no
    /// asking.
    async fn cancel(&self, task: &TaskId) -> Result<()>;
}
