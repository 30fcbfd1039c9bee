use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Error, Idem, RepoRef, Result};
use futures_util::StreamExt;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use ports::{Forge, Job, JobRef, LogStream, NewPipeline, NewRevert, Pipeline, Revert};

use super::raw::{RawJob, RawJobs, RawRun, RawRuns};
use super::{Github, root};
use crate::failure::Need;

const PER_PAGE: usize = 100;
/// A run has at most 256 jobs an attempt times its attempts; far beyond that something is wrong.
const MOST_PAGES: usize = 200;
/// GitHub says that a rerun was accepted before its jobs can be seen.
pub(super) const FIRST_LOOK: Duration = Duration::from_millis(250);
pub(super) const LOOKS: u32 = 5;

impl Github {
    /// The jobs of a run: `latest` attempt or `all`.
    async fn jobs_of(&self, repo: &RepoRef, run: u64, filter: &str) -> Result<Vec<RawJob>> {
        let path = format!("{}/actions/runs/{run}/jobs", root(repo)?);
        let mut all = Vec::new();
        for page in 1..=MOST_PAGES {
            let parameters = [
                ("filter", filter.to_owned()),
                ("per_page", PER_PAGE.to_string()),
                ("page", page.to_string()),
            ];
            let found: RawJobs = self.client.get(&path, &parameters).await.map_err(|error| {
                error.explain(
                    &format!("list the jobs of run {run} of {}", repo.project),
                    Need::ReadBuilds,
                )
            })?;
            let last = found.jobs.len() < PER_PAGE;
            all.extend(found.jobs);
            if last {
                break;
            }
        }
        Ok(all)
    }

    async fn raw_job(&self, job: &JobRef) -> Result<RawJob> {
        let path = format!("{}/actions/jobs/{}", root(&job.repo)?, job.id);
        self.client.get(&path, &()).await.map_err(|error| {
            error.explain(
                &format!("read job {} of {}", job.id, job.repo.project),
                Need::ReadBuilds,
            )
        })
    }

    /// The next run of a job. What was not run again stands in the later attempt too, with its old times.
    async fn run_after(
        &self,
        repo: &RepoRef,
        run: u64,
        name: &str,
        attempt: u32,
        started_at: Option<DateTime<Utc>>,
    ) -> Result<Option<Job>> {
        let later = self.jobs_of(repo, run, "all").await?.into_iter();
        let later = later.filter(|job| {
            job.name == name
                && job.run_attempt > attempt
                && (job.started_at.is_none() || job.started_at != started_at)
        });
        Ok(later
            .min_by_key(|job| job.run_attempt)
            .map(|job| job.into_job(repo)))
    }
}

#[async_trait]
impl Forge for Github {
    async fn pipeline(&self, repo: &RepoRef, pipeline: u64) -> Result<Pipeline> {
        let path = format!("{}/actions/runs/{pipeline}", root(repo)?);
        let run: RawRun = self.client.get(&path, &()).await.map_err(|error| {
            error.explain(
                &format!("read run {pipeline} of {}", repo.project),
                Need::ReadBuilds,
            )
        })?;
        Ok(run.into_pipeline())
    }

    async fn latest_pipeline(&self, repo: &RepoRef, git_ref: &str) -> Result<Option<Pipeline>> {
        let path = format!("{}/actions/runs", root(repo)?);
        let parameters = [("branch", git_ref), ("per_page", "1")];
        let runs: RawRuns = self.client.get(&path, &parameters).await.map_err(|error| {
            let doing = format!("look for the newest run of {git_ref} in {}", repo.project);
            error.explain(&doing, Need::ReadBuilds)
        })?;
        Ok(runs.workflow_runs.into_iter().next().map(RawRun::into_pipeline))
    }

    async fn pipelines_of(&self, repo: &RepoRef, sha: &str) -> Result<Vec<Pipeline>> {
        self.of_commit(repo, sha).await
    }

