//! Workflows that we start, and pull requests that we take back.

use domain::{Error, Idem, RepoRef, Result};
use ports::{NewPipeline, NewRevert, Pipeline, Revert};
use serde::Deserialize;
use serde_json::json;

use super::client::GRAPHQL;
use super::forge::{FIRST_LOOK, LOOKS};
use super::raw::{RawRun, RawRuns};
use super::{Github, root, segment};
use crate::failure::{CallError, Need};

/// The input by which a run that we started is known again: GitHub shows no inputs of a run, only its name.
const RUN: &str = "longshore_run";
/// What stands in the name of every run that we started.
const OURS: &str = "longshore[";
const SEARCHED: usize = 100;
const OF_A_COMMIT: &str = "20";

#[derive(Debug, Deserialize)]
struct RawPull {
    number: u64,
    node_id: String,
    html_url: String,
    #[serde(default)]
    merged_at: Option<String>,
    #[serde(default)]
    body: Option<String>,
    head: RawHead,
}

#[derive(Debug, Deserialize)]
struct RawHead {
    #[serde(rename = "ref")]
    git_ref: String,
}

#[derive(Debug, Deserialize)]
struct Answered {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    errors: Vec<Refused>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(default)]
    revert_pull_request: Option<Reverted>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reverted {
    #[serde(default)]
    revert_pull_request: Option<NewPull>,
}

#[derive(Debug, Deserialize)]
struct NewPull {
    number: u64,
    url: String,
}

#[derive(Debug, Deserialize)]
struct Refused {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    message: String,
}

fn mark(idem: &Idem) -> String {
    format!("{OURS}{}]", idem.key())
}

/// Which workflow, as the API wants it: the file's name.
fn workflow(repo: &RepoRef, wanted: &NewPipeline) -> Result<String> {
    let name = wanted.workflow.as_deref().filter(|name| !name.is_empty());
    name.map(segment).ok_or_else(|| {
        Error::invalid(format!(
            "nothing says which workflow of {} to start",
            repo.project
        ))
        .next("Name its file as `workflow`, such as smoke.yml")
    })
}

fn how_to_name() -> String {
    format!(
        "Give the workflow the input `{RUN}` and `run-name: smoke ${{{{ inputs.{RUN} }}}}`, by which we know its runs again"
    )
}

impl Github {
    pub(super) async fn of_commit(&self, repo: &RepoRef, sha: &str) -> Result<Vec<Pipeline>> {
        let path = format!("{}/actions/runs", root(repo)?);
        let parameters = [("head_sha", sha), ("per_page", OF_A_COMMIT)];
        let runs: RawRuns = self.client.get(&path, &parameters).await.map_err(|error| {
            let doing = format!("list the runs of commit {sha} of {}", repo.project);
            error.explain(&doing, Need::ReadBuilds)
        })?;
        let mut runs: Vec<Pipeline> = runs
            .workflow_runs
            .into_iter()
            .filter(|run| !has_mark(run))
            .map(RawRun::into_pipeline)
            .collect();
        runs.sort_by_key(|run| std::cmp::Reverse(run.id));
        Ok(runs)
    }

