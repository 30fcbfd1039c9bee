//! The model as stages of jobs.

use super::expressions::Azure;
use crate::condition::Expressions;
use crate::facts;
use crate::model::{Branches, File, Job, Note, Pipeline, Tool, ToolKind, When, Written};
use crate::pins;
use crate::shell;
use crate::yaml::{Yaml, block, list, map};

pub fn write(pipeline: &Pipeline) -> Written {
    let mut notes = Vec::new();
    let mut root = map();
    if !pipeline.name.is_empty() {
        root.put("name", format!("{}-$(Build.BuildId)", pipeline.name));
        root.blank();
    }
    triggers(pipeline, &mut root, &mut notes);
    root.blank();
    root.put("pool", map().with("vmImage", "ubuntu-24.04"));
    let plain: Vec<_> = shell::plain(&pipeline.variables).collect();
    if !plain.is_empty() {
        let mut variables = map();
        for (name, value) in plain {
            variables.put(name.as_str(), value.as_str());
        }
        root.blank();
        root.put("variables", variables);
    }
    let mut stages = Vec::new();
    let mut before: Option<&str> = None;
    for stage in &pipeline.stages {
        let jobs: Vec<&Job> = pipeline.jobs.iter().filter(|job| job.stage == *stage).collect();
        if jobs.is_empty() {
            continue;
        }
        let mut out = map();
        out.put("stage", stage.as_str());
        if let Some(before) = before {
            out.put("dependsOn", before);
        }
        let written: Vec<Yaml> = jobs
            .iter()
            .map(|job| write_job(job, &jobs, pipeline, &mut notes))
            .collect();
        out.put("jobs", Yaml::List(written));
        stages.push(out);
        before = Some(stage);
    }
    root.blank();
    root.put("stages", Yaml::List(stages));
    whole(pipeline, &mut notes);
    Written {
        files: vec![File {
            path: super::PATH.to_owned(),
            text: block(&root, 0),
        }],
        notes,
    }
}

/// The schema of Azure Pipelines takes every number and truth for a text.
fn word(value: impl ToString) -> String {
    value.to_string()
}

fn whole(pipeline: &Pipeline, notes: &mut Vec<Note>) {
    let stage_of = |id: &str| pipeline.job(id).map(|job| job.stage.as_str());
    let skips = |job: &&Job| {
        let place = |stage: &str| pipeline.stages.iter().position(|known| known == stage);
        let nearest = job
            .needs
            .iter()
            .flatten()
            .filter_map(|id| place(stage_of(id)?))
            .max();
        let own = place(&job.stage);
        job.needs.is_some()
            && own.is_some_and(|own| own > 0 && nearest.is_none_or(|nearest| nearest + 1 < own))
    };
    let early: Vec<_> = pipeline
        .jobs
        .iter()
        .filter(skips)
        .map(|job| job.id.as_str())
        .collect();
    if !early.is_empty() {
        notes.push(Note::general(
            format!(
                "jobs wait for the whole stage before theirs: {} could start sooner",
                early.join(", ")
            ),
            "Nothing, or make them stages of their own",
        ));
    }
    let retried: Vec<_> = (pipeline.jobs.iter())
        .filter(|job| job.retries > 0)
        .map(|job| job.id.as_str())
        .collect();
    if !retried.is_empty() {
        notes.push(Note::general(
            format!(
                "there is no retry of a job after a machine's failure: {} had one",
                retried.join(", ")
            ),
            "Run it again by hand; `retryCountOnTaskFailure` would retry tests that fail too",
        ));
    }
    if pipeline.on.merge_requests {
        notes.push(Note::general(
            "in a repository of Azure Repos `pr` starts nothing",
            "Add the pipeline as a build validation to the branch's policies there",
        ));
    }
    let manual: Vec<_> = pipeline
        .jobs
        .iter()
        .filter(|job| job.when == When::Manual)
        .map(|job| job.id.as_str())
        .collect();
    if !manual.is_empty() {
        notes.push(Note::general(
            format!("who may let a job through stands in no file: {}", manual.join(", ")),
            "Give its environment the check Approvals under Pipelines > Environments; until then it starts by itself",
        ));
    }
}

