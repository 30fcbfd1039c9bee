use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{Error, Idem, RepoRef, Result, nearest};
use ports::{Flag, FlagRef, FlagStore, Mark};

use crate::forges::Forges;

/// The feature flags of projects, each project a store under the name that it is configured by.
#[derive(Clone)]
pub struct ForgeFlags {
    forges: Forges,
    stores: BTreeMap<String, RepoRef>,
}

impl ForgeFlags {
    pub fn new(forges: Forges, stores: BTreeMap<String, RepoRef>) -> Self {
        Self { forges, stores }
    }

    fn repo(&self, at: &FlagRef) -> Result<&RepoRef> {
        self.stores.get(&at.store).ok_or_else(|| {
            let next = match nearest(&at.store, self.stores.keys().map(String::as_str)) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => "Add it, with its project, to the flag stores in the configuration".to_owned(),
            };
            Error::invalid(format!(
                "no store of feature flags called `{}` is configured",
                at.store
            ))
            .next(next)
        })
    }
}

#[async_trait]
impl FlagStore for ForgeFlags {
    async fn read(&self, at: &FlagRef) -> Result<Flag> {
        let repo = self.repo(at)?;
        self.forges.flags(repo)?.flag(repo, at).await
    }

    async fn set(&self, at: &FlagRef, percent: u32, seen: &Mark, _: &Idem) -> Result<Flag> {
        let repo = self.repo(at)?;
        self.forges.flags(repo)?.set_flag(repo, at, percent, seen).await
    }
}
