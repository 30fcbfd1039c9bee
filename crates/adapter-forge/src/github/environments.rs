use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Error, Idem, RepoRef, Result};
use http::StatusCode;
use ports::{Commit, Environments, NewRecord, RecordRef, RecordStatus};
use serde::Deserialize;
use serde_json::json;

use super::{Github, root, segment};
use crate::failure::{CallError, Need};

#[derive(Debug, Deserialize)]
struct RawCommit {
    sha: String,
    commit: RawInner,
}

#[derive(Debug, Deserialize)]
struct RawInner {
    committer: RawCommitter,
}

#[derive(Debug, Deserialize)]
struct RawCommitter {
    date: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
struct RawDeployment {
    id: u64,
    environment: String,
    #[serde(default)]
    creator: Option<RawUser>,
}

#[derive(Debug, Deserialize)]
struct RawUser {
    id: u64,
}

#[derive(Debug, Deserialize)]
struct RawStatus {
    state: String,
}

/// GitHub's state, and what its page says beside it: it has none for a deployment that was called off.
fn words(status: RecordStatus) -> (&'static str, &'static str) {
    match status {
        RecordStatus::Blocked => ("pending", "Waits for an approval"),
        RecordStatus::Running => ("in_progress", ""),
        RecordStatus::Success => ("success", ""),
        RecordStatus::Failed => ("failure", ""),
        RecordStatus::Canceled => ("error", "Canceled"),
    }
}

/// A deployment that succeeded goes `inactive` when a later one does; to say `success` again would undo that.
fn says(now: &str, wanted: RecordStatus) -> bool {
    now == words(wanted).0 || wanted == RecordStatus::Success && now == "inactive"
}

/// A branch's name may hold slashes, which belong to the path.
fn reference(name: &str) -> String {
    name.split('/').map(segment).collect::<Vec<_>>().join("/")
}

impl Github {
    async fn commit_at(&self, repo: &RepoRef, reference: &str) -> Result<Option<RawCommit>, Error> {
        let path = format!("{}/commits/{reference}", root(repo)?);
        match self.client.get(&path, &()).await {
            Ok(commit) => Ok(Some(commit)),
            // A repository that is missing is answered with 404.
            Err(error) if error.status() == Some(StatusCode::UNPROCESSABLE_ENTITY) => Ok(None),
            Err(error) => {
                let doing = format!("look for {reference} in {}", repo.project);
                Err(error.explain(&doing, Need::ReadCode))
            }
        }
    }

    /// The newest state; none while nothing was said.
    async fn state(&self, repo: &RepoRef, deployment: u64) -> Result<Option<String>> {
        let path = format!("{}/deployments/{deployment}/statuses", root(repo)?);
        let newest: Result<Vec<RawStatus>, _> = self.client.get(&path, &json!({ "per_page": 1 })).await;
        let newest = newest.map_err(|error| {
            let doing = format!("read deployment {deployment} of {}", repo.project);
            error.explain(&doing, Need::ReadDeployments)
        })?;
        Ok(newest.into_iter().next().map(|status| status.state))
    }

    async fn say(&self, repo: &RepoRef, deployment: u64, status: RecordStatus) -> Result<(), Error> {
        let path = format!("{}/deployments/{deployment}/statuses", root(repo)?);
        let (state, description) = words(status);
        let body = json!({ "state": state, "description": description });
        let said: Result<RawStatus, CallError> = self.client.post(&path, &body).await;
        said.map(drop).map_err(|error| {
            let doing = format!("update deployment {deployment} of {}", repo.project);
            error.explain(&doing, Need::WriteDeployment)
        })
    }

    fn page(&self, repo: &RepoRef, of: &str) -> String {
        let (web, path) = (
            self.host.web.as_str().trim_end_matches('/'),
            repo.project.trim_matches('/'),
        );
        format!("{web}/{path}/{of}")
    }

