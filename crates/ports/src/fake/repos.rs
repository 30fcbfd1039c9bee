use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use domain::{Error, Repo, Result};

use crate::Repos;

/// Repositories in memory.
#[derive(Clone, Debug, Default)]
pub struct FakeRepos(Arc<Mutex<Vec<Repo>>>);

impl FakeRepos {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a repository, in the place of one of the same id.
    pub fn put(&self, repo: Repo) {
        let mut repos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        repos.retain(|known| known.id != repo.id);
        repos.push(repo);
    }
}

#[async_trait]
impl Repos for FakeRepos {
    async fn find(&self, named: &str) -> Result<Option<Repo>> {
        let repos = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let by: [fn(&Repo, &str) -> bool; 4] = [
            |repo, named| repo.id == named,
            |repo, named| repo.at.project == named,
            |repo, named| repo.slug.as_deref() == Some(named),
            |repo, named| repo.name == named,
        ];
        for is_called in by {
            let found: Vec<&Repo> = repos.iter().filter(|repo| is_called(repo, named)).collect();
            match found[..] {
                [] => {}
                [one] => return Ok(Some(one.clone())),
                _ => {
                    return Err(
                        Error::conflict(format!("{named} may be any of several")).next("Name one by its id")
                    );
                }
            }
        }
        Ok(None)
    }
}