fn triggers(pipeline: &Pipeline, root: &mut Yaml, notes: &mut Vec<Note>) {
    let on = &pipeline.on;
    let mut trigger = map();
    match &on.push {
        Some(Branches::All) => trigger.put("branches", map().with("include", list(["*"]))),
        Some(Branches::Named(names)) => trigger.put("branches", map().with("include", list(names))),
        Some(Branches::Default) => {
            trigger.put("branches", map().with("include", list(["main", "master"])));
            notes.push(Note::general(
                "the default branch has to be named: runs start on main and master",
                "Name it under `trigger.branches` if it is called otherwise",
            ));
        }
        None => {}
    }
    if on.tags {
        trigger.put("tags", map().with("include", list(["*"])));
    }
    if trigger.is_empty() {
        root.put("trigger", "none");
    } else {
        if pipeline.cancel_superseded {
            trigger.put("batch", word(true));
        }
        root.put("trigger", trigger);
    }
    if on.merge_requests {
        root.put("pr", map().with("branches", map().with("include", list(["*"]))));
    } else {
        root.put("pr", "none");
    }
    if !on.schedules.is_empty() {
        let schedules = on.schedules.iter().map(|cron| {
            let branches = map().with("include", list(["main", "master"]));
            map()
                .with("cron", cron.as_str())
                .with("branches", branches)
                .with("always", word(true))
        });
        root.put("schedules", Yaml::List(schedules.collect()));
    }
}

fn write_job(job: &Job, siblings: &[&Job], pipeline: &Pipeline, notes: &mut Vec<Note>) -> Yaml {
    let deploys = job.environment.is_some() || job.when == When::Manual;
    let mut out = map();
    out.put(
        if deploys { "deployment" } else { "job" },
        crate::generate::identifier(&job.id),
    );
    let waits: Vec<&str> = pipeline
        .waits_for(job)
        .into_iter()
        .filter(|id| siblings.iter().any(|other| other.id == *id))
        .collect();
    if !waits.is_empty() {
        out.put("dependsOn", list(waits.iter().copied()));
    }
    if let Some(condition) = condition(job, &waits, notes) {
        out.put("condition", condition);
    }
    if !job.runner.is_empty() {
        let demands: Vec<_> = job.runner.clone();
        out.put(
            "pool",
            map().with("name", "Default").with("demands", list(&demands)),
        );
    }
    if let Some(minutes) = job.timeout_minutes {
        out.put("timeoutInMinutes", word(minutes));
    }
    if job.allow_failure {
        out.put("continueOnError", word(true));
    }
    if !job.matrix.is_empty() {
        out.put("strategy", matrix(job));
    }
    let in_image = needs_image(job);
    if let Some(image) = job.image.as_ref().filter(|_| in_image) {
        out.put("container", image.as_str());
    }
    if !job.services.is_empty() && !job.has_tool(ToolKind::Docker) {
        notes.push(Note::of(
            job,
            "its services need resources of their own there",
            "Name them under `resources.containers` and `services`",
        ));
    }
    let mut variables = map();
    for (name, value) in shell::plain(&job.variables) {
        variables.put(name.as_str(), value.as_str());
    }
    if !variables.is_empty() {
        out.put("variables", variables);
    }
    let steps = steps(job, pipeline, notes);
    if deploys {
        let name = job
            .environment
            .as_ref()
            .map_or(job.id.as_str(), |at| at.name.as_str());
        out.put("environment", name);
        let deploy = map().with("deploy", map().with("steps", Yaml::List(steps)));
        out.put("strategy", map().with("runOnce", deploy));
    } else {
        out.put("steps", Yaml::List(steps));
    }
    out
}

