//! Pipelines that are started, branches, reverts and merge requests.

use domain::TicketKind;
use serde::Serialize;
use serde_json::{Value, json};

use super::builds::pipeline_json;
use super::issues::text;
use super::paging::page;
use super::site::Call;
use super::world::{Build, LogText, Pipeline, Role, World};
use crate::peer::Reply;

#[derive(Clone, Debug, Serialize)]
pub struct Branch {
    pub project: u64,
    pub name: String,
    /// Of its newest commit.
    pub message: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct MergeRequest {
    pub project: u64,
    pub iid: u64,
    pub source: String,
    pub target: String,
    pub description: String,
}

impl World {
    /// Later commits change what this one did: it can be reverted by hand alone.
    pub fn build_on(&mut self, sha: &str) {
        self.built_on.insert(sha.to_owned());
    }

    fn branch(&mut self, project: u64, name: &str) -> Option<&mut Branch> {
        self.branches
            .iter_mut()
            .find(|branch| branch.project == project && branch.name == name)
    }
}

/// `POST pipeline`
pub(super) fn start(world: &mut World, call: &Call) -> Result<Reply, Reply> {
    call.need(Role::Developer)?;
    let fields = call.request.fields();
    let git_ref = text(&fields, "ref").unwrap_or_default();
    let sha = world
        .find_commit(call.project, &git_ref)
        .map(|commit| commit.sha.clone());
    let sha =
        sha.ok_or_else(|| Reply::json(400, &json!({ "message": { "base": ["Reference not found"] } })))?;
    // As Rack reads a form: each further `[key]` begins another one.
    let mut variables: Vec<(String, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(&call.request.body).into_owned() {
        match (name.as_str(), variables.last_mut()) {
            ("variables[][key]", _) => variables.push((value, String::new())),
            ("variables[][value]", Some(last)) => last.1 = value,
            _ => {}
        }
    }
    let id = world.number();
    let pipeline = Pipeline {
        id,
        project: call.project,
        status: "created".to_owned(),
        git_ref,
        sha,
        children: Vec::new(),
        source: "api",
        variables,
    };
    let build = Build {
        id: world.number(),
        project: call.project,
        pipeline: id,
        name: "smoke".to_owned(),
        stage: "test".to_owned(),
        status: "created".to_owned(),
        allow_failure: false,
        failure_reason: None,
        retried: false,
        started_at: None,
        finished_at: None,
        log: LogText::Bytes(Vec::new()),
    };
    world.builds.insert(build.id, build);
    world.begun += 1;
    let answer = pipeline_json(world, &pipeline);
    world.pipelines.insert(id, pipeline);
    Ok(Reply::json(201, &answer))
}

/// `repository/branches`
pub(super) fn branches(world: &mut World, call: &Call, rest: &[&str]) -> Result<Reply, Reply> {
    let project = call.project;
    match (call.request.method.as_str(), rest) {
        ("GET", [name]) => {
            let branch = world.branch(project, name);
            let branch = branch.ok_or_else(|| Reply::message(404, "404 Branch Not Found"))?;
            Ok(Reply::json(200, &branch_json(branch)))
        }
        ("POST", []) => {
            call.need(Role::Developer)?;
            let fields = call.request.fields();
            let name = text(&fields, "branch").unwrap_or_default();
            if world.branch(project, &name).is_some() {
                return Err(Reply::message(400, "Branch already exists"));
            }
            let from = text(&fields, "ref").unwrap_or_default();
            if from != "main" {
                return Err(Reply::message(400, &format!("Invalid reference name: {from}")));
            }
            let message = "The newest change".to_owned();
            let branch = Branch {
                project,
                name,
                message,
            };
            let answer = branch_json(&branch);
            world.branches.push(branch);
            Ok(Reply::json(201, &answer))
        }
        ("DELETE", [name]) => {
            call.need(Role::Developer)?;
            world
                .branches
                .retain(|branch| branch.project != project || branch.name != *name);
            Ok(Reply::empty(204))
        }
        _ => Err(Reply::json(404, &json!({ "error": "404 Not Found" }))),
    }
}

fn branch_json(branch: &Branch) -> Value {
    json!({ "name": branch.name, "commit": { "id": "c0ffee", "message": branch.message } })
}

/// `repository/commits/:sha/revert`
pub(super) fn revert(world: &mut World, call: &Call, sha: &str) -> Result<Reply, Reply> {
    call.need(Role::Developer)?;
    let missing = || Reply::message(404, "404 Commit Not Found");
    let known = world
        .find_commit(call.project, sha)
        .map(|commit| commit.sha.clone());
    let sha = known.ok_or_else(missing)?;
    let onto = text(&call.request.fields(), "branch").unwrap_or_default();
    let is_built_on = world.built_on.contains(&sha);
    let branch = world.branch(call.project, &onto);
    let branch = branch.ok_or_else(|| Reply::message(404, "404 Branch Not Found"))?;
    if is_built_on || branch.message.contains(&sha) {
        let message = "Sorry, we cannot revert this commit automatically. This commit may already have been reverted, or \
                       a more recent commit may have updated some of its content.";
        return Err(Reply::json(
            400,
            &json!({ "message": message, "error_code": "conflict" }),
        ));
    }
    branch.message = format!("Revert \"A change\"\n\nThis reverts commit {sha}");
    let answer = json!({ "id": "c0ffee", "message": branch.message });
    Ok(Reply::json(201, &answer))
}

/// `GET` and `POST merge_requests`
pub(super) fn list(world: &World, call: &Call) -> Reply {
    let source = call.request.param("source_branch");
    let here =
        world.merge_requests.iter().rev().filter(|known| {
            known.project == call.project && source.is_none_or(|source| source == known.source)
        });
    page(
        call.request,
        here.map(|known| merge_request_json(world, known)).collect(),
    )
}

pub(super) fn open(world: &mut World, call: &Call) -> Result<Reply, Reply> {
    call.need(Role::Developer)?;
    let fields = call.request.fields();
    let field = |name: &str| text(&fields, name).unwrap_or_default();
    let (source, target) = (field("source_branch"), field("target_branch"));
    if world.branch(call.project, &source).is_none() {
        return Err(Reply::json(
            422,
            &json!({ "message": [format!("Source branch \"{source}\" does not exist")] }),
        ));
    }
    let same = |known: &&MergeRequest| known.project == call.project && known.source == source;
    if let Some(known) = world.merge_requests.iter().find(same) {
        let message = format!(
            "Another open merge request already exists for this source branch: !{}",
            known.iid
        );
        return Err(Reply::json(409, &json!({ "message": [message] })));
    }
    let path = world.projects[&call.project].path.clone();
    let iid = world.open_ticket(&path, TicketKind::MergeRequest, &field("title"), &[]);
    let made = MergeRequest {
        project: call.project,
        iid,
        source,
        target,
        description: field("description"),
    };
    let answer = merge_request_json(world, &made);
    world.merge_requests.push(made);
    Ok(Reply::json(201, &answer))
}

fn merge_request_json(world: &World, known: &MergeRequest) -> Value {
    json!({
        "iid": known.iid,
        "state": "opened",
        "source_branch": known.source,
        "target_branch": known.target,
        "description": known.description,
        "web_url": format!("{}/-/merge_requests/{}", world.web(known.project), known.iid),
    })
}
