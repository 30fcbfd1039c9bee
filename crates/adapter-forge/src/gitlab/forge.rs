use async_trait::async_trait;
use bytes::Bytes;
use domain::{Error, Idem, RepoRef, Result};
use futures_util::StreamExt;
use gitlab::api::common::SortOrder;
use gitlab::api::projects::jobs::{Job as GetJob, JobTrace, RetryJob};
use gitlab::api::projects::pipelines::{Pipeline as GetPipeline, PipelineJobs, PipelineOrderBy, Pipelines};
use gitlab::api::{Endpoint, RestClient};
use http::Method;
use ports::{Forge, Job, JobRef, LogStream, NewPipeline, NewRevert, Pipeline, Revert};

use super::raw::{RawJob, RawPipeline};
use super::{Gitlab, project};
use crate::failure::Need;
use crate::request::built;

impl Gitlab {
    async fn raw_pipeline(&self, repo: &RepoRef, pipeline: u64) -> Result<RawPipeline> {
        let get = built(
            GetPipeline::builder()
                .project(project(repo))
                .pipeline(pipeline)
                .build(),
        )?;
        self.client.query(get).await.map_err(|error| {
            error.explain(
                &format!("read pipeline {pipeline} of {}", repo.project),
                Need::ReadBuilds,
            )
        })
    }
}

#[async_trait]
impl Forge for Gitlab {
    async fn pipeline(&self, repo: &RepoRef, pipeline: u64) -> Result<Pipeline> {
        Ok(self.raw_pipeline(repo, pipeline).await?.into_pipeline())
    }

    async fn latest_pipeline(&self, repo: &RepoRef, git_ref: &str) -> Result<Option<Pipeline>> {
        let list = Pipelines::builder()
            .project(project(repo))
            .ref_(git_ref)
            .order_by(PipelineOrderBy::Id)
            .sort(SortOrder::Descending)
            .build();
        let newest = gitlab::api::paged(built(list)?, gitlab::api::Pagination::Limit(1));
        let newest: Result<Vec<RawPipeline>, _> =
            gitlab::api::AsyncQuery::query_async(&newest, &self.client).await;
        let newest = newest.map_err(|error| {
            let doing = format!("look for the newest pipeline of {git_ref} in {}", repo.project);
            self.client
                .unwrap(&Method::GET, error)
                .explain(&doing, Need::ReadBuilds)
        })?;
        Ok(newest.into_iter().next().map(RawPipeline::into_pipeline))
    }

    async fn pipelines_of(&self, repo: &RepoRef, sha: &str) -> Result<Vec<Pipeline>> {
        self.of_commit(repo, sha).await
    }

    async fn jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        let top = self.raw_pipeline(repo, pipeline).await?;
        self.all_below(repo, top).await
    }

    async fn failed_jobs(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<Job>> {
        let top = self.raw_pipeline(repo, pipeline).await?;
        self.failed_below(repo, top).await
    }

    async fn job(&self, job: &JobRef) -> Result<Job> {
        let get = built(GetJob::builder().project(project(&job.repo)).job(job.id).build())?;
        let found: RawJob = self.client.query(get).await.map_err(|error| {
            error.explain(
                &format!("read job {} of {}", job.id, job.repo.project),
                Need::ReadBuilds,
            )
        })?;
        Ok(found.into_job(&job.repo))
    }

    async fn log(&self, job: &JobRef) -> Result<LogStream> {
        let doing = format!("read the log of job {} of {}", job.id, job.repo.project);
        let trace = built(
            JobTrace::builder()
                .project(project(&job.repo))
                .job(job.id)
                .build(),
        )?;
        let url = self.client.rest_endpoint(&trace.endpoint());
        let url = url.map_err(|error| Error::internal(format!("could not {doing}: {error}")))?;
        let request = built(http::Request::get(url.as_str()).body(Bytes::new()))?;
        let answer = self.host.open(request).await;
        let answer = answer.map_err(|error| error.explain(&doing, Need::ReadBuilds))?;
        let host = std::sync::Arc::clone(&self.host);
        let pieces = answer.bytes_stream().map(move |piece| {
            piece.map_err(|error| host.broken(&Method::GET, error).explain(&doing, Need::ReadBuilds))
        });
        Ok(pieces.boxed())
    }

    fn log_link(&self, job: &Job, line: u64) -> String {
        format!("{}#L{line}", job.url)
    }

    async fn retry_job(&self, job: &JobRef, _: &[JobRef], _: &Idem) -> Result<Job> {
        let doing = format!("retry job {} of {}", job.id, job.repo.project);
        let retry = built(
            RetryJob::builder()
                .project(project(&job.repo))
                .job(job.id)
                .build(),
        )?;
        let answer: Result<RawJob, _> = self.client.query(retry).await;
        match answer {
            Ok(made) => Ok(made.into_job(&job.repo)),
            Err(error) if error.refusal().contains("not retryable") => Err(Error::conflict(format!(
                "could not {doing}"
            ))
            .because(&error)
            .next("It runs still, was retried already, or its artifacts are gone; look at its newest run")),
            Err(error) => Err(error.explain(&doing, Need::RetryJob)),
        }
    }

    async fn retry_of(&self, job: &Job) -> Result<Option<Job>> {
        let repo = &job.at.repo;
        let runs = PipelineJobs::builder()
            .project(project(repo))
            .pipeline(job.pipeline)
            .include_retried(true)
            .build();
        let runs: Vec<RawJob> = self.client.query_all(built(runs)?).await.map_err(|error| {
            let doing = format!(
                "look for a retry of job {} in pipeline {} of {}",
                job.at.id, job.pipeline, repo.project
            );
            error.explain(&doing, Need::ReadBuilds)
        })?;
        let later = runs
            .into_iter()
            .filter(|run| run.id > job.at.id && run.name == job.name);
        Ok(later.min_by_key(|run| run.id).map(|run| run.into_job(repo)))
    }

    async fn start_pipeline(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Pipeline> {
        self.start(repo, wanted, idem).await
    }

    async fn started(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Option<Pipeline>> {
        self.find_started(repo, wanted, idem).await
    }

    async fn revert(&self, repo: &RepoRef, wanted: &NewRevert) -> Result<Revert> {
        self.open_revert(repo, wanted).await
    }
}
