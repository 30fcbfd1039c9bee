use std::collections::{HashSet, VecDeque};

use domain::{Error, ErrorKind, RepoRef, Result};
use gitlab::api::projects::jobs::JobScope;
use gitlab::api::projects::pipelines::{PipelineBridges, PipelineJobs};
use ports::Job;

use super::raw::{RawJob, RawPipeline, status};
use super::{Gitlab, project};
use crate::failure::Need;
use crate::request::built;

/// Pipelines trigger pipelines; past this depth nobody reads the answer any more (GitLab nests children two deep,
/// projects may trigger each other further).
const DEEPEST: usize = 8;
const MOST_PIPELINES: usize = 200;

impl Gitlab {
    /// The jobs that failed, in the order in which they did. An error where something failed that has no job to show.
    pub(super) async fn failed_below(&self, repo: &RepoRef, top: RawPipeline) -> Result<Vec<Job>> {
        let (mut failed, otherwise) = self.below(repo, top, Some(JobScope::Failed)).await?;
        if let (true, Some(error)) = (failed.is_empty(), otherwise) {
            return Err(error);
        }
        failed.sort_by_key(|job| (job.allow_failure, job.finished_at, job.at.id));
        Ok(failed)
    }

    /// The jobs that we may see.
    pub(super) async fn all_below(&self, repo: &RepoRef, top: RawPipeline) -> Result<Vec<Job>> {
        Ok(self.below(repo, top, None).await?.0)
    }

    /// Walks from a pipeline down to its children and downstream pipelines and gathers their jobs; with what is wrong
    /// below that no job shows.
    async fn below(
        &self,
        repo: &RepoRef,
        top: RawPipeline,
        scope: Option<JobScope>,
    ) -> Result<(Vec<Job>, Option<Error>)> {
        let mut jobs = Vec::new();
        // What failed where no job with a log did.
        let mut otherwise: Option<Error> = None;
        let mut seen = HashSet::from([top.id]);
        let mut open = VecDeque::from([(repo.clone(), top.project_id, top.id, 0_usize)]);
        while let Some((at, project_id, pipeline, depth)) = open.pop_front() {
            match self.jobs_in(&at, pipeline, scope).await {
                Ok(found) => jobs.extend(found),
                // A project further down that our token may not see must not hide the failures that it may.
                Err(error) if depth > 0 && is_hidden(&error) => {
                    tracing::warn!(
                        forge.project = at.project,
                        forge.pipeline = pipeline,
                        "A downstream pipeline cannot be read with our token"
                    );
                    otherwise.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            }
            for bridge in self.bridges(&at, pipeline).await? {
                match &bridge.downstream_pipeline {
                    Some(below)
                        if depth < DEEPEST && seen.len() < MOST_PIPELINES && seen.insert(below.id) =>
                    {
                        let (there, id) = self.repo_below(&at, project_id, below);
                        open.push_back((there, id, below.id, depth + 1));
                    }
                    // The pipeline could not even be made. Such a job has no log and cannot be read as a job.
                    None if status(&bridge.status) == ports::JobStatus::Failed => {
                        otherwise.get_or_insert_with(|| no_pipeline(&at, pipeline, &bridge));
                    }
                    _ => {}
                }
            }
        }
        Ok((jobs, otherwise))
    }

    async fn jobs_in(&self, repo: &RepoRef, pipeline: u64, scope: Option<JobScope>) -> Result<Vec<Job>> {
        let mut jobs = PipelineJobs::builder();
        jobs.project(project(repo))
            .pipeline(pipeline)
            .scopes(scope.into_iter());
        let jobs: Vec<RawJob> = self
            .client
            .query_all(built(jobs.build())?)
            .await
            .map_err(|error| {
                let doing = format!("list the jobs of pipeline {pipeline} of {}", repo.project);
                error.explain(&doing, Need::ReadBuilds)
            })?;
        Ok(jobs.into_iter().map(|job| job.into_job(repo)).collect())
    }

    async fn bridges(&self, repo: &RepoRef, pipeline: u64) -> Result<Vec<RawJob>> {
        let bridges = PipelineBridges::builder()
            .project(project(repo))
            .pipeline(pipeline)
            .build();
        self.client.query_all(built(bridges)?).await.map_err(|error| {
            let doing = format!("list the trigger jobs of pipeline {pipeline} of {}", repo.project);
            error.explain(&doing, Need::ReadBuilds)
        })
    }

    /// The project of a pipeline that another one started, and its number.
    fn repo_below(
        &self,
        above: &RepoRef,
        above_id: Option<u64>,
        below: &RawPipeline,
    ) -> (RepoRef, Option<u64>) {
        match below.project_id {
            Some(id) if below.project_id != above_id => {
                let there = RepoRef {
                    provider: above.provider.clone(),
                    url: if above.url.is_empty() {
                        String::new()
                    } else {
                        self.host.web.to_string()
                    },
                    project: id.to_string(),
                };
                (there, Some(id))
            }
            _ => (above.clone(), above_id),
        }
    }
}

fn no_pipeline(repo: &RepoRef, pipeline: u64, bridge: &RawJob) -> Error {
    let reason = bridge.failure_reason.as_deref().unwrap_or("no reason is given");
    Error::rejected(format!(
        "the trigger job `{}` of pipeline {pipeline} of {} started no pipeline: {reason}",
        bridge.name, repo.project
    ))
    .next(format!(
        "Check that the project and branch that it names exist and that its user may run pipelines there: {}",
        bridge.web_url
    ))
}

fn is_hidden(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Denied | ErrorKind::NotFound)
}
