//! Pipelines that we start, and changes that we take back.

use domain::{Error, ErrorKind, Idem, RepoRef, Result};
use gitlab::api::Endpoint;
use gitlab::api::common::SortOrder;
use gitlab::api::endpoint_prelude::{BodyError, Cow, FormParams};
use gitlab::api::projects::merge_requests::{CreateMergeRequest, MergeRequests};
use gitlab::api::projects::pipelines::{
    CreatePipeline, PipelineOrderBy, PipelineSource, PipelineVariable, PipelineVariables, Pipelines,
};
use gitlab::api::projects::repository::branches::{Branch, CreateBranch, DeleteBranch};
use http::Method;
use ports::{NewPipeline, NewRevert, Pipeline, Revert};
use serde::Deserialize;

use super::environments::unless_missing;
use super::raw::RawPipeline;
use super::{Gitlab, project};
use crate::failure::Need;
use crate::request::built;

/// The variable by which a pipeline that we started is known again.
const RUN: &str = "LONGSHORE_RUN";
/// How many pipelines of a commit are of interest.
const OF_A_COMMIT: usize = 20;
/// How many pipelines of a ref are searched for ours. Each costs a request.
const SEARCHED: usize = 100;

#[derive(Debug, Deserialize)]
struct RawVariable {
    key: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct RawBranch {
    commit: RawHead,
}

#[derive(Debug, Deserialize)]
struct RawHead {
    #[serde(default)]
    message: String,
}

#[derive(Debug, Deserialize)]
struct RawMergeRequest {
    iid: u64,
    #[serde(default)]
    web_url: String,
}

impl From<RawMergeRequest> for Revert {
    fn from(raw: RawMergeRequest) -> Self {
        Self {
            iid: raw.iid,
            url: raw.web_url,
        }
    }
}

/// The crate has none (<https://docs.gitlab.com/api/commits/#revert-a-commit>).
struct RevertCommit<'a> {
    path: String,
    branch: &'a str,
}

impl Endpoint for RevertCommit<'_> {
    fn method(&self) -> Method {
        Method::POST
    }
    fn endpoint(&self) -> Cow<'static, str> {
        self.path.clone().into()
    }
    fn body(&self) -> Result<Option<(&'static str, Vec<u8>)>, BodyError> {
        let mut form = FormParams::default();
        form.push("branch", self.branch);
        form.into_body()
    }
}

impl Gitlab {
    pub(super) async fn of_commit(&self, repo: &RepoRef, sha: &str) -> Result<Vec<Pipeline>> {
        let list = Pipelines::builder()
            .project(project(repo))
            .sha(sha)
            .order_by(PipelineOrderBy::Id)
            .sort(SortOrder::Descending)
            .build();
        let doing = format!("list the pipelines of commit {sha} of {}", repo.project);
        let mut others = Vec::new();
        for raw in self.newest(built(list)?, OF_A_COMMIT, &doing).await? {
            let is_ours =
                raw.source.as_deref() == Some("api") && self.run_of(repo, raw.id, &doing).await?.is_some();
            others.extend((!is_ours).then(|| raw.into_pipeline()));
        }
        Ok(others)
    }

