//! Commits by name, deployments and their statuses.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};

use super::OUR_USER;
use super::site::{no_rights, not_found, page, user_json};
use super::world::World;
use crate::peer::{Reply, Request};

#[derive(Clone, Debug, Serialize)]
pub struct Commit {
    pub repo: String,
    pub sha: String,
    pub at: DateTime<Utc>,
    pub tag: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Deployment {
    pub id: u64,
    pub repo: String,
    pub sha: String,
    pub environment: String,
    pub creator: u64,
    /// Every state that it had, in order.
    pub states: Vec<String>,
}

impl World {
    /// A new commit with a tag of its own.
    pub fn tag(&mut self, repo: &str, tag: &str) -> Commit {
        let commit = Commit {
            repo: repo.to_owned(),
            at: self.moment(),
            sha: format!("{:040x}", self.number()),
            tag: tag.to_owned(),
        };
        self.commits.push(commit.clone());
        commit
    }
}

/// `commits/:ref`
pub(super) fn commit(world: &World, repo: &str, reference: &[&str]) -> Result<Reply, Reply> {
    let reference = reference.join("/");
    let named = |commit: &&Commit| {
        let names = [&commit.sha, &commit.tag, &format!("tags/{}", commit.tag)];
        commit.repo == repo && names.contains(&&reference)
    };
    let missing = || Reply::message(422, &format!("No commit found for SHA: {reference}"));
    let found = world.commits.iter().find(named).ok_or_else(missing)?;
    let person = json!({ "name": "Ada", "date": found.at });
    let inner = json!({ "message": "A change", "author": person, "committer": person });
    Ok(Reply::json(200, &json!({ "sha": found.sha, "commit": inner })))
}

pub(super) fn route(
    world: &mut World,
    request: &Request,
    repo: &str,
    rest: &[&str],
    refused: bool,
) -> Result<Reply, Reply> {
    if refused {
        return Err(no_rights());
    }
    match (request.method.as_str(), rest) {
        ("GET", []) => Ok(list(world, request, repo)),
        ("POST", []) => create(world, request, repo),
        ("GET", [id, "statuses"]) => {
            let at = find(world, repo, id)?;
            let states = world.deployments[at].states.iter().rev();
            let newest_first = states.map(|state| json!({ "state": state })).collect();
            Ok(Reply::json(200, &Value::Array(page(request, newest_first))))
        }
        ("POST", [id, "statuses"]) => {
            let at = find(world, repo, id)?;
            let fields = request.fields();
            let state = fields.get("state").and_then(Value::as_str).unwrap_or_default();
            let known = [
                "error",
                "failure",
                "inactive",
                "in_progress",
                "queued",
                "pending",
                "success",
            ];
            if !known.contains(&state) {
                return Err(Reply::message(422, "Validation Failed"));
            }
            world.deployments[at].states.push(state.to_owned());
            Ok(Reply::json(201, &json!({ "state": state })))
        }
        _ => Err(not_found()),
    }
}

fn find(world: &World, repo: &str, id: &str) -> Result<usize, Reply> {
    let here = |deployment: &Deployment| deployment.repo == repo && deployment.id.to_string() == id;
    world.deployments.iter().position(here).ok_or_else(not_found)
}

/// Newest first.
fn list(world: &World, request: &Request, repo: &str) -> Reply {
    let found = world.deployments.iter().rev().filter(|deployment| {
        deployment.repo == repo
            && request.param("sha").is_none_or(|sha| sha == deployment.sha)
            && request
                .param("environment")
                .is_none_or(|name| name == deployment.environment)
    });
    let found = found.map(deployment_json).collect();
    Reply::json(200, &Value::Array(page(request, found)))
}

fn create(world: &mut World, request: &Request, repo: &str) -> Result<Reply, Reply> {
    let fields = request.fields();
    let text = |name: &str| {
        fields
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let wanted = text("ref");
    let named = world
        .commits
        .iter()
        .find(|commit| commit.repo == repo && (commit.sha == wanted || commit.tag == wanted));
    let missing = || Reply::message(422, &format!("No ref found for: {wanted}"));
    let sha = named.ok_or_else(missing)?.sha.clone();
    let merges = fields.get("auto_merge").and_then(Value::as_bool).unwrap_or(true);
    let checks = fields
        .get("required_contexts")
        .and_then(Value::as_array)
        .is_none_or(|all| !all.is_empty());
    if merges || checks {
        return Err(Reply::message(409, "Conflict: commit status checks are pending"));
    }
    let deployment = Deployment {
        id: world.number(),
        repo: repo.to_owned(),
        sha,
        environment: text("environment"),
        creator: OUR_USER,
        states: Vec::new(),
    };
    let answer = deployment_json(&deployment);
    world.deployments.push(deployment);
    Ok(Reply::json(201, &answer))
}

fn deployment_json(deployment: &Deployment) -> Value {
    json!({
        "id": deployment.id,
        "sha": deployment.sha,
        "ref": deployment.sha,
        "task": "deploy",
        "environment": deployment.environment,
        "creator": user_json(deployment.creator),
    })
}