/// Machines have most languages, or a task that brings them.
fn needs_image(job: &Job) -> bool {
    job.tools.is_empty()
}

fn matrix(job: &Job) -> Yaml {
    let mut all: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for (name, values) in &job.matrix {
        all = all
            .into_iter()
            .flat_map(|row| {
                values.iter().map(move |value| {
                    let mut row = row.clone();
                    row.push((name.clone(), value.clone()));
                    row
                })
            })
            .collect();
    }
    let mut rows = map();
    for row in all {
        let label: Vec<_> = row.iter().map(|(_, value)| value.as_str()).collect();
        let mut one = map();
        for (name, value) in &row {
            one.put(name.as_str(), value.as_str());
        }
        rows.put(crate::generate::identifier(&label.join("_")), one);
    }
    map().with("matrix", rows)
}

fn steps(job: &Job, pipeline: &Pipeline, notes: &mut Vec<Note>) -> Vec<Yaml> {
    let mut steps = vec![
        map()
            .with("checkout", "self")
            .with("persistCredentials", word(false)),
    ];
    steps.extend(job.tools.iter().filter_map(set_up));
    for cache in &job.caches {
        for path in &cache.paths {
            let mut key = vec![format!("\"{}\"", cache.name), "\"$(Agent.OS)\"".to_owned()];
            if cache.paths.len() > 1 {
                // Each folder is a cache of its own, and a key names one.
                key.push(format!("\"{path}\""));
            }
            key.extend(cache.files.iter().cloned());
            let inputs = map()
                .with("key", key.join(" | "))
                .with("path", format!("$(Build.SourcesDirectory)/{path}"));
            steps.push(map().with("task", "Cache@2").with("inputs", inputs));
        }
    }
    for needed in pipeline
        .waits_for(job)
        .into_iter()
        .filter_map(|id| pipeline.job(id))
    {
        if needed.artifacts.is_some() {
            let inputs = map()
                .with("artifactName", needed.id.as_str())
                .with("targetPath", "$(Build.SourcesDirectory)");
            steps.push(
                map()
                    .with("task", "DownloadPipelineArtifact@2")
                    .with("inputs", inputs),
            );
        }
    }
    let mut script = map();
    let body = shell::on_bare_machine(job, &pipeline.variables, "BUILD_SOURCESDIRECTORY");
    script.put("bash", format!("set -euo pipefail\n{body}\n"));
    script.put("displayName", job.id.as_str());
    let mut env = map();
    let (told, untold) = shell::told(job, |fact| fact.azure);
    for (name, word) in told {
        env.put(name, format!("$({word})"));
    }
    // What is secret is in a script's environment only where it is put there.
    let secret = untold.iter().copied().filter(|name| facts::is_secret(name));
    for name in secret.chain(job.secrets.iter().map(String::as_str)) {
        env.put(name, format!("$({name})"));
    }
    if !untold.is_empty() {
        notes.push(shell::untold(
            job,
            &untold,
            "Set them as variables of the pipeline, under the same names; the password as a secret one",
        ));
    }
    if !env.is_empty() {
        script.put("env", env);
    }
    steps.push(script);
    if !job.after.is_empty() {
        let after: Vec<_> = job
            .after
            .iter()
            .map(|line| shell::in_workspace(line, "BUILD_SOURCESDIRECTORY"))
            .collect();
        steps.push(
            map()
                .with("bash", after.join("\n"))
                .with("displayName", "after")
                .with("condition", "always()"),
        );
    }
    if !job.reports.junit.is_empty() {
        let files = job.reports.junit.join("\n");
        let inputs = map()
            .with("testResultsFormat", "JUnit")
            .with("testResultsFiles", files);
        let task = map()
            .with("task", "PublishTestResults@2")
            .with("condition", "succeededOrFailed()");
        steps.push(task.with("inputs", inputs));
    }
    if let Some(path) = &job.reports.coverage {
        let inputs = map().with("summaryFileLocation", path.as_str());
        let task = map()
            .with("task", "PublishCodeCoverageResults@2")
            .with("condition", "succeededOrFailed()");
        steps.push(task.with("inputs", inputs));
    }
    if let Some(artifacts) = &job.artifacts {
        // A pipeline artifact is one folder: what several hold is put together first.
        let paths: Vec<_> = artifacts
            .paths
            .iter()
            .map(|path| shell::pattern(path.trim_end_matches('/')))
            .collect();
        let gather = format!(
            "mkdir -p \"$BUILD_ARTIFACTSTAGINGDIRECTORY/{id}\"\nfor path in {paths}; do\n  [ ! -e \"$path\" ] || cp --parents -r \
             \"$path\" \"$BUILD_ARTIFACTSTAGINGDIRECTORY/{id}\"\ndone\n",
            id = job.id,
            paths = paths.join(" "),
        );
        let mut gathered = map().with("bash", gather).with("displayName", "gather artifacts");
        let inputs = map()
            .with(
                "targetPath",
                format!("$(Build.ArtifactStagingDirectory)/{}", job.id),
            )
            .with("artifact", job.id.as_str());
        let mut publish = map().with("task", "PublishPipelineArtifact@1");
        if artifacts.always {
            gathered.put("condition", "succeededOrFailed()");
            publish.put("condition", "succeededOrFailed()");
        }
        publish.put("inputs", inputs);
        steps.extend([gathered, publish]);
    }
    steps
}

