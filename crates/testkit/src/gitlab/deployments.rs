//! Commits by name, and the records of deployments.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::paging::page;
use super::site::{Call, number};
use super::world::{Role, World, user_json};
use crate::peer::{Reply, Request};

#[derive(Clone, Debug, Serialize)]
pub struct Commit {
    pub project: u64,
    pub sha: String,
    pub at: DateTime<Utc>,
    pub tags: Vec<String>,
    pub branches: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Environment {
    pub id: u64,
    pub project: u64,
    pub name: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Deployment {
    pub id: u64,
    pub project: u64,
    /// The environment's number.
    pub environment: u64,
    pub sha: String,
    pub git_ref: String,
    pub tag: bool,
    pub user: u64,
    /// Every status that it had, in order.
    pub statuses: Vec<String>,
}

impl World {
    /// A new commit with a tag of its own.
    pub fn tag(&mut self, path: &str, tag: &str) -> Commit {
        let (project, at) = (self.project(path), self.moment());
        let commit = Commit {
            project,
            sha: format!("{:040x}", self.number()),
            at,
            tags: vec![tag.to_owned()],
            branches: vec![format!("branch-of-{tag}")],
        };
        self.commits.push(commit.clone());
        commit
    }

    pub(super) fn find_commit(&self, project: u64, name: &str) -> Option<&Commit> {
        self.commits.iter().find(|commit| {
            let is = |names: &[String]| names.iter().any(|known| known == name);
            commit.project == project && (commit.sha == name || is(&commit.tags) || is(&commit.branches))
        })
    }

    /// The number of the environment, made if need be.
    fn environment(&mut self, project: u64, name: &str) -> u64 {
        let known = self
            .environments
            .iter()
            .find(|known| known.project == project && known.name == name);
        if let Some(known) = known {
            return known.id;
        }
        let id = self.number();
        let name = name.to_owned();
        self.environments.push(Environment { id, project, name });
        id
    }
}

/// `repository/tags/:name` and `repository/commits/:name`
pub(super) fn repository(world: &World, call: &Call, rest: &[&str]) -> Result<Reply, Reply> {
    match (call.request.method.as_str(), rest) {
        ("GET", ["tags", name]) => {
            let here = |commit: &&Commit| {
                commit.project == call.project && commit.tags.iter().any(|tag| tag == name)
            };
            let commit = world.commits.iter().find(here);
            let commit = commit.ok_or_else(|| Reply::message(404, "404 Tag Not Found"))?;
            let answer =
                json!({ "name": name, "message": "", "target": commit.sha, "commit": commit_json(commit) });
            Ok(Reply::json(200, &answer))
        }
        ("GET", ["commits", name]) => {
            let commit = world.find_commit(call.project, name);
            let commit = commit.ok_or_else(|| Reply::message(404, "404 Commit Not Found"))?;
            Ok(Reply::json(200, &commit_json(commit)))
        }
        _ => Err(Reply::json(404, &json!({ "error": "404 Not Found" }))),
    }
}

pub(super) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Result<Reply, Reply> {
    match (call.request.method.as_str(), rest) {
        ("GET", []) => Ok(list(world, call.request, call.project)),
        ("POST", []) => create(world, call),
        ("GET", [id]) => {
            let at = find(world, call, number(id)?)?;
            Ok(Reply::json(200, &deployment_json(world, &world.deployments[at])))
        }
        ("PUT", [id]) => {
            let at = find(world, call, number(id)?)?;
            call.need(Role::Developer)?;
            let status = status(&call.request.fields())?;
            world.deployments[at].statuses.push(status);
            Ok(Reply::json(200, &deployment_json(world, &world.deployments[at])))
        }
        _ => Err(Reply::json(405, &json!({ "error": "405 Not Allowed" }))),
    }
}

fn find(world: &World, call: &Call, id: u64) -> Result<usize, Reply> {
    let here = |deployment: &Deployment| (deployment.project, deployment.id) == (call.project, id);
    let at = world.deployments.iter().position(here);
    at.ok_or_else(|| Reply::message(404, "404 Not found"))
}

fn list(world: &World, request: &Request, project: u64) -> Reply {
    let found = world.deployments.iter().filter(|deployment| {
        let environment = environment(world, deployment);
        deployment.project == project
            && request
                .param("environment")
                .is_none_or(|name| environment.is_some_and(|e| e.name == name))
            && request
                .param("status")
                .is_none_or(|status| deployment.statuses.last().is_some_and(|now| now == status))
    });
    page(
        request,
        found
            .map(|deployment| deployment_json(world, deployment))
            .collect(),
    )
}

fn create(world: &mut World, call: &Call) -> Result<Reply, Reply> {
    call.need(Role::Developer)?;
    let fields = call.request.fields();
    let need = |name: &str| {
        let missing = || Reply::json(400, &json!({ "error": format!("{name} is missing") }));
        text(&fields, name).ok_or_else(missing)
    };
    let (name, sha, git_ref, tag) = (need("environment")?, need("sha")?, need("ref")?, need("tag")?);
    let status = status(&fields)?;
    if world.find_commit(call.project, &sha).is_none() {
        return Err(Reply::json(
            400,
            &json!({ "message": { "sha": ["The commit does not exist"] } }),
        ));
    }
    if world.find_commit(call.project, &git_ref).is_none() {
        return Err(Reply::json(
            400,
            &json!({ "message": { "ref": ["The branch or tag does not exist"] } }),
        ));
    }
    let environment = world.environment(call.project, &name);
    let deployment = Deployment {
        id: world.number(),
        project: call.project,
        environment,
        sha,
        git_ref,
        tag: tag == "true",
        user: call.token.user,
        statuses: vec![status],
    };
    let answer = deployment_json(world, &deployment);
    world.deployments.push(deployment);
    Ok(Reply::json(201, &answer))
}

/// The four that may be set; GitLab sets others itself.
fn status(fields: &Map<String, Value>) -> Result<String, Reply> {
    let status = text(fields, "status").unwrap_or_default();
    match status.as_str() {
        "running" | "success" | "failed" | "canceled" => Ok(status),
        _ => Err(Reply::json(
            400,
            &json!({ "error": "status does not have a valid value" }),
        )),
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    match fields.get(name)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn environment<'a>(world: &'a World, deployment: &Deployment) -> Option<&'a Environment> {
    world
        .environments
        .iter()
        .find(|known| known.id == deployment.environment)
}

fn commit_json(commit: &Commit) -> Value {
    json!({
        "id": commit.sha,
        "short_id": commit.sha[..8],
        "title": "A change",
        "created_at": commit.at,
        "committed_date": commit.at,
        "authored_date": commit.at,
    })
}

fn deployment_json(world: &World, deployment: &Deployment) -> Value {
    let environment = environment(world, deployment);
    json!({
        "id": deployment.id,
        "iid": deployment.id,
        "ref": deployment.git_ref,
        "sha": deployment.sha,
        "status": deployment.statuses.last(),
        "user": user_json(deployment.user),
        "deployable": null,
        "environment": {
            "id": deployment.environment,
            "name": environment.map(|known| known.name.as_str()),
            "external_url": null,
        },
    })
}
