use async_trait::async_trait;
use domain::{Idem, Result};
use serde::{Deserialize, Serialize};

use crate::Mark;

/// A feature flag, as an environment's settings name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlagRef {
    /// Which store of flags, as configured.
    pub store: String,
    pub key: String,
    /// The store's own name for where it applies; everywhere when absent.
    #[serde(default)]
    pub scope: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flag {
    /// For how many of a hundred users it is on.
    pub percent: u32,
    pub mark: Mark,
}

/// Feature flags that are rolled out to a share of users.
#[async_trait]
pub trait FlagStore: Send + Sync {
    /// `NotFound` when there is no such flag; `Conflict` when it is on by other rules than a percentage.
    async fn read(&self, at: &FlagRef) -> Result<Flag>;

    /// The flag shall be on for that share of users (0 to 100); a user for whom it was on at less stays among them.
    /// The same rules as for a [`Fleet`](crate::Fleet)'s writes. Other flags and other scopes stay as they are.
    async fn set(&self, at: &FlagRef, percent: u32, seen: &Mark, idem: &Idem) -> Result<Flag>;
}
