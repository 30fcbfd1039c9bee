//! Workflows that are started, pull requests, and their reverts by GraphQL.

use serde::Serialize;
use serde_json::{Value, json};

use super::site::{no_rights, not_found, page};
use super::world::{Job, Run, World};
use crate::peer::{Reply, Request};

/// The workflow that may be started by hand, and its inputs.
const WORKFLOW: &str = "smoke.yml";
const INPUTS: [&str; 2] = ["suite", "longshore_run"];

#[derive(Clone, Debug, Serialize)]
pub struct Pull {
    pub repo: String,
    pub number: u64,
    /// The commit that it came in as; none while it is open.
    pub merged_as: Option<String>,
    pub branch: String,
    pub body: String,
}

impl World {
    /// A pull request that came in as this commit.
    pub fn merge(&mut self, repo: &str, sha: &str) -> u64 {
        let number = self.open_issue(repo, &[]);
        self.pulls.push(Pull {
            repo: repo.to_owned(),
            number,
            merged_as: Some(sha.to_owned()),
            branch: "feature/cart".to_owned(),
            body: String::new(),
        });
        number
    }
}

/// `POST actions/workflows/:name/dispatches`
pub(super) fn dispatch(
    world: &mut World,
    request: &Request,
    repo: &str,
    name: &str,
    refused: bool,
) -> Result<Reply, Reply> {
    if refused {
        return Err(no_rights());
    }
    if name != WORKFLOW {
        return Err(not_found());
    }
    let fields = request.fields();
    let git_ref = fields["ref"].as_str().unwrap_or_default().to_owned();
    let commit = world.commits.iter();
    let mut commit = commit.filter(|commit| commit.repo == repo && commit.tag == git_ref);
    let sha = commit.next().map(|commit| commit.sha.clone());
    let sha = sha.ok_or_else(|| Reply::message(422, &format!("No ref found for: {git_ref}")))?;
    let inputs = fields["inputs"].as_object().cloned().unwrap_or_default();
    let unexpected: Vec<&String> = inputs
        .keys()
        .filter(|key| !INPUTS.contains(&key.as_str()))
        .collect();
    if !unexpected.is_empty() {
        return Err(Reply::message(
            422,
            &format!("Unexpected inputs provided: {unexpected:?}"),
        ));
    }
    let run = world.number();
    let title = match world.unnamed_runs {
        true => "Smoke tests".to_owned(),
        false => format!("smoke {}", inputs["longshore_run"].as_str().unwrap_or_default()),
    };
    let planted = Run {
        id: run,
        repo: repo.to_owned(),
        status: "queued".to_owned(),
        conclusion: None,
        branch: git_ref,
        sha,
        attempt: 1,
        event: "workflow_dispatch",
        title,
    };
    world.runs.insert(run, planted);
    let job = Job {
        id: world.number(),
        run,
        attempt: 1,
        name: "smoke".to_owned(),
        status: "queued".to_owned(),
        conclusion: None,
        started_at: world.moment(),
        completed_at: None,
        log: Vec::new(),
    };
    world.jobs.insert(job.id, job);
    world.begun += 1;
    Ok(Reply::empty(204))
}

/// `GET commits/:sha/pulls`
pub(super) fn of_commit(world: &World, repo: &str, sha: &str) -> Result<Reply, Reply> {
    if !world
        .commits
        .iter()
        .any(|commit| commit.repo == repo && commit.sha == sha)
    {
        return Err(Reply::message(422, &format!("No commit found for SHA: {sha}")));
    }
    let came = world
        .pulls
        .iter()
        .filter(|pull| pull.repo == repo && pull.merged_as.as_deref() == Some(sha));
    Ok(Reply::json(
        200,
        &Value::from_iter(came.map(|pull| pull_json(world, pull))),
    ))
}

/// `GET pulls`, newest first.
pub(super) fn list(world: &World, request: &Request, repo: &str) -> Reply {
    let here = world.pulls.iter().rev().filter(|pull| pull.repo == repo);
    let here = here.map(|pull| pull_json(world, pull)).collect();
    Reply::json(200, &Value::Array(page(request, here)))
}

/// The one mutation that we send.
pub(super) fn graphql(world: &mut World, request: &Request) -> Reply {
    let fields = request.fields();
    let refuse = |kind: &str, message: &str| {
        let errors = json!([{ "type": kind, "path": ["revertPullRequest"], "message": message }]);
        Reply::json(
            200,
            &json!({ "data": { "revertPullRequest": null }, "errors": errors }),
        )
    };
    let asked = &fields["variables"];
    if !fields["query"]
        .as_str()
        .is_some_and(|query| query.contains("revertPullRequest(input:"))
    {
        return refuse("undefinedField", "the fake knows revertPullRequest alone");
    }
    if world.read_only {
        return refuse("FORBIDDEN", "Resource not accessible by personal access token");
    }
    let id = asked["id"].as_str().unwrap_or_default();
    let Some(pull) = world.pulls.iter().find(|pull| node(pull) == id).cloned() else {
        return refuse(
            "NOT_FOUND",
            &format!("Could not resolve to a node with the global id of '{id}'"),
        );
    };
    if world.built_on.contains(&pull.number) {
        return refuse(
            "UNPROCESSABLE",
            "Sorry, this pull request couldn't be reverted automatically.",
        );
    }
    let number = world.open_issue(&pull.repo, &[]);
    let made = Pull {
        number,
        merged_as: None,
        branch: format!("revert-{}-{}", pull.number, pull.branch),
        body: asked["body"].as_str().unwrap_or_default().to_owned(),
        ..pull
    };
    let url = web(world, &made);
    world.pulls.push(made);
    let made = json!({ "revertPullRequest": { "number": number, "url": url } });
    Reply::json(200, &json!({ "data": { "revertPullRequest": made } }))
}

fn node(pull: &Pull) -> String {
    format!("PR_{}", pull.number)
}

fn web(world: &World, pull: &Pull) -> String {
    format!("{}/{}/pull/{}", world.base, pull.repo, pull.number)
}

fn pull_json(world: &World, pull: &Pull) -> Value {
    json!({
        "number": pull.number,
        "node_id": node(pull),
        "html_url": web(world, pull),
        "merged_at": pull.merged_as.as_ref().map(|_| "2026-01-01T00:00:00Z"),
        "body": pull.body,
        "head": { "ref": pull.branch },
    })
}
