//! The model as a workflow.

use super::expressions::Github;
use super::steps;
use crate::condition::Expressions;
use crate::facts::{self, Fact};
use crate::model::{Access, Branches, File, Job, Note, Pipeline, ToolKind, When, Written};
use crate::shell;
use crate::yaml::{Yaml, block, list, map};

pub fn write(pipeline: &Pipeline) -> Written {
    let mut notes = Vec::new();
    let mut root = map();
    root.put(
        "name",
        if pipeline.name.is_empty() {
            "ci"
        } else {
            pipeline.name.as_str()
        },
    );
    root.blank();
    root.put("on", triggers(pipeline, &mut notes));
    root.blank();
    // Each job asks for what it needs.
    root.put("permissions", map().with("contents", "read"));
    if pipeline.cancel_superseded {
        root.blank();
        // What was merged is tested and deployed to its end.
        root.put(
            "concurrency",
            map()
                .with("group", "${{ github.workflow }}-${{ github.ref }}")
                .with("cancel-in-progress", "${{ github.event_name == 'pull_request' }}"),
        );
    }
    root.blank();
    root.put("defaults", map().with("run", map().with("shell", "bash")));
    let plain = pairs(shell::plain(&pipeline.variables));
    if !plain.is_empty() {
        root.blank();
        root.put("env", plain);
    }
    let mut jobs = map();
    for (at, job) in pipeline.jobs.iter().enumerate() {
        if at > 0 {
            jobs.blank();
        }
        jobs.put(job.id.as_str(), write_job(job, pipeline, &mut notes));
    }
    root.blank();
    root.put("jobs", jobs);
    whole(pipeline, &mut notes);
    let file = super::identifier(&pipeline.name);
    Written {
        files: vec![File {
            path: format!(".github/workflows/{file}.yml"),
            text: block(&root, 0),
        }],
        notes,
    }
}

/// What is said once, however many jobs it is about.
fn whole(pipeline: &Pipeline, notes: &mut Vec<Note>) {
    let named = |wanted: &dyn Fn(&Job) -> bool| {
        let ids: Vec<_> = pipeline
            .jobs
            .iter()
            .filter(|job| wanted(job))
            .map(|job| job.id.as_str())
            .collect();
        ids.join(", ")
    };
    let retried = named(&|job| job.retries > 0);
    if !retried.is_empty() {
        notes.push(Note::general(
            format!("there is no retry of a job: {retried} had one"),
            "A runner's failure is run again by hand, or by longshore's `fix_build`",
        ));
    }
    let manual: Vec<_> = pipeline
        .jobs
        .iter()
        .filter(|job| job.when == When::Manual)
        .map(|job| environment(job).0)
        .collect();
    if !manual.is_empty() {
        notes.push(Note::general(
            format!(
                "who may let a job through stands in no file: {}",
                manual.join(", ")
            ),
            "Under Settings > Environments give it required reviewers; until then its job starts by itself",
        ));
    }
    let mut secrets: Vec<&str> = pipeline
        .jobs
        .iter()
        .flat_map(|job| &job.secrets)
        .map(String::as_str)
        .collect();
    secrets.sort_unstable();
    secrets.dedup();
    if !secrets.is_empty() {
        notes.push(Note::general(
            format!("its jobs need the secrets {}", secrets.join(", ")),
            "Set them under Settings > Secrets and variables > Actions, or in their environment",
        ));
    }
    let changes = named(&|job| !job.changes.is_empty());
    if !changes.is_empty() {
        notes.push(Note::general(
            format!("a job cannot depend on changed paths there: {changes} runs always"),
            "Use `paths` of a workflow of its own where that matters",
        ));
    }
}

fn triggers(pipeline: &Pipeline, notes: &mut Vec<Note>) -> Yaml {
    let on = &pipeline.on;
    let mut out = map();
    let mut push = map();
    match &on.push {
        Some(Branches::All) => push.put("branches", Yaml::Inline(vec!["**".into()])),
        Some(Branches::Named(names)) => push.put("branches", list(names)),
        // Which one that is, is not known when the file is read: its name is asked for in `if`.
        Some(Branches::Default) => push.put("branches", Yaml::Inline(vec!["main".into(), "master".into()])),
        None => {}
    }
    if on.push == Some(Branches::Default) {
        notes.push(Note::general(
            "the default branch has to be named: runs start on main and master",
            "Name it under `on.push.branches` if it is called otherwise",
        ));
    }
    if on.tags {
        push.put("tags", Yaml::Inline(vec!["**".into()]));
    }
    if !push.is_empty() {
        out.put("push", push);
    }
    if on.merge_requests {
        out.put("pull_request", map());
    }
    if on.manual || out.is_empty() && on.schedules.is_empty() {
        out.put("workflow_dispatch", map());
    }
    if !on.schedules.is_empty() {
        let crons = on.schedules.iter().map(|cron| map().with("cron", cron.as_str()));
        out.put("schedule", Yaml::List(crons.collect()));
    }
    out
}

fn pairs<'v>(variables: impl IntoIterator<Item = &'v (String, String)>) -> Yaml {
    let mut out = map();
    for (name, value) in variables {
        out.put(name.as_str(), value.as_str());
    }
    out
}

/// A job's environment; one that waits for a person needs one of its own, as approvals belong to those.
fn environment(job: &Job) -> (String, Option<&str>) {
    match &job.environment {
        Some(environment) => (environment.name.clone(), environment.url.as_deref()),
        None => (job.id.clone(), None),
    }
}