    pub(super) async fn dispatch(
        &self,
        repo: &RepoRef,
        wanted: &NewPipeline,
        idem: &Idem,
    ) -> Result<Pipeline> {
        let workflow = workflow(repo, wanted)?;
        let doing = format!("start {workflow} of {} in {}", wanted.git_ref, repo.project);
        let path = format!("{}/actions/workflows/{workflow}/dispatches", root(repo)?);
        let mut inputs = wanted.variables.clone();
        inputs.insert(RUN.to_owned(), mark(idem));
        let body = json!({ "ref": wanted.git_ref, "inputs": inputs });
        self.client.tell(&path, &body).await.map_err(|error| {
            let unexpected = error.refusal().contains("Unexpected inputs");
            let error = error.explain(&doing, Need::StartPipeline);
            if unexpected {
                error.next(how_to_name())
            } else {
                error
            }
        })?;
        // It is accepted before it can be seen.
        let mut pause = FIRST_LOOK;
        for _ in 0..LOOKS {
            let runs = self.dispatches(repo, wanted, &doing).await?;
            if let Some(ours) = named(runs, idem) {
                return Ok(ours.into_pipeline());
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Err(
            Error::timeout(format!("GitHub agreed to {doing} and shows no run of it yet"))
                .next(how_to_name()),
        )
    }

    pub(super) async fn dispatched(
        &self,
        repo: &RepoRef,
        wanted: &NewPipeline,
        idem: &Idem,
    ) -> Result<Option<Pipeline>> {
        let doing = format!(
            "look for the run of {} that we started in {}",
            wanted.git_ref, repo.project
        );
        let own_user = self.own_user().await?;
        let runs = self.dispatches(repo, wanted, &doing).await?;
        let is_page = runs.len() >= SEARCHED;
        let by_us = |run: &&RawRun| run.actor.as_ref().is_some_and(|user| user.id == own_user);
        let unmarked = runs.iter().filter(by_us).find(|run| !has_mark(run));
        let unmarked = unmarked.map(|run| run.html_url.clone());
        match (named(runs, idem), unmarked) {
            (Some(ours), _) => Ok(Some(ours.into_pipeline())),
            (None, None) if !is_page => Ok(None),
            (None, url) => {
                let why = url.map_or_else(
                    || format!("it is not among the newest {SEARCHED}"),
                    |url| format!("the name of {url} does not say what it was started for"),
                );
                Err(Error::conflict(format!("could not {doing}: {why}")).next(how_to_name()))
            }
        }
    }

    async fn dispatches(&self, repo: &RepoRef, wanted: &NewPipeline, doing: &str) -> Result<Vec<RawRun>> {
        let path = format!(
            "{}/actions/workflows/{}/runs",
            root(repo)?,
            workflow(repo, wanted)?
        );
        let parameters = json!({
            "event": "workflow_dispatch",
            "branch": wanted.git_ref,
            "per_page": SEARCHED,
        });
        let runs: Result<RawRuns, CallError> = self.client.get(&path, &parameters).await;
        let runs = runs.map_err(|error| error.explain(doing, Need::ReadBuilds))?;
        Ok(runs.workflow_runs)
    }

    /// GitHub reverts pull requests, not commits, and names the branch itself (GraphQL, `revertPullRequest`). A revert of
    /// the same pull request that is there already is the one, whoever opened it.
    pub(super) async fn open_revert(&self, repo: &RepoRef, wanted: &NewRevert) -> Result<Revert> {
        let sha = &wanted.sha;
        let doing = format!("take commit {sha} of {} back", repo.project);
        let path = format!("{}/commits/{}/pulls", root(repo)?, segment(sha));
        let pulls: Result<Vec<RawPull>, CallError> = self.client.get(&path, &()).await;
        let pulls = pulls.map_err(|error| error.explain(&doing, Need::ReadCode))?;
        let mut merged = pulls.into_iter().filter(|pull| pull.merged_at.is_some());
        let Some(brought) = merged.next() else {
            return Err(Error::invalid(format!(
                "could not {doing}: GitHub reverts pull requests alone, and it came with none"
            ))
            .next(format!(
                "`git revert {sha}` on a branch, and open a pull request of it"
            )));
        };
        let mark = format!("<!-- {} -->", wanted.branch);
        if let Some(known) = self.known_revert(repo, &brought, &mark, &doing).await? {
            return Ok(known);
        }
        let query = "mutation($id: ID!, $title: String!, $body: String!) { revertPullRequest(input: {pullRequestId: \
                     $id, title: $title, body: $body}) { revertPullRequest { number url } } }";
        let body = json!({
            "query": query,
            "variables": {
                "id": brought.node_id,
                "title": wanted.title,
                "body": format!("{}\n\n{mark}", wanted.description),
            },
        });
        let answer: Result<Answered, CallError> = self.client.post(GRAPHQL, &body).await;
        let answer = answer.map_err(|error| error.explain(&doing, Need::WriteCode))?;
        let made = answer.data.and_then(|data| data.revert_pull_request);
        match (
            made.and_then(|made| made.revert_pull_request),
            answer.errors.first(),
        ) {
            (Some(made), _) => Ok(Revert {
                iid: made.number,
                url: made.url,
            }),
            (None, Some(refused)) => Err(refused.explain(&doing, brought.number)),
            (None, None) => Err(Error::timeout(format!(
                "GitHub answered nothing when asked to {doing}"
            ))),
        }
    }

    async fn known_revert(
        &self,
        repo: &RepoRef,
        brought: &RawPull,
        mark: &str,
        doing: &str,
    ) -> Result<Option<Revert>> {
        let path = format!("{}/pulls", root(repo)?);
        let newest = json!({ "state": "all", "sort": "created", "direction": "desc", "per_page": SEARCHED });
        let found: Result<Vec<RawPull>, CallError> = self.client.get(&path, &newest).await;
        let found = found.map_err(|error| error.explain(doing, Need::ReadCode))?;
        let branch = format!("revert-{}-{}", brought.number, brought.head.git_ref);
        let is_it = |pull: &RawPull| {
            pull.head.git_ref == branch || pull.body.as_ref().is_some_and(|body| body.contains(mark))
        };
        Ok(found.into_iter().find(is_it).map(|pull| Revert {
            iid: pull.number,
            url: pull.html_url,
        }))
    }
}

/// Whether we started it.
fn has_mark(run: &RawRun) -> bool {
    run.display_title
        .as_ref()
        .is_some_and(|title| title.contains(OURS))
}

fn named(runs: Vec<RawRun>, idem: &Idem) -> Option<RawRun> {
    let mark = mark(idem);
    let is_it = |run: &RawRun| {
        run.display_title
            .as_ref()
            .is_some_and(|title| title.contains(&mark))
    };
    runs.into_iter().find(is_it)
}

impl Refused {
    /// GraphQL answers a refusal with 200 and these words.
    fn explain(&self, doing: &str, pull: u64) -> Error {
        let what = format!("could not {doing}: {}", self.message);
        match self.kind.as_str() {
            "FORBIDDEN" | "INSUFFICIENT_SCOPES" => {
                Error::denied(what).next("Give the token write access to Contents and Pull requests")
            }
            "NOT_FOUND" => Error::not_found(what),
            "RATE_LIMITED" => Error::rate_limited(what, None),
            _ => Error::conflict(what).next(format!(
                "Revert pull request {pull} by hand: its page says what is in the way"
            )),
        }
    }
}
