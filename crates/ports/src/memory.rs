use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Idem, Result, TaskId};
use serde::{Deserialize, Serialize};

/// What was judged of failed jobs before: is this one flaky, and how often was it retried?
#[async_trait]
pub trait FlakeHistory: Send + Sync {
    /// Staged on the step and committed with it: a replay records nothing twice.
    fn record(&self, verdict: &FlakeVerdict, idem: &Idem);

    /// The newest verdicts on a job of a repository, newest first.
    async fn recent(&self, repo_id: &str, job: &str, limit: u32) -> Result<Vec<FlakeVerdict>>;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlakeVerdict {
    pub repo_id: String,
    pub job: String,
    pub git_ref: String,
    pub sha: String,
    /// The diagnosed class, as the handler names it.
    pub class: String,
    /// Whether it was held to be flaky or the infrastructure's fault, and retried for that.
    pub retried: bool,
    pub task_id: TaskId,
    /// Filled in by the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
}

/// Limits on what may be done by itself within a time: retries, rollbacks.
#[async_trait]
pub trait BudgetLedger: Send + Sync {
    /// Takes one from `account` if fewer than `limit` were taken within `window`. Repeating the call with the
    /// same `idem` gives the first answer and takes nothing more.
    async fn spend(&self, account: &str, limit: u32, window: Duration, idem: &Idem) -> Result<Spend>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "spend", rename_all = "snake_case")]
pub enum Spend {
    Granted { left: u32 },
    Exhausted { limit: u32 },
}