    /// The step that a pipeline was started for, if it is one of ours.
    async fn run_of(&self, repo: &RepoRef, pipeline: u64, doing: &str) -> Result<Option<String>> {
        let variables = PipelineVariables::builder()
            .project(project(repo))
            .pipeline(pipeline)
            .build();
        let variables: Result<Vec<RawVariable>, _> = self.client.query(built(variables)?).await;
        match variables.map_err(|error| error.explain(doing, Need::ReadBuilds)) {
            Ok(variables) => Ok(variables
                .into_iter()
                .find(|variable| variable.key == RUN)
                .map(|variable| variable.value)),
            // Those of others may be hidden from us; ours are not.
            Err(error) if matches!(error.kind, ErrorKind::Denied | ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn newest(&self, list: Pipelines<'_>, most: usize, doing: &str) -> Result<Vec<RawPipeline>> {
        let newest = gitlab::api::paged(list, gitlab::api::Pagination::Limit(most));
        let newest = gitlab::api::AsyncQuery::query_async(&newest, &self.client).await;
        newest.map_err(|error| {
            let error = self.client.unwrap(&Method::GET, error);
            error.explain(doing, Need::ReadBuilds)
        })
    }

    pub(super) async fn start(&self, repo: &RepoRef, wanted: &NewPipeline, idem: &Idem) -> Result<Pipeline> {
        let mut create = CreatePipeline::builder();
        create.project(project(repo)).ref_(wanted.git_ref.as_str());
        let ours = (RUN, idem.key());
        let theirs = wanted.variables.iter();
        let theirs = theirs.map(|(key, value)| (key.as_str(), value.as_str()));
        for (key, value) in theirs.filter(|(key, _)| *key != RUN).chain([ours]) {
            let variable = PipelineVariable::builder().key(key).value(value).build();
            create.variable(built(variable)?);
        }
        let made: Result<RawPipeline, _> = self.client.query(built(create.build())?).await;
        let made = made.map_err(|error| {
            let doing = format!("start a pipeline of {} in {}", wanted.git_ref, repo.project);
            error.explain(&doing, Need::StartPipeline)
        })?;
        Ok(made.into_pipeline())
    }

    pub(super) async fn find_started(
        &self,
        repo: &RepoRef,
        wanted: &NewPipeline,
        idem: &Idem,
    ) -> Result<Option<Pipeline>> {
        let list = Pipelines::builder()
            .project(project(repo))
            .ref_(wanted.git_ref.as_str())
            .source(PipelineSource::Api)
            .order_by(PipelineOrderBy::Id)
            .sort(SortOrder::Descending)
            .build();
        let doing = format!(
            "look for the pipeline of {} that we started in {}",
            wanted.git_ref, repo.project
        );
        let found = self.newest(built(list)?, SEARCHED, &doing).await?;
        let all = found.len() < SEARCHED;
        for raw in found {
            if self.run_of(repo, raw.id, &doing).await?.as_deref() == Some(idem.key()) {
                return Ok(Some(raw.into_pipeline()));
            }
        }
        match all {
            true => Ok(None),
            false => Err(Error::conflict(format!(
                "could not {doing}: it is not among the newest {SEARCHED}"
            ))
            .next(format!(
                "Look for a pipeline with the variable {RUN}={} by hand",
                idem.key()
            ))),
        }
    }

    /// Branch, commit and merge request, each looked for before it is made: a try that was cut goes on where it was.
    pub(super) async fn open_revert(&self, repo: &RepoRef, wanted: &NewRevert) -> Result<Revert> {
        let NewRevert { sha, branch, .. } = wanted;
        let doing = format!("take commit {sha} of {} back", repo.project);
        if sha.is_empty() || !sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::invalid(format!("could not {doing}: that is no commit")));
        }
        if let Some(known) = self.revert_of(repo, branch, &doing).await? {
            return Ok(known);
        }
        let get = Branch::builder()
            .project(project(repo))
            .branch(branch.as_str())
            .build();
        let known: Option<RawBranch> = unless_missing(self.client.query(built(get)?).await)
            .map_err(|error| error.explain(&doing, Need::ReadCode))?;
        let is_reverted = known
            .as_ref()
            .is_some_and(|known| known.commit.message.contains(sha));
        if known.is_none() {
            let create = CreateBranch::builder()
                .project(project(repo))
                .branch(branch.as_str())
                .ref_(wanted.onto.as_str())
                .build();
            let made = self.client.send(built(create)?).await;
            made.map_err(|error| error.explain(&doing, Need::WriteCode))?;
        }
        if !is_reverted {
            let path = format!("projects/{}/repository/commits/{sha}/revert", project(repo));
            if let Err(error) = self.client.send(RevertCommit { path, branch }).await {
                let cannot = error.refusal().contains("cannot revert");
                let error = error.explain(&doing, Need::WriteCode);
                if error.is_transient() {
                    return Err(error);
                }
                self.drop_branch(repo, branch).await;
                return Err(match cannot {
                    false => error,
                    true => Error {
                        kind: ErrorKind::Conflict,
                        ..error.next(format!(
                            "Later changes build on it, or it is taken back already: `git revert {sha}` by hand tells"
                        ))
                    },
                });
            }
        }
        let create = CreateMergeRequest::builder()
            .project(project(repo))
            .source_branch(branch.as_str())
            .target_branch(wanted.onto.as_str())
            .title(wanted.title.as_str())
            .description(wanted.description.as_str())
            .remove_source_branch(true)
            .build();
        let made: Result<RawMergeRequest, _> = self.client.query(built(create)?).await;
        match made {
            Ok(made) => Ok(made.into()),
            Err(error) => {
                let error = error.explain(&doing, Need::WriteCode);
                match error.kind {
                    // Somebody was faster: a try of ours whose answer is still on its way.
                    ErrorKind::Conflict => self.revert_of(repo, branch, &doing).await?.ok_or(error),
                    _ => Err(error),
                }
            }
        }
    }

    async fn revert_of(&self, repo: &RepoRef, branch: &str, doing: &str) -> Result<Option<Revert>> {
        let list = MergeRequests::builder()
            .project(project(repo))
            .source_branch(branch)
            .build();
        let found: Result<Vec<RawMergeRequest>, _> = self.client.query(built(list)?).await;
        let found = found.map_err(|error| error.explain(doing, Need::ReadCode))?;
        Ok(found.into_iter().max_by_key(|raw| raw.iid).map(Revert::from))
    }

    /// A branch with nothing on it helps nobody; where it cannot be taken away it stays, and says what it was for.
    async fn drop_branch(&self, repo: &RepoRef, branch: &str) {
        let delete = DeleteBranch::builder()
            .project(project(repo))
            .branch(branch)
            .build();
        if let Ok(delete) = delete
            && let Err(error) = self.client.send(delete).await
        {
            tracing::warn!(
                forge.project = repo.project,
                forge.branch = branch,
                "An empty branch could not be deleted: {error}"
            );
        }
    }
}
