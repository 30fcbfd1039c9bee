use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Idem, RepoRef, Result};
use gitlab::api::endpoint_prelude::Cow;
use gitlab::api::projects::deployments::{
    CreateDeployment, Deployment, DeploymentStatus, DeploymentStatusFilter, Deployments, EditDeployment,
};
use gitlab::api::projects::repository::commits::Commit as GetCommit;
use gitlab::api::projects::repository::tags::Tag;
use gitlab::api::{Endpoint, Pageable, QueryParams};
use http::{Method, StatusCode};
use ports::{Commit, Environments, NewRecord, RecordRef, RecordStatus};
use serde::Deserialize;

use super::{Gitlab, project};
use crate::failure::{CallError, Need};
use crate::request::built;

#[derive(Debug, Deserialize)]
struct RawTag {
    commit: RawCommit,
}

#[derive(Debug, Deserialize)]
struct RawCommit {
    id: String,
    committed_date: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
struct RawDeployment {
    id: u64,
    sha: String,
    status: String,
    #[serde(default)]
    user: Option<RawUser>,
    environment: RawEnvironment,
}

#[derive(Debug, Deserialize)]
struct RawUser {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct RawEnvironment {
    id: u64,
    name: String,
}

/// The crate has the list without its pages.
struct AllDeployments<'a>(Deployments<'a>);

impl Endpoint for AllDeployments<'_> {
    fn method(&self) -> Method {
        self.0.method()
    }
    fn endpoint(&self) -> Cow<'static, str> {
        self.0.endpoint()
    }
    fn parameters(&self) -> QueryParams<'_> {
        self.0.parameters()
    }
}

impl Pageable for AllDeployments<'_> {}

/// GitLab alone blocks deployments, by its own approvals; who waits for somebody else's is running to it.
fn word(status: RecordStatus) -> DeploymentStatus {
    match status {
        RecordStatus::Blocked | RecordStatus::Running => DeploymentStatus::Running,
        RecordStatus::Success => DeploymentStatus::Success,
        RecordStatus::Failed => DeploymentStatus::Failed,
        RecordStatus::Canceled => DeploymentStatus::Canceled,
    }
}

/// Whether GitLab's word already says it.
fn says(now: &str, wanted: RecordStatus) -> bool {
    match wanted {
        RecordStatus::Blocked => matches!(now, "blocked" | "running"),
        RecordStatus::Running => now == "running",
        RecordStatus::Success => now == "success",
        RecordStatus::Failed => now == "failed",
        RecordStatus::Canceled => now == "canceled",
    }
}

/// None where there is nothing of that name; GitLab answers a project that is missing with another word.
pub(super) fn unless_missing<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if error.status() == Some(StatusCode::NOT_FOUND) && !error.refusal().contains("Project") =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Pages go by the project's path, which a number does not tell.
fn page(gitlab: &Gitlab, repo: &RepoRef, of: &str) -> Option<String> {
    let path = repo.project.trim_matches('/');
    let root = gitlab.host.web.as_str().trim_end_matches('/');
    let named = path.parse::<u64>().is_err();
    named.then(|| format!("{root}/{path}/-/{of}"))
}

fn record(gitlab: &Gitlab, repo: &RepoRef, raw: RawDeployment) -> RecordRef {
    RecordRef {
        id: raw.id,
        url: page(gitlab, repo, &format!("environments/{}", raw.environment.id)),
        environment: raw.environment.name,
    }
}

#[async_trait]
impl Environments for Gitlab {
    async fn commit(&self, repo: &RepoRef, name: &str) -> Result<Option<Commit>> {
        let explain =
            |error: CallError| error.explain(&format!("look for {name} in {}", repo.project), Need::ReadCode);
        let tag = built(Tag::builder().project(project(repo)).tag_name(name).build())?;
        let tag = unless_missing(self.client.query::<RawTag, _>(tag).await).map_err(explain)?;
        let is_tag = tag.is_some();
        let found = match tag {
            Some(tag) => Some(tag.commit),
            None => {
                let get = built(GetCommit::builder().project(project(repo)).commit(name).build())?;
                unless_missing(self.client.query::<RawCommit, _>(get).await).map_err(explain)?
            }
        };
        Ok(found.map(|commit| Commit {
            sha: commit.id,
            at: commit.committed_date,
            git_ref: name.to_owned(),
            is_tag,
        }))
    }

    fn comparison(&self, repo: &RepoRef, from: &str, to: &str) -> Option<String> {
        page(self, repo, &format!("compare/{from}...{to}"))
    }

    async fn create(&self, repo: &RepoRef, new: &NewRecord, _: &Idem) -> Result<RecordRef> {
        let create = CreateDeployment::builder()
            .project(project(repo))
            .environment(new.environment.as_str())
            .sha(new.sha.as_str())
            .ref_(new.git_ref.as_str())
            .tag(new.is_tag)
            .status(word(new.status))
            .build();
        let made: Result<RawDeployment, _> = self.client.query(built(create)?).await;
        let made = made.map_err(|error| {
            let doing = format!("record a deployment to {} of {}", new.environment, repo.project);
            error.explain(&doing, Need::WriteDeployment)
        })?;
        Ok(record(self, repo, made))
    }

    async fn find(&self, repo: &RepoRef, wanted: &NewRecord, _: &Idem) -> Result<Option<RecordRef>> {
        let own_user = self.own_user().await?;
        for unfinished in [DeploymentStatusFilter::Running, DeploymentStatusFilter::Blocked] {
            let list = Deployments::builder()
                .project(project(repo))
                .environment(wanted.environment.as_str())
                .status(unfinished)
                .build();
            let found: Result<Vec<RawDeployment>, _> =
                self.client.query_all(AllDeployments(built(list)?)).await;
            let found = found.map_err(|error| {
                let doing = format!(
                    "list the deployments to {} of {}",
                    wanted.environment, repo.project
                );
                error.explain(&doing, Need::ReadDeployments)
            })?;
            let ours = found.into_iter().filter(|deployment| {
                deployment.sha == wanted.sha
                    && deployment.environment.name == wanted.environment
                    && deployment.user.as_ref().is_some_and(|user| user.id == own_user)
            });
            if let Some(newest) = ours.max_by_key(|deployment| deployment.id) {
                return Ok(Some(record(self, repo, newest)));
            }
        }
        Ok(None)
    }

    async fn update(&self, repo: &RepoRef, at: &RecordRef, status: RecordStatus) -> Result<()> {
        let name = format!("deployment {} to {} of {}", at.id, at.environment, repo.project);
        let get = Deployment::builder()
            .project(project(repo))
            .deployment_id(at.id)
            .build();
        let now: Result<RawDeployment, _> = self.client.query(built(get)?).await;
        let now = now.map_err(|error| error.explain(&format!("read {name}"), Need::ReadDeployments))?;
        if says(&now.status, status) {
            return Ok(());
        }
        let edit = EditDeployment::builder()
            .project(project(repo))
            .deployment_id(at.id)
            .status(word(status))
            .build();
        let edited = self.client.send(built(edit)?).await;
        edited.map_err(|error| error.explain(&format!("update {name}"), Need::WriteDeployment))
    }
}
