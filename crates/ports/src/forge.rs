use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::{Idem, RepoRef, Result};
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

/// The bytes of a job's log, in pieces as they arrive.
pub type LogStream = BoxStream<'static, Result<Bytes>>;

/// Builds of a repository: pipelines, their jobs and the jobs' logs.
#[async_trait]
pub trait Forge: Send + Sync {
    /// One pipeline (or workflow run).
    async fn pipeline(&self, repo: &RepoRef, pipeline: u64) -> Result<Pipeline>;

    /// The newest pipeline of a branch or tag, if there is one.
    async fn latest_pipeline(&self, repo: &RepoRef, git_ref: &str) -> Result<Option<Pipeline>>;

    /// The pipelines of a commit, newest first; of many only the newest. Those that [`Forge::start_pipeline`] made are left
    /// out: they test a deployment and say nothing of the build.
    async fn pipelines_of(&self, repo: &RepoRef, sha: &str) -> Result<Vec<Pipeline>>;

    /// The jobs of a pipeline and of its child and downstream pipelines, each by its newest run.
    async fn jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>>;

    /// The failed jobs of a pipeline and of its child and downstream pipelines, in the order in which they
    /// finished; jobs that were allowed to fail come last. A job that was retried since counts by its newest run.
    async fn failed_jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>>;

    async fn job(&self, job: &JobRef) -> Result<Job>;

    /// The whole log, streamed. Empty when the job wrote none.
    async fn log(&self, job: &JobRef) -> Result<LogStream>;

    /// A link that opens the job's log at a line, counted from 1.
    fn log_link(&self, job: &Job, line: u64) -> String;

    /// Runs a finished job again. Not repeatable: look with [`Forge::retry_of`] first when in doubt.
    ///
    /// `beside`: the pipeline's other jobs that are to run again too, each by a call of its own. A forge that takes
    /// only one rerun at a time starts all with the first call, and answers the others with what was started.
    async fn retry_job(&self, job: &JobRef, beside: &[JobRef], idem: &Idem) -> Result<Job>;

    /// The run that a retry of this job made, if there was one.
    async fn retry_of(&self, job: &Job) -> Result<Option<Job>>;

    /// Starts a pipeline that carries the step's key. Not repeatable: look with [`Forge::started`] first when in doubt.
    async fn start_pipeline(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Pipeline>;

    /// The pipeline that [`Forge::start_pipeline`] made for this step, if it did. Where the forge cannot tell, it is an
    /// error: none may be started again then.
    async fn started(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Option<Pipeline>>;

    /// A merge request that takes a change back shall be open, or have been: it is made once, and found again however
    /// often it is asked for. [`Conflict`](domain::ErrorKind::Conflict) when the forge cannot make it by itself because
    /// later changes build on it.
    async fn revert(&self, repo: &RepoRef, wanted: &NewRevert) -> Result<Revert>;
}

/// A pipeline to be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPipeline {
    /// Branch or tag.
    pub git_ref: String,
    /// Which workflow, for forges that have several beside each other; others ignore it.
    #[serde(default)]
    pub workflow: Option<String>,
    pub variables: BTreeMap<String, String>,
}

/// A change to be taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewRevert {
    /// The commit that brought it in.
    pub sha: String,
    /// Names the merge request: the same for the same wish. Its branch where the forge lets us choose one.
    pub branch: String,
    /// The branch that the change is on.
    pub onto: String,
    pub title: String,
    pub description: String,
}

/// A merge request that takes a change back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revert {
    pub iid: u64,
    pub url: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    pub id: u64,
    pub status: JobStatus,
    /// Branch or tag.
    pub git_ref: String,
    pub sha: String,
    pub url: String,
}

/// Where a job is: in which project (a downstream job's project is not the pipeline's), and its number there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobRef {
    pub repo: RepoRef,
    pub id: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub at: JobRef,
    pub name: String,
    /// Empty where the forge has no stages.
    pub stage: String,
    pub status: JobStatus,
    /// The pipeline that it belongs to, which may be a child of the one asked for.
    pub pipeline: u64,
    /// Which run of the same job this is, counted from 1, where the forge numbers them in place.
    pub attempt: u32,
    pub git_ref: String,
    pub sha: String,
    pub url: String,
    pub allow_failure: bool,
    /// The forge's own reason for a failure, as it words it (`script_failure`, `runner_system_failure`…).
    pub failure_reason: Option<String>,
    pub exit_code: Option<i64>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub duration: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// Created, waiting for a runner, for a person or for others.
    Waiting,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Skipped,
}

impl JobStatus {
    pub fn is_over(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped
        )
    }
}
