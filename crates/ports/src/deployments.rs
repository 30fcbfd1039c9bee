use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Idem, Result, TaskId};
use serde::{Deserialize, Serialize};

/// What went where, when, from which commit, and what became of it.
#[async_trait]
pub trait DeploymentLog: Send + Sync {
    /// Staged on the step and committed with it: a replay writes nothing twice. Times are those of the commit. An entry
    /// about a deployment that is not there changes nothing.
    fn write(&self, entry: &LogEntry, idem: &Idem);

    /// The newest deployments to an environment, newest first.
    async fn newest(&self, repo_id: &str, environment: &str, limit: u32) -> Result<Vec<Deployment>>;

    /// Those that were not over before `since`, and those because of which something failed that was not, oldest first; of
    /// one repository, or of all.
    async fn since(&self, since: DateTime<Utc>, repo_id: Option<&str>) -> Result<Vec<Deployment>>;

    /// The time by which entries are dated.
    async fn now(&self) -> Result<DateTime<Utc>>;
}

/// One thing that is kept of a deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum LogEntry {
    /// Somebody wants it; it may have to wait for others.
    Asked(NewDeployment),
    /// It began to change something.
    Started {
        id: String,
        /// What served until then; none for the first.
        previous: Option<String>,
    },
    /// From now on users may get it.
    Reached { id: String },
    /// It is over.
    Ended {
        id: String,
        outcome: DeploymentOutcome,
        /// What decided, in a sentence.
        cause: Option<String>,
    },
    /// Something failed because of it, while it was rolled out or later.
    Failure {
        deployment: String,
        /// Unique among all failures; a second entry of the same id changes nothing.
        id: String,
        cause: String,
    },
    /// The failure is over: users are served well again, since that time where it was found to be so later.
    Recovered { id: String, at: Option<DateTime<Utc>> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewDeployment {
    /// The task's id; behind it which try it is, where the task was tried anew after its end, and the service's name, where
    /// it deploys several.
    pub id: String,
    pub task_id: TaskId,
    pub repo_id: String,
    pub environment: String,
    pub workload: String,
    pub kind: DeploymentKind,
    pub version: String,
    pub strategy: String,
    pub git_ref: Option<String>,
    pub sha: Option<String>,
    /// When the commit was made: lead time counts from there.
    pub committed_at: Option<DateTime<Utc>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentKind {
    Deploy,
    Rollback,
}

impl DeploymentKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentOutcome {
    Succeeded,
    /// It failed, and what served before serves again.
    RolledBack,
    /// It failed, and what serves now is not what it was.
    Failed,
    Cancelled,
    /// A newer one took its place before it changed anything.
    Superseded,
}

impl DeploymentOutcome {
    pub const ALL: [Self; 5] = [
        Self::Succeeded,
        Self::RolledBack,
        Self::Failed,
        Self::Cancelled,
        Self::Superseded,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployment {
    #[serde(flatten)]
    pub what: NewDeployment,
    /// What served before; none for the first.
    pub previous: Option<String>,
    pub asked_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    /// Since when users may have got it; none where it ended before, and for a rollback.
    pub reached_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    /// None while it waits or runs.
    pub outcome: Option<DeploymentOutcome>,
    pub cause: Option<String>,
    /// What failed because of it, oldest first.
    pub failures: Vec<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub id: String,
    pub cause: String,
    pub began_at: DateTime<Utc>,
    pub recovered_at: Option<DateTime<Utc>>,
}
