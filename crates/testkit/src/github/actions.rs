use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::site::{no_rights, not_found, page, user_json};
use super::world::{Job, Run, World};
use super::{OUR_USER, changes};
use crate::peer::{Reply, Request};

/// Workflow runs, their jobs, logs and reruns.
pub(super) fn route(
    world: &mut World,
    request: &Request,
    repo: &str,
    rest: &[&str],
    refused: bool,
) -> Result<Reply, Reply> {
    match (request.method.as_str(), rest) {
        ("GET", ["runs"] | ["workflows", _, "runs"]) => Ok(runs(world, request, repo)),
        ("POST", ["workflows", name, "dispatches"]) => changes::dispatch(world, request, repo, name, refused),
        ("GET", ["runs", id]) => Ok(Reply::json(200, &run_json(world, find_run(world, repo, id)?))),
        ("GET", ["runs", id, "jobs"]) => jobs(world, request, repo, id),
        ("GET", ["jobs", id]) => Ok(Reply::json(200, &job_json(world, find_job(world, repo, id)?))),
        ("GET", ["jobs", id, "logs"]) => {
            let id = find_job(world, repo, id)?.id;
            let target = format!("{}/logs/{id}?sig=signed", world.storage);
            Ok(Reply::empty(302).header("location", target))
        }
        ("POST", ["jobs", id, "rerun"]) => {
            let job = find_job(world, repo, id)?.clone();
            if refused {
                return Err(no_rights());
            }
            rerun(world, job.run, &[job])
        }
        ("POST", ["runs", id, "rerun-failed-jobs"]) => {
            let run = find_run(world, repo, id)?;
            let (run, failed) = (run.id, failed_at_last(world, run.id));
            if refused {
                return Err(no_rights());
            }
            rerun(world, run, &failed)
        }
        _ => Err(not_found()),
    }
}

fn find_run<'a>(world: &'a World, repo: &str, id: &str) -> Result<&'a Run, Reply> {
    let id: u64 = id.parse().map_err(|_| not_found())?;
    world
        .runs
        .get(&id)
        .filter(|run| run.repo == repo)
        .ok_or_else(not_found)
}

fn find_job<'a>(world: &'a World, repo: &str, id: &str) -> Result<&'a Job, Reply> {
    let id: u64 = id.parse().map_err(|_| not_found())?;
    let job = world.jobs.get(&id).ok_or_else(not_found)?;
    find_run(world, repo, &job.run.to_string())?;
    Ok(job)
}

fn runs(world: &mut World, request: &Request, repo: &str) -> Reply {
    // One that was started takes a moment to show.
    let newest_hidden = world.start_hidden_for > 0 && world.begun > 0;
    if newest_hidden {
        world.start_hidden_for -= 1;
    }
    let newest = world.runs.keys().next_back().copied();
    let asks = |name: &str, is: &str| request.param(name).is_none_or(|wanted| wanted == is);
    let fits = |run: &&Run| {
        run.repo == repo
            && asks("branch", &run.branch)
            && asks("head_sha", &run.sha)
            && asks("event", run.event)
            && !(newest_hidden && newest == Some(run.id))
    };
    let all: Vec<Value> = world
        .runs
        .values()
        .rev()
        .filter(fits)
        .map(|run| run_json(world, run))
        .collect();
    Reply::json(
        200,
        &json!({ "total_count": all.len(), "workflow_runs": page(request, all) }),
    )
}

/// `latest`: of each job the newest attempt. `all`: every attempt.
fn jobs(world: &mut World, request: &Request, repo: &str, run: &str) -> Result<Reply, Reply> {
    let run = find_run(world, repo, run)?.id;
    // A rerun takes a moment to show.
    let newest_hidden = world.rerun_hidden_for > 0 && world.retries > 0;
    if newest_hidden {
        world.rerun_hidden_for -= 1;
    }
    let attempt = world.runs[&run].attempt;
    let of_run = |job: &&Job| job.run == run && !(newest_hidden && job.attempt == attempt);
    let newest = |job: &&Job| {
        let others = world.jobs.values().filter(of_run);
        !others
            .into_iter()
            .any(|other| other.name == job.name && other.attempt > job.attempt)
    };
    let all = request.param("filter") == Some("all");
    let found = world
        .jobs
        .values()
        .filter(of_run)
        .filter(|job| all || newest(job));
    let found: Vec<Value> = found.map(|job| job_json(world, job)).collect();
    Ok(Reply::json(
        200,
        &json!({ "total_count": found.len(), "jobs": page(request, found) }),
    ))
}

/// The run's jobs whose newest attempt failed.
fn failed_at_last(world: &World, run: u64) -> Vec<Job> {
    let mut newest: BTreeMap<&str, &Job> = BTreeMap::new();
    for job in world.jobs.values().filter(|job| job.run == run) {
        let known = newest.entry(&job.name).or_insert(job);
        if job.attempt > known.attempt {
            *known = job;
        }
    }
    let failed = newest.into_values();
    failed
        .filter(|job| job.conclusion.as_deref() == Some("failure"))
        .cloned()
        .collect()
}

fn rerun(world: &mut World, of: u64, jobs: &[Job]) -> Result<Reply, Reply> {
    let run = world.runs.get_mut(&of).ok_or_else(not_found)?;
    if run.status != "completed" {
        return Err(Reply::message(
            403,
            "The workflow run containing this job is already running",
        ));
    }
    run.status = "queued".to_owned();
    run.conclusion = None;
    run.attempt += 1;
    let attempt = run.attempt;
    // Those that are not run again are carried over, with their results and times.
    let mut carried: BTreeMap<String, Job> = BTreeMap::new();
    for job in world.jobs.values().filter(|job| job.run == of) {
        let newer = carried
            .get(&job.name)
            .is_none_or(|known| job.attempt > known.attempt);
        if newer && jobs.iter().all(|again| again.name != job.name) {
            carried.insert(job.name.clone(), job.clone());
        }
    }
    for job in carried.into_values() {
        let id = world.number();
        world.jobs.insert(id, Job { id, attempt, ..job });
    }
    for job in jobs {
        let again = Job {
            id: world.number(),
            attempt,
            status: "queued".to_owned(),
            conclusion: None,
            started_at: world.moment(),
            completed_at: None,
            log: Vec::new(),
            ..job.clone()
        };
        world.jobs.insert(again.id, again);
        world.retries += 1;
    }
    Ok(Reply::json(201, &json!({})))
}

fn run_json(world: &World, run: &Run) -> Value {
    json!({
        "id": run.id,
        "run_number": run.id,
        "run_attempt": run.attempt,
        "status": run.status,
        "conclusion": run.conclusion,
        "event": run.event,
        "display_title": run.title,
        "actor": user_json(OUR_USER),
        "head_branch": run.branch,
        "head_sha": run.sha,
        "html_url": format!("{}/{}/actions/runs/{}", world.base, run.repo, run.id),
    })
}

fn job_json(world: &World, job: &Job) -> Value {
    let run = &world.runs[&job.run];
    json!({
        "id": job.id,
        "run_id": job.run,
        "run_attempt": job.attempt,
        "name": job.name,
        "status": job.status,
        "conclusion": job.conclusion,
        "head_branch": run.branch,
        "head_sha": run.sha,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "html_url": format!("{}/{}/actions/runs/{}/job/{}", world.base, run.repo, run.id, job.id),
        "steps": [],
    })
}
