use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A repository that tasks are about: one row of the public table `repos`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repo {
    pub id: String,
    pub name: String,
    pub slug: Option<String>,
    #[serde(flatten)]
    pub at: RepoRef,
    pub default_branch: String,
    pub autonomy_mode: Autonomy,
    /// Environments, targets and policies, as the repository's owners wrote them.
    pub settings: Value,
    pub status: RepoStatus,
}

/// Where a forge keeps a repository; all that an adapter needs to find it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RepoRef {
    /// Which adapter serves it, as configured (the table's column `provider`).
    pub provider: String,
    /// The project's or the forge's web address; empty means the adapter's configured default.
    #[serde(default)]
    pub url: String,
    /// A number or a path like `group/name`.
    pub project: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Autonomy {
    /// A person approves what changes a system.
    #[default]
    Guided,
    Full,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepoStatus {
    #[default]
    Active,
    Paused,
    Archived,
}

impl RepoStatus {
    /// As the table writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Archived => "archived",
        }
    }
}

impl fmt::Display for RepoStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