fn set_up(tool: &Tool) -> Option<Yaml> {
    let version = tool.version.as_str();
    let (task, inputs) = match tool.kind {
        ToolKind::Python => ("UsePythonVersion@0", map().with("versionSpec", version)),
        ToolKind::Node => ("NodeTool@0", map().with("versionSpec", format!("{version}.x"))),
        ToolKind::Go => ("GoTool@0", map().with("version", pins::go(version))),
        ToolKind::Java => (
            "JavaToolInstaller@0",
            map()
                .with("versionSpec", version)
                .with("jdkArchitectureOption", "x64")
                .with("jdkSourceOption", "PreInstalled"),
        ),
        ToolKind::Dotnet => (
            "UseDotNet@2",
            map()
                .with("packageType", "sdk")
                .with("version", pins::dotnet(version)),
        ),
        ToolKind::Rust => {
            let script = format!(
                "rustup toolchain install {version} --profile minimal --component clippy,rustfmt --no-self-update\n\
                 rustup default {version}\n"
            );
            return Some(
                map()
                    .with("bash", script)
                    .with("displayName", format!("Rust {version}")),
            );
        }
        ToolKind::Native | ToolKind::Docker | ToolKind::Image => return None,
    };
    Some(map().with("task", task).with("inputs", inputs))
}

fn condition(job: &Job, waits: &[&str], notes: &mut Vec<Note>) -> Option<String> {
    let own = job.run_if.as_ref().and_then(|condition| Azure.write(condition));
    if !job.changes.is_empty() {
        notes.push(Note::of(
            job,
            "a job cannot depend on changed paths there",
            "Use `paths` of a pipeline's own trigger",
        ));
    }
    let state = match job.when {
        When::Success | When::Manual => "succeeded()".to_owned(),
        When::Always => "always()".to_owned(),
        When::Failure if waits.is_empty() => "failed()".to_owned(),
        When::Failure => {
            let names: Vec<_> = waits
                .iter()
                .map(|id| format!("'{}'", crate::generate::identifier(id)))
                .collect();
            format!("failed({})", names.join(", "))
        }
    };
    match own {
        Some(own) => Some(format!("and({state}, {own})")),
        None if job.when == When::Success || job.when == When::Manual => None,
        None => Some(state),
    }
}
