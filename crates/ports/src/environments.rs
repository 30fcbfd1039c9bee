use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Idem, RepoRef, Result};
use serde::{Deserialize, Serialize};

/// What a forge knows of environments: the commits behind versions, and a record of each deployment.
#[async_trait]
pub trait Environments: Send + Sync {
    /// The commit that a tag, a branch or a commit's own name stands for; none when there is none of that name.
    async fn commit(&self, repo: &RepoRef, name: &str) -> Result<Option<Commit>>;

    /// Where a person sees what changed between two commits, where the forge's address for it is known.
    fn comparison(&self, repo: &RepoRef, from: &str, to: &str) -> Option<String>;

    /// Makes the record of a deployment, and the environment if there is none of that name. Not repeatable: look with
    /// [`Environments::find`] first when in doubt.
    async fn create(&self, repo: &RepoRef, record: &NewRecord, idem: &Idem) -> Result<RecordRef>;

    /// The unfinished record that [`Environments::create`] made for this, if it did. Deployments to an environment are
    /// made one after the other, so ours of that commit that has not ended is the one.
    async fn find(&self, repo: &RepoRef, record: &NewRecord, idem: &Idem) -> Result<Option<RecordRef>>;

    /// Says how it stands. Saying it again changes nothing.
    async fn update(&self, repo: &RepoRef, record: &RecordRef, status: RecordStatus) -> Result<()>;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub sha: String,
    pub at: DateTime<Utc>,
    /// The name that it was asked by.
    pub git_ref: String,
    pub is_tag: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRecord {
    pub environment: String,
    pub sha: String,
    pub git_ref: String,
    pub is_tag: bool,
    pub status: RecordStatus,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordRef {
    pub id: u64,
    pub environment: String,
    /// Where a person can see it, when the forge says.
    pub url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordStatus {
    /// It waits for somebody to approve it.
    Blocked,
    Running,
    Success,
    Failed,
    Canceled,
}

impl RecordStatus {
    pub fn is_over(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::Canceled)
    }
}