    async fn jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        let jobs = self.jobs_of(repo, pipeline, "latest").await?;
        Ok(jobs.into_iter().map(|job| job.into_job(repo)).collect())
    }

    async fn failed_jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        let jobs = self.jobs_of(repo, pipeline, "latest").await?;
        let jobs = jobs.into_iter().map(|job| job.into_job(repo));
        let mut failed: Vec<Job> = jobs
            .filter(|job| job.status == ports::JobStatus::Failed)
            .collect();
        failed.sort_by_key(|job| (job.finished_at, job.at.id));
        Ok(failed)
    }

    async fn job(&self, job: &JobRef) -> Result<Job> {
        Ok(self.raw_job(job).await?.into_job(&job.repo))
    }

    async fn log(&self, job: &JobRef) -> Result<LogStream> {
        let doing = format!("read the log of job {} of {}", job.id, job.repo.project);
        let path = format!("{}/actions/jobs/{}/logs", root(&job.repo)?, job.id);
        let answer = self.client.open(&path).await.map_err(|error| {
            let gone = error.status() == Some(StatusCode::GONE);
            let error = error.explain(&doing, Need::ReadBuilds);
            if gone {
                error.next("GitHub has deleted it: logs expire. Run the job again")
            } else {
                error
            }
        })?;
        let host = std::sync::Arc::clone(&self.host);
        let pieces = answer.into_body().into_data_stream().map(move |piece| {
            piece.map_err(|error| {
                let failure = crate::failure::Failure::NoAnswer(cut(&error));
                host.failed(&Method::GET, failure)
                    .explain(&doing, Need::ReadBuilds)
            })
        });
        Ok(pieces.boxed())
    }

    /// GitHub links to lines of steps, which the plain log does not name; the job's page is as near as it gets.
    fn log_link(&self, job: &Job, _: u64) -> String {
        job.url.clone()
    }

    async fn retry_job(&self, job: &JobRef, beside: &[JobRef], _: &Idem) -> Result<Job> {
        let doing = format!("run job {} of {} again", job.id, job.repo.project);
        let before = self.raw_job(job).await?;
        let mut path = format!("{}/actions/jobs/{}/rerun", root(&job.repo)?, job.id);
        if !beside.is_empty() {
            let started = self.run_after(
                &job.repo,
                before.run_id,
                &before.name,
                before.run_attempt,
                before.started_at,
            );
            if let Some(made) = started.await? {
                return Ok(made);
            }
            // A run that is under way takes no second rerun, so they all start at once or one by one.
            let failed = self.failed_jobs(&job.repo, before.run_id).await?;
            if failed
                .iter()
                .all(|failed| failed.at == *job || beside.contains(&failed.at))
            {
                path = format!(
                    "{}/actions/runs/{}/rerun-failed-jobs",
                    root(&job.repo)?,
                    before.run_id
                );
            }
        }
        if let Err(error) = self.client.poke(&path).await {
            // GitHub answers 403 for missing rights and for jobs that cannot be run again.
            let said = error.refusal().to_lowercase();
            if [
                "already running",
                "cannot be retried",
                "cannot be rerun",
                "latest attempt",
                "created over a month",
            ]
            .iter()
            .any(|words| said.contains(words))
            {
                return Err(Error::conflict(format!("could not {doing}"))
                    .because(&error)
                    .next("Wait for the run to end, and look at its newest attempt"));
            }
            return Err(error.explain(&doing, Need::RetryJob));
        }
        let mut pause = FIRST_LOOK;
        for _ in 0..LOOKS {
            if let Some(made) = self
                .run_after(
                    &job.repo,
                    before.run_id,
                    &before.name,
                    before.run_attempt,
                    before.started_at,
                )
                .await?
            {
                return Ok(made);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(Error::timeout(format!(
            "GitHub agreed to {doing} and shows no new run of it yet"
        )))
    }

    async fn retry_of(&self, job: &Job) -> Result<Option<Job>> {
        self.run_after(&job.at.repo, job.pipeline, &job.name, job.attempt, job.started_at)
            .await
    }

    async fn start_pipeline(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Pipeline> {
        self.dispatch(repo, wanted, idem).await
    }

    async fn started(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Option<Pipeline>> {
        self.dispatched(repo, wanted, idem).await
    }

    async fn revert(&self, repo: &RepoRef, wanted: &NewRevert) -> Result<Revert> {
        self.open_revert(repo, wanted).await
    }
}

/// Octocrab's errors print where in its code they arose; the lowest cause is what happened.
fn cut(error: &octocrab::Error) -> String {
    let mut lowest: &dyn std::error::Error = error;
    while let Some(below) = lowest.source() {
        lowest = below;
    }
    format!("the log broke off: {lowest}")
}
