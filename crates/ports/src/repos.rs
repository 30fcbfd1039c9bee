use async_trait::async_trait;
use domain::{Repo, Result};

/// The repositories that are registered, for tasks that are about more than their own.
#[async_trait]
pub trait Repos: Send + Sync {
    /// The repository of this id, or else of this project, slug or name; `Conflict` when several are called so.
    async fn find(&self, named: &str) -> Result<Option<Repo>>;
}
