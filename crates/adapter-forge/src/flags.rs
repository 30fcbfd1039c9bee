use async_trait::async_trait;
use domain::{Idem, RepoRef, Result};
use ports::{Flag, FlagRef, FlagStore, Mark};

use crate::forges::Forges;

/// The feature flags of a project.
#[derive(Clone)]
pub struct ForgeFlags {
    forges: Forges,
    repo: RepoRef,
}

impl ForgeFlags {
    pub fn new(forges: Forges, repo: RepoRef) -> Self {
        Self { forges, repo }
    }
}

#[async_trait]
impl FlagStore for ForgeFlags {
    async fn read(&self, at: &FlagRef) -> Result<Flag> {
        self.forges.flags(&self.repo)?.flag(&self.repo, at).await
    }

    async fn set(&self, at: &FlagRef, percent: u32, seen: &Mark, _: &Idem) -> Result<Flag> {
        let flags = self.forges.flags(&self.repo)?;
        flags.set_flag(&self.repo, at, percent, seen).await
    }
}
