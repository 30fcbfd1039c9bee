use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use domain::{Error, Idem, RepoRef, Result};
use futures_util::{StreamExt, stream};

use super::Faults;
use crate::{Forge, Job, JobRef, JobStatus, LogStream, Pipeline};

/// A forge in memory. Clones share one world, so a test keeps one and hands the other to the code under test.
#[derive(Clone, Debug, Default)]
pub struct FakeForge {
    world: Arc<Mutex<World>>,
    faults: Faults<ForgeOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForgeOp {
    Pipeline,
    LatestPipeline,
    FailedJobs,
    Job,
    Log,
    RetryJob,
    RetryOf,
}

/// A job that was run again through the port.
#[derive(Clone, Debug, PartialEq)]
pub struct Retried {
    pub of: JobRef,
    pub made: Job,
    /// The key of the step that asked for it.
    pub idem: String,
    /// What was to be run again with it.
    pub beside: Vec<JobRef>,
}

#[derive(Debug, Default)]
struct World {
    pipelines: HashMap<(RepoRef, u64), Pipeline>,
    children: HashMap<(RepoRef, u64), Vec<(RepoRef, u64)>>,
    jobs: BTreeMap<u64, Job>,
    retry_of: HashMap<u64, u64>,
    logs: HashMap<u64, Bytes>,
    retried: Vec<Retried>,
    calls: Vec<ForgeOp>,
    writes_denied: bool,
}

impl FakeForge {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn add_pipeline(&self, repo: &RepoRef, pipeline: Pipeline) {
        let key = (repo.clone(), pipeline.id);
        self.world().pipelines.insert(key, pipeline);
    }

    /// Makes `child` a child or downstream pipeline of `parent`.
    pub fn add_child(&self, parent: (&RepoRef, u64), child: (&RepoRef, u64)) {
        let (parent, child) = ((parent.0.clone(), parent.1), (child.0.clone(), child.1));
        self.world().children.entry(parent).or_default().push(child);
    }

    /// Adds a job to the pipeline that it names, or replaces it. Job numbers are unique in the whole fake.
    pub fn add_job(&self, job: Job) {
        self.world().jobs.insert(job.at.id, job);
    }

    /// Says that `later` is the run that a retry of `earlier` made.
    pub fn link_retry(&self, earlier: &JobRef, later: &JobRef) {
        self.world().retry_of.insert(earlier.id, later.id);
    }

    pub fn set_status(&self, job: &JobRef, status: JobStatus) {
        if let Some(job) = self.world().jobs.get_mut(&job.id) {
            job.status = status;
        }
    }

    pub fn set_log(&self, job: &JobRef, log: impl Into<Bytes>) {
        self.world().logs.insert(job.id, log.into());
    }

    /// From now on nothing may be changed.
    pub fn deny_writes(&self) {
        self.world().writes_denied = true;
    }

    pub fn faults(&self) -> &Faults<ForgeOp> {
        &self.faults
    }

    /// The retries that took effect, in order.
    pub fn retried(&self) -> Vec<Retried> {
        self.world().retried.clone()
    }

    /// Every call so far, whatever came of it.
    pub fn calls(&self) -> Vec<ForgeOp> {
        self.world().calls.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(&self, op: ForgeOp, effect: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        self.world().calls.push(op);
        self.faults.around(op, || effect(&mut self.world())).await
    }
}

impl World {
    fn pipeline(&self, repo: &RepoRef, id: u64) -> Result<&Pipeline> {
        self.pipelines
            .get(&(repo.clone(), id))
            .ok_or_else(|| Error::not_found(format!("there is no pipeline {id} in {}", repo.project)))
    }

    fn job(&self, at: &JobRef) -> Result<&Job> {
        self.jobs
            .get(&at.id)
            .filter(|job| job.at.repo == at.repo)
            .ok_or_else(|| Error::not_found(format!("there is no job {} in {}", at.id, at.repo.project)))
    }

