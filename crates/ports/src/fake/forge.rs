use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use domain::{Error, Idem, RepoRef, Result};
use futures_util::{StreamExt, stream};

use super::Faults;
use crate::{Forge, Job, JobRef, JobStatus, LogStream, NewPipeline, NewRevert, Pipeline, Revert};

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
    PipelinesOf,
    Jobs,
    StartPipeline,
    Started,
    Revert,
}

/// A pipeline that was started through the port.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    pub wanted: NewPipeline,
    pub pipeline: u64,
    /// The key of the step that asked for it.
    pub idem: String,
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
    begun: Vec<Begun>,
    /// How pipelines end that were started through the port, and how often they are looked at before that.
    ends: Option<(JobStatus, u32)>,
    looks: HashMap<u64, u32>,
    /// Commits that can be reverted, with whether that goes by itself.
    changes: HashMap<(RepoRef, String), bool>,
    reverts: Vec<NewRevert>,
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

    /// Pipelines that are started through the port run until they were looked at so often, and end so, with one job
    /// called `smoke`. Before this is said they never end.
    pub fn pipelines_end(&self, status: JobStatus, after_looks: u32) {
        self.world().ends = Some((status, after_looks));
    }

    /// A commit that can be taken back; not without a person where later ones build on it.
    pub fn add_change(&self, repo: &RepoRef, sha: &str, is_built_on: bool) {
        let key = (repo.clone(), sha.to_owned());
        self.world().changes.insert(key, !is_built_on);
    }

    /// The pipelines that were started, in order.
    pub fn begun(&self) -> Vec<Begun> {
        self.world().begun.clone()
    }

    /// The reverts that were opened, in order.
    pub fn reverts(&self) -> Vec<NewRevert> {
        self.world().reverts.clone()
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

    fn jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        self.pipeline(repo, pipeline)?;
        let mut seen = HashSet::new();
        let mut open = vec![(repo.clone(), pipeline)];
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(self.children.get(&next).into_iter().flatten().cloned());
            }
        }
        Ok(self
            .jobs
            .values()
            .filter(|job| !self.retry_of.contains_key(&job.at.id))
            .filter(|job| seen.contains(&(job.at.repo.clone(), job.pipeline)))
            .cloned()
            .collect())
    }

    fn failed_jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        let mut failed = self.jobs(repo, pipeline)?;
        failed.retain(|job| job.status == JobStatus::Failed);
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

    /// A look at a pipeline brings those that were started through the port nearer to their end.
    fn looked(&mut self, repo: &RepoRef, id: u64) -> Result<Pipeline> {
        let looks = self.looks.entry(id).or_default();
        *looks += 1;
        if let (Some((status, after)), looks) = (self.ends, *looks)
            && looks >= after
            && self.begun.iter().any(|begun| begun.pipeline == id)
            && let Some(pipeline) = self.pipelines.get_mut(&(repo.clone(), id))
        {
            pipeline.status = status;
            for job in self.jobs.values_mut().filter(|job| job.pipeline == id) {
                job.status = status;
            }
        }
        self.pipeline(repo, id).cloned()
    }

    fn start(&mut self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Pipeline> {
        if self.writes_denied {
            return Err(Error::denied("no pipeline may be started by us"));
        }
        let mut of_ref = self.pipelines.iter();
        let sha = of_ref
            .find(|((at, _), known)| at == repo && known.git_ref == wanted.git_ref)
            .map(|(_, known)| known.sha.clone())
            .ok_or_else(|| Error::invalid(format!("there is no branch or tag {}", wanted.git_ref)))?;
        let ids = self.pipelines.keys().map(|(_, id)| *id);
        let id = ids.max().unwrap_or_default().max(1000) + 1;
        let url = format!("https://forge.example/{}/pipelines/{id}", repo.project);
        let pipeline = Pipeline {
            id,
            status: JobStatus::Waiting,
            git_ref: wanted.git_ref.clone(),
            sha: sha.clone(),
            url: url.clone(),
        };
        self.pipelines.insert((repo.clone(), id), pipeline.clone());
        let job = self.jobs.keys().next_back().copied().unwrap_or_default() + 1;
        let at = JobRef {
            repo: repo.clone(),
            id: job,
        };
        let smoke = Job {
            at,
            name: "smoke".to_owned(),
            stage: String::new(),
            status: JobStatus::Waiting,
            pipeline: id,
            attempt: 1,
            git_ref: wanted.git_ref.clone(),
            sha,
            url: format!("{url}/jobs/{job}"),
            allow_failure: false,
            failure_reason: None,
            exit_code: None,
            started_at: None,
            finished_at: None,
            duration: None,
        };
        self.jobs.insert(job, smoke);
        self.begun.push(Begun {
            wanted: wanted.clone(),
            pipeline: id,
            idem: idem.key().to_owned(),
        });
        Ok(pipeline)
    }

    fn revert(&mut self, repo: &RepoRef, wanted: &NewRevert) -> Result<Revert> {
        let place = self
            .reverts
            .iter()
            .position(|known| known.branch == wanted.branch);
        let place = match place {
            Some(place) => place,
            None if self.writes_denied => {
                return Err(Error::denied("no merge request may be opened by us"));
            }
            None => match self.changes.get(&(repo.clone(), wanted.sha.clone())) {
                None => return Err(Error::not_found(format!("there is no commit {}", wanted.sha))),
                Some(false) => {
                    return Err(Error::conflict(format!("later changes build on {}", wanted.sha)));
                }
                Some(true) => {
                    self.reverts.push(wanted.clone());
                    self.reverts.len() - 1
                }
            },
        };
        let iid = u64::try_from(place).unwrap_or_default() + 1;
        Ok(Revert {
            iid,
            url: format!("https://forge.example/{}/merge_requests/{iid}", repo.project),
        })
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
        self.call(ForgeOp::Pipeline, |world| world.looked(repo, pipeline))
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

    async fn pipelines_of(&self, repo: &RepoRef, sha: &str) -> Result<Vec<Pipeline>> {
        self.call(ForgeOp::PipelinesOf, |world| {
            let of_commit = world.pipelines.iter();
            let ours = |id| world.begun.iter().any(|begun| begun.pipeline == id);
            let of_commit =
                of_commit.filter(|((at, id), known)| at == repo && known.sha == sha && !ours(*id));
            let mut found: Vec<Pipeline> = of_commit.map(|(_, known)| known.clone()).collect();
            found.sort_by_key(|known| std::cmp::Reverse(known.id));
            Ok(found)
        })
        .await
    }

    async fn jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        self.call(ForgeOp::Jobs, |world| world.jobs(repo, pipeline)).await
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

    async fn start_pipeline(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Pipeline> {
        self.call(ForgeOp::StartPipeline, |world| world.start(repo, wanted, idem))
            .await
    }

    async fn started(&self, repo: &RepoRef, _: &NewPipeline, idem: &Idem) -> Result<Option<Pipeline>> {
        self.call(ForgeOp::Started, |world| {
            let begun = world.begun.iter().find(|begun| begun.idem == idem.key());
            begun
                .map(|begun| world.pipeline(repo, begun.pipeline).cloned())
                .transpose()
        })
        .await
    }

    async fn revert(&self, repo: &RepoRef, wanted: &NewRevert) -> Result<Revert> {
        self.call(ForgeOp::Revert, |world| world.revert(repo, wanted))
            .await
    }
}
