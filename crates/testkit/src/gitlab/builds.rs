use serde_json::{Value, json};

use super::paging::page;
use super::site::{Call, number};
use super::world::{Build, ChildLink, LogText, Pipeline, Role, World};
use crate::peer::{Reply, Request};

/// Pipelines, their jobs and trigger jobs, traces and retries.
pub(super) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Result<Reply, Reply> {
    match (call.request.method.as_str(), rest) {
        ("GET", ["pipelines"]) => Ok(list(world, call)),
        ("GET", ["pipelines", id]) => {
            let pipeline = find_pipeline(world, call, number(id)?)?;
            Ok(Reply::json(200, &pipeline_json(world, pipeline)))
        }
        ("GET", ["pipelines", id, "jobs"]) => {
            let pipeline = find_pipeline(world, call, number(id)?)?;
            Ok(jobs(world, call.request, pipeline))
        }
        ("GET", ["pipelines", id, "bridges"]) => {
            let pipeline = find_pipeline(world, call, number(id)?)?;
            let links = pipeline
                .children
                .iter()
                .map(|link| bridge_json(world, pipeline, link));
            Ok(page(call.request, links.collect()))
        }
        ("GET", ["pipelines", id, "variables"]) => {
            call.need(Role::Developer)?;
            let pipeline = find_pipeline(world, call, number(id)?)?;
            let variables = pipeline.variables.iter();
            let variables = variables
                .map(|(key, value)| json!({ "key": key, "variable_type": "env_var", "value": value }));
            Ok(Reply::json(200, &Value::from_iter(variables)))
        }
        ("GET", ["jobs", id]) => {
            let build = find_build(world, call, number(id)?)?;
            Ok(Reply::json(200, &build_json(world, build)))
        }
        ("GET", ["jobs", id, "trace"]) => Ok(trace(call.request, &find_build(world, call, number(id)?)?.log)),
        ("POST", ["jobs", id, "retry"]) => retry(world, call, number(id)?),
        _ => Err(Reply::json(404, &json!({ "error": "404 Not Found" }))),
    }
}

fn find_pipeline<'a>(world: &'a World, call: &Call, id: u64) -> Result<&'a Pipeline, Reply> {
    let found = world
        .pipelines
        .get(&id)
        .filter(|pipeline| pipeline.project == call.project);
    found.ok_or_else(|| Reply::message(404, "404 Not found"))
}

fn find_build<'a>(world: &'a World, call: &Call, id: u64) -> Result<&'a Build, Reply> {
    let found = world
        .builds
        .get(&id)
        .filter(|build| build.project == call.project);
    found.ok_or_else(|| Reply::message(404, "404 Not found"))
}

fn list(world: &World, call: &Call) -> Reply {
    let asks = |name: &str, is: &str| call.request.param(name).is_none_or(|wanted| wanted == is);
    let found = world.pipelines.values().rev().filter(|pipeline| {
        pipeline.project == call.project
            && asks("ref", &pipeline.git_ref)
            && asks("sha", &pipeline.sha)
            && asks("source", pipeline.source)
    });
    page(
        call.request,
        found.map(|pipeline| pipeline_json(world, pipeline)).collect(),
    )
}

/// Newest first, without the runs that were retried unless these are asked for.
fn jobs(world: &World, request: &Request, pipeline: &Pipeline) -> Reply {
    let asked = request
        .query
        .iter()
        .filter(|(name, _)| name == "scope[]" || name == "scope");
    let scopes: Vec<&str> = asked.map(|(_, scope)| scope.as_str()).collect();
    let retried_too = request.param("include_retried") == Some("true");
    let found = world.builds.values().rev().filter(|build| {
        build.pipeline == pipeline.id
            && (retried_too || !build.retried)
            && (scopes.is_empty() || scopes.contains(&build.status.as_str()))
    });
    page(request, found.map(|build| build_json(world, build)).collect())
}