fn write_job(job: &Job, pipeline: &Pipeline, notes: &mut Vec<Note>) -> Yaml {
    let mut out = map();
    let needs = pipeline.waits_for(job);
    match needs.as_slice() {
        [] => {}
        [one] => out.put("needs", *one),
        several => out.put("needs", list(several.iter().copied())),
    }
    if let Some(condition) = condition(job, &needs, notes) {
        out.put("if", condition);
    }
    match job.runner.as_slice() {
        [] => out.put("runs-on", "ubuntu-latest"),
        [one] => out.put("runs-on", one.as_str()),
        several => out.put("runs-on", Yaml::Inline(several.iter().map(Into::into).collect())),
    }
    if let Some(minutes) = job.timeout_minutes {
        out.put("timeout-minutes", minutes);
    }
    if job.allow_failure {
        out.put("continue-on-error", true);
    }
    let reads_alone = job
        .permissions
        .iter()
        .all(|(what, access)| what == "contents" && *access == Access::Read);
    if !reads_alone {
        let mut permissions = map();
        for (what, access) in &job.permissions {
            let access = match access {
                Access::None => "none",
                Access::Read => "read",
                Access::Write => "write",
            };
            permissions.put(what.as_str(), access);
        }
        out.put("permissions", permissions);
    }
    if job.environment.is_some() || job.when == When::Manual {
        let (name, url) = environment(job);
        let mut place = map().with("name", name);
        if let Some(url) = url {
            place.put("url", url);
        }
        out.put("environment", place);
    }
    if job.exclusive {
        let group = job
            .environment
            .as_ref()
            .map_or(job.id.as_str(), |at| at.name.as_str());
        let group = format!("{}-{group}", super::identifier(&pipeline.name));
        out.put(
            "concurrency",
            map().with("group", group).with("cancel-in-progress", false),
        );
    }
    if !job.matrix.is_empty() {
        let mut axes = map();
        for (name, values) in &job.matrix {
            axes.put(
                name.as_str(),
                Yaml::Inline(values.iter().map(Into::into).collect()),
            );
        }
        out.put("strategy", map().with("fail-fast", false).with("matrix", axes));
    }
    if job.tools.is_empty()
        && let Some(image) = &job.image
    {
        out.put("container", steps::with_matrix(image, job));
    }
    services(job, &mut out);
    let variables = env(job);
    if !variables.is_empty() {
        out.put("env", variables);
    }
    out.put("steps", Yaml::List(steps::of(job, pipeline, &needs)));
    out
}

fn services(job: &Job, out: &mut Yaml) {
    // A bare machine has a container engine of its own.
    let services: Vec<_> = job
        .services
        .iter()
        .filter(|service| !(job.has_tool(ToolKind::Docker) && service.alias == "docker"))
        .collect();
    if services.is_empty() {
        return;
    }
    let mut all = map();
    for service in services {
        let mut one = map().with("image", service.image.as_str());
        if !service.variables.is_empty() {
            one.put("env", pairs(&service.variables));
        }
        let name = if service.alias.is_empty() {
            super::identifier(&service.image)
        } else {
            service.alias.clone()
        };
        all.put(name, one);
    }
    out.put("services", all);
}

/// What the job's scripts read of the system, its variables and secrets.
fn env(job: &Job) -> Yaml {
    // The rest a shell has to put together first.
    let mut out = pairs(shell::plain(&job.variables));
    for (name, _) in &job.matrix {
        out.put(name.as_str(), format!("${{{{ matrix.{name} }}}}"));
    }
    let texts = job
        .shell()
        .chain(job.variables.iter().map(|(_, value)| value.as_str()));
    for Fact { name, github, .. } in facts::used(texts) {
        // Where the files stand is another place inside of a container: the shell asks its own variable.
        let set_already =
            job.variables.iter().any(|(own, _)| own == name) || job.secrets.iter().any(|own| own == name);
        if *name == "CI_PROJECT_DIR" || set_already {
            continue;
        }
        match super::literal(github) {
            Some(text) => out.put(*name, text),
            None => out.put(*name, format!("${{{{ {github} }}}}")),
        }
    }
    for secret in &job.secrets {
        out.put(secret.as_str(), format!("${{{{ secrets.{secret} }}}}"));
    }
    out
}

fn condition(job: &Job, needs: &[&str], notes: &mut Vec<Note>) -> Option<String> {
    let own = match &job.run_if {
        Some(condition) => match Github.write(condition) {
            Some(text) => Some(text),
            None => {
                notes.push(Note::of(
                    job,
                    "its condition cannot be said in `if`: variables of jobs are not known there",
                    "It never runs until you write the condition",
                ));
                return Some("false".to_owned());
            }
        },
        None => None,
    };
    let state = match job.when {
        When::Success | When::Manual => None,
        When::Always => Some("always()".to_owned()),
        // `failure()` alone is true of any job that came before those.
        When::Failure => {
            let failed: Vec<_> = needs
                .iter()
                .map(|id| format!("{} == 'failure'", super::result_of(id)))
                .collect();
            Some(match failed.as_slice() {
                [] => "failure()".to_owned(),
                [one] => format!("failure() && {one}"),
                several => format!("failure() && ({})", several.join(" || ")),
            })
        }
    };
    match (state, own) {
        (None, own) => own,
        (Some(state), None) => Some(state),
        (Some(state), Some(own)) if own.contains(" || ") => Some(format!("{state} && ({own})")),
        (Some(state), Some(own)) => Some(format!("{state} && {own}")),
    }
}