    fn record(&self, repo: &RepoRef, raw: RawDeployment) -> RecordRef {
        RecordRef {
            id: raw.id,
            url: Some(self.page(repo, &format!("deployments/{}", segment(&raw.environment)))),
            environment: raw.environment,
        }
    }
}

#[async_trait]
impl Environments for Github {
    async fn commit(&self, repo: &RepoRef, name: &str) -> Result<Option<Commit>> {
        let reference = reference(name);
        let tag = self.commit_at(repo, &format!("tags/{reference}")).await?;
        let is_tag = tag.is_some();
        let found = match tag {
            Some(tag) => Some(tag),
            None => self.commit_at(repo, &reference).await?,
        };
        Ok(found.map(|found| Commit {
            sha: found.sha,
            at: found.commit.committer.date,
            git_ref: name.to_owned(),
            is_tag,
        }))
    }

    fn comparison(&self, repo: &RepoRef, from: &str, to: &str) -> Option<String> {
        Some(self.page(repo, &format!("compare/{from}...{to}")))
    }

    async fn create(&self, repo: &RepoRef, new: &NewRecord, _: &Idem) -> Result<RecordRef> {
        let path = format!("{}/deployments", root(repo)?);
        let body = json!({
            // Exactly this commit, whatever its branch or tag becomes.
            "ref": new.sha,
            "environment": new.environment,
            // Whether it may be deployed was decided before; GitHub shall neither merge nor check.
            "auto_merge": false,
            "required_contexts": [],
            "description": new.git_ref,
        });
        let made: Result<RawDeployment, _> = self.client.post(&path, &body).await;
        let made = made.map_err(|error| {
            let doing = format!("record a deployment to {} of {}", new.environment, repo.project);
            error.explain(&doing, Need::WriteDeployment)
        })?;
        let said = self.say(repo, made.id, new.status).await;
        said.map_err(|error| {
            // The record is there, so that whatever was wrong, it must be looked for before it is made again.
            let what = format!(
                "deployment {} of {} was recorded and its status was not",
                made.id, repo.project
            );
            let mut error = error.context(what);
            error.kind = domain::ErrorKind::Timeout;
            error
        })?;
        Ok(self.record(repo, made))
    }

    async fn find(&self, repo: &RepoRef, wanted: &NewRecord, _: &Idem) -> Result<Option<RecordRef>> {
        let own_user = self.own_user().await?;
        let path = format!("{}/deployments", root(repo)?);
        let asked = json!({ "sha": wanted.sha, "environment": wanted.environment, "per_page": 100 });
        let found: Result<Vec<RawDeployment>, _> = self.client.get(&path, &asked).await;
        let found = found.map_err(|error| {
            let doing = format!(
                "list the deployments to {} of {}",
                wanted.environment, repo.project
            );
            error.explain(&doing, Need::ReadDeployments)
        })?;
        let ours = found
            .into_iter()
            .filter(|raw| raw.creator.as_ref().is_some_and(|user| user.id == own_user));
        // They are made one after the other: only the newest can be unfinished.
        let Some(newest) = ours.max_by_key(|raw| raw.id) else {
            return Ok(None);
        };
        let state = self.state(repo, newest.id).await?;
        let unfinished =
            state.is_none_or(|state| matches!(state.as_str(), "pending" | "queued" | "in_progress"));
        Ok(unfinished.then(|| self.record(repo, newest)))
    }

    async fn update(&self, repo: &RepoRef, at: &RecordRef, status: RecordStatus) -> Result<()> {
        let now = self.state(repo, at.id).await?;
        match now.is_some_and(|now| says(&now, status)) {
            true => Ok(()),
            false => self.say(repo, at.id, status).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deployment_that_a_later_one_replaced_is_not_brought_back() {
        assert!(says("inactive", RecordStatus::Success) && says("success", RecordStatus::Success));
        assert!(!says("inactive", RecordStatus::Failed) && !says("pending", RecordStatus::Running));
    }

    #[test]
    fn the_slashes_of_a_branch_stay_and_the_rest_is_escaped() {
        assert_eq!(reference("feature/a b#1"), "feature/a%20b%231");
    }
}