fn retry(world: &mut World, call: &Call, id: u64) -> Result<Reply, Reply> {
    let old = find_build(world, call, id)?.clone();
    call.need(Role::Developer)?;
    if old.retried || !matches!(old.status.as_str(), "failed" | "success" | "canceled") {
        return Err(Reply::message(403, "403 Forbidden - Job is not retryable"));
    }
    let new = Build {
        id: world.number(),
        status: "pending".to_owned(),
        failure_reason: None,
        started_at: None,
        finished_at: None,
        log: LogText::Bytes(Vec::new()),
        ..old
    };
    world.builds.entry(id).and_modify(|old| old.retried = true);
    world.builds.insert(new.id, new.clone());
    world.retries += 1;
    Ok(Reply::json(201, &build_json(world, &new)))
}

/// The trace, whole or the part that a `Range: bytes=FROM-[TO]` asks for.
fn trace(request: &Request, log: &LogText) -> Reply {
    let text = match log {
        LogText::Bytes(text) => text,
        LogText::Repeated { piece, times } => {
            return Reply::repeated(piece, *times).header("content-type", "text/plain");
        }
    };
    let reply = match request.header("range").and_then(|range| asked(range, text.len())) {
        None => Reply::text(200, text.clone()),
        Some((from, to)) if from < to => Reply::text(206, text[from..to].to_vec())
            .header("content-range", format!("bytes {from}-{}/{}", to - 1, text.len())),
        Some(_) => Reply::empty(416).header("content-range", format!("bytes */{}", text.len())),
    };
    reply.header("content-type", "text/plain")
}

/// From and up to, not including.
fn asked(range: &str, length: usize) -> Option<(usize, usize)> {
    let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
    let to = to.parse::<usize>().map_or(length, |to| (to + 1).min(length));
    Some((from.parse().ok()?, to))
}

pub(super) fn pipeline_json(world: &World, pipeline: &Pipeline) -> Value {
    json!({
        "id": pipeline.id,
        "iid": pipeline.id,
        "project_id": pipeline.project,
        "sha": pipeline.sha,
        "ref": pipeline.git_ref,
        "status": pipeline.status,
        "source": pipeline.source,
        "tag": false,
        "web_url": format!("{}/-/pipelines/{}", world.web(pipeline.project), pipeline.id),
    })
}

fn build_json(world: &World, build: &Build) -> Value {
    let pipeline = &world.pipelines[&build.pipeline];
    let span = build.started_at.zip(build.finished_at);
    json!({
        "id": build.id,
        "status": build.status,
        "stage": build.stage,
        "name": build.name,
        "ref": pipeline.git_ref,
        "tag": false,
        "allow_failure": build.allow_failure,
        "failure_reason": build.failure_reason,
        "created_at": build.started_at,
        "started_at": build.started_at,
        "finished_at": build.finished_at,
        "duration": span.map(|(from, to)| (to - from).as_seconds_f64()),
        "web_url": format!("{}/-/jobs/{}", world.web(build.project), build.id),
        "commit": { "id": pipeline.sha },
        "pipeline": pipeline_json(world, pipeline),
        "project": { "ci_job_token_scope_enabled": false },
    })
}

fn bridge_json(world: &World, parent: &Pipeline, link: &ChildLink) -> Value {
    let child = link.pipeline.and_then(|id| world.pipelines.get(&id));
    json!({
        "id": link.id,
        "name": link.name,
        "stage": "trigger",
        "status": link.status,
        "allow_failure": false,
        "failure_reason": child.is_none().then_some("downstream_pipeline_creation_failed"),
        "ref": parent.git_ref,
        "commit": { "id": parent.sha },
        "web_url": format!("{}/-/jobs/{}", world.web(parent.project), link.id),
        "pipeline": pipeline_json(world, parent),
        "downstream_pipeline": child.map(|child| pipeline_json(world, child)),
    })
}