    fn failed_jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        self.pipeline(repo, pipeline)?;
        let mut seen = HashSet::new();
        let mut open = vec![(repo.clone(), pipeline)];
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(self.children.get(&next).into_iter().flatten().cloned());
            }
        }
        let mut failed: Vec<Job> = self
            .jobs
            .values()
            .filter(|job| job.status == JobStatus::Failed)
            .filter(|job| !self.retry_of.contains_key(&job.at.id))
            .filter(|job| seen.contains(&(job.at.repo.clone(), job.pipeline)))
            .cloned()
            .collect();
        failed.sort_by_key(|job| (job.allow_failure, job.finished_at, job.at.id));
        Ok(failed)
    }

    /// A pipeline runs while one of its jobs does, and so do those above it.
    fn run_again(&mut self, repo: &RepoRef, pipeline: u64) {
        let mut open = vec![(repo.clone(), pipeline)];
        let mut seen = HashSet::new();
        while let Some(next) = open.pop() {
            if let Some(pipeline) = self.pipelines.get_mut(&next) {
                pipeline.status = JobStatus::Running;
            }
            let above = self
                .children
                .iter()
                .filter(|(_, children)| children.contains(&next));
            let above: Vec<_> = above.map(|(parent, _)| parent.clone()).collect();
            open.extend(above.into_iter().filter(|parent| seen.insert(parent.clone())));
        }
    }

    fn retry(&mut self, at: &JobRef, beside: &[JobRef], idem: &Idem) -> Result<Job> {
        let job = self.job(at)?.clone();
        if self.writes_denied {
            return Err(Error::denied(format!("job {} may not be retried by us", at.id)));
        }
        if !job.status.is_over() || self.retry_of.contains_key(&at.id) {
            return Err(Error::conflict(format!("job {} cannot be retried", at.id)));
        }
        let mut made = job.clone();
        made.at.id = self.jobs.keys().next_back().copied().unwrap_or_default() + 1;
        made.status = JobStatus::Waiting;
        made.attempt += 1;
        made.url = format!("{}/{}", job.url.trim_end_matches(&at.id.to_string()), made.at.id);
        (made.failure_reason, made.exit_code) = (None, None);
        (made.started_at, made.finished_at, made.duration) = (None, None, None);
        self.run_again(&job.at.repo, job.pipeline);
        self.retry_of.insert(at.id, made.at.id);
        self.jobs.insert(made.at.id, made.clone());
        self.retried.push(Retried {
            of: at.clone(),
            made: made.clone(),
            idem: idem.key().to_owned(),
            beside: beside.to_vec(),
        });
        Ok(made)
    }
}

#[async_trait]
impl Forge for FakeForge {
    async fn pipeline(&self, repo: &RepoRef, pipeline: u64) -> Result<Pipeline> {
        self.call(ForgeOp::Pipeline, |world| world.pipeline(repo, pipeline).cloned())
            .await
    }

    async fn latest_pipeline(&self, repo: &RepoRef, git_ref: &str) -> Result<Option<Pipeline>> {
        self.call(ForgeOp::LatestPipeline, |world| {
            let of_ref = world
                .pipelines
                .iter()
                .filter(|((at, _), found)| at == repo && found.git_ref == git_ref);
            Ok(of_ref
                .map(|(_, found)| found)
                .max_by_key(|found| found.id)
                .cloned())
        })
        .await
    }

    async fn failed_jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        self.call(ForgeOp::FailedJobs, |world| world.failed_jobs(repo, pipeline))
            .await
    }

    async fn job(&self, job: &JobRef) -> Result<Job> {
        self.call(ForgeOp::Job, |world| world.job(job).cloned()).await
    }

    async fn log(&self, job: &JobRef) -> Result<LogStream> {
        let log = self
            .call(ForgeOp::Log, |world| {
                world.job(job)?;
                Ok(world.logs.get(&job.id).cloned().unwrap_or_default())
            })
            .await?;
        // Pieces of an odd length, so that readers meet lines that are cut in the middle.
        let pieces = stream::unfold(log, |mut rest| async move {
            let take = rest.len().min(8191);
            (take > 0).then(|| (Ok(rest.split_to(take)), rest))
        });
        Ok(pieces.boxed())
    }

    fn log_link(&self, job: &Job, line: u64) -> String {
        format!("{}#L{line}", job.url)
    }

    async fn retry_job(&self, job: &JobRef, beside: &[JobRef], idem: &Idem) -> Result<Job> {
        self.call(ForgeOp::RetryJob, |world| world.retry(job, beside, idem))
            .await
    }

    async fn retry_of(&self, job: &Job) -> Result<Option<Job>> {
        self.call(ForgeOp::RetryOf, |world| {
            world.job(&job.at)?;
            let later = world.retry_of.get(&job.at.id);
            Ok(later.and_then(|id| world.jobs.get(id)).cloned())
        })
        .await
    }
}
