//! The model as builds: one, and one more for each job that a person starts, as approvals belong to triggers.

use crate::condition::{Condition, Is};
use crate::facts;
use crate::model::{File, Job, Note, Pipeline, ToolKind, When, Written};
use crate::pins;
use crate::shell;
use crate::yaml::{Yaml, block, list, map};

/// The longest that a build may take, in seconds.
const LONGEST: u32 = 86_400;

pub fn write(pipeline: &Pipeline) -> Written {
    let mut notes = vec![Note::general(
        "what starts a build stands in no file there",
        "Make triggers: one for pull requests and one for pushes to the default branch",
    )];
    for cron in &pipeline.on.schedules {
        notes.push(Note::general(
            format!("the schedule `{cron}` stands in no file there"),
            "Run the trigger by a schedule: Cloud Build > Triggers > Run on schedule",
        ));
    }
    let main: Vec<&Job> = (pipeline.in_order().into_iter())
        .filter(|job| !matches!(job.when, When::Manual | When::Failure))
        .collect();
    if main.len() > 1 {
        notes.push(Note::general(
            "its steps run one after the other: they share one folder",
            "Give those that may run side by side `waitFor`, and folders of their own",
        ));
    }
    for job in &pipeline.jobs {
        notes.extend(left_out(job, pipeline));
    }
    let mut files = vec![File {
        path: super::PATH.to_owned(),
        text: build(&main, pipeline, &mut notes),
    }];
    for job in pipeline.jobs.iter().filter(|job| job.when == When::Manual) {
        let path = format!("cloudbuild.{}.yaml", job.id);
        notes.push(Note::of(
            job,
            format!("a person starts it: it is a build of its own, {path}"),
            "Make a trigger for it with `Require approval before build executes`",
        ));
        files.push(File {
            path,
            text: build(&[job], pipeline, &mut notes),
        });
    }
    if pipeline.jobs.iter().any(|job| !job.caches.is_empty()) {
        notes.push(Note::general(
            "caches are not kept from one build to the next",
            "Keep them in a bucket of Cloud Storage with two more steps, where it pays",
        ));
    }
    if pipeline
        .jobs
        .iter()
        .any(|job| job.artifacts.is_some() || !job.reports.junit.is_empty())
    {
        notes.push(Note::general(
            "artifacts and reports stay in the build's workspace",
            "Name a bucket under `artifacts.objects` to keep them",
        ));
    }
    Written { files, notes }
}

/// What undoes this job when it failed: it stands in the same step, as nothing runs after a step that failed.
fn undoing<'p>(job: &Job, pipeline: &'p Pipeline) -> impl Iterator<Item = &'p Job> {
    let id = job.id.clone();
    (pipeline.jobs.iter()).filter(move |other| {
        other.when == When::Failure && other.needs.as_deref() == Some(std::slice::from_ref(&id))
    })
}

fn left_out(job: &Job, pipeline: &Pipeline) -> Vec<Note> {
    let mut notes = Vec::new();
    if job.when == When::Failure
        && !pipeline
            .jobs
            .iter()
            .any(|of| undoing(of, pipeline).any(|other| other.id == job.id))
    {
        notes.push(Note::of(
            job,
            "it is left out: no step runs after the failure of several others",
            "Let something outside hear of the build's end through Pub/Sub, and do it there",
        ));
    }
    if job.when == When::Always {
        notes.push(Note::of(
            job,
            "it runs only after success: the first step that fails ends the build",
            "Let something outside hear of the build's end through Pub/Sub, and do it there",
        ));
    }
    if !job.changes.is_empty() {
        notes.push(Note::of(
            job,
            "a step cannot depend on changed paths there: it runs always",
            "Use `includedFiles` of a trigger of its own",
        ));
    }
    notes
}

fn build(jobs: &[&Job], pipeline: &Pipeline, notes: &mut Vec<Note>) -> String {
    let mut root = map();
    let mut steps = Vec::new();
    let mut secrets: Vec<String> = Vec::new();
    let mut minutes = 0;
    for job in jobs {
        let (step, own) = step(job, pipeline, notes);
        steps.push(step);
        secrets.extend(own);
        minutes += job.timeout_minutes.unwrap_or(60);
    }
    root.put("steps", Yaml::List(steps));
    secrets.sort();
    secrets.dedup();
    if !secrets.is_empty() {
        let named = secrets.iter().map(|name| {
            map()
                .with(
                    "versionName",
                    format!("projects/$PROJECT_ID/secrets/{name}/versions/latest"),
                )
                .with("env", name.as_str())
        });
        root.put(
            "availableSecrets",
            map().with("secretManager", Yaml::List(named.collect())),
        );
    }
    let seconds = (minutes * 60).min(LONGEST);
    root.put("timeout", format!("{seconds}s"));
    root.put(
        "options",
        map()
            .with("logging", "CLOUD_LOGGING_ONLY")
            .with("automapSubstitutions", true)
            .with("substitutionOption", "ALLOW_LOOSE"),
    );
    block(&root, 0)
}

/// The step, and the names of the secrets that it reads. All steps share one folder, so it waits for all before it.
fn step(job: &Job, pipeline: &Pipeline, notes: &mut Vec<Note>) -> (Yaml, Vec<String>) {
    let mut out = map();
    out.put("id", job.id.as_str());
    out.put(
        "name",
        shell::image(job).unwrap_or_else(|| pins::SHELL.to_owned()),
    );
    let mut env: Vec<String> = shell::plain(&pipeline.variables)
        .chain(shell::plain(&job.variables))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    env.push("CI_PROJECT_DIR=/workspace".to_owned());
    let mut secrets = job.secrets.clone();
    let undoing = undoing(job, pipeline);
    secrets.extend(undoing.flat_map(|other| other.secrets.iter().cloned()));
    let (told, untold) = shell::told(job, |fact| fact.cloud_build);
    env.extend(told.into_iter().map(|(name, word)| format!("{name}=${word}")));
    if !untold.is_empty() {
        let (secret, plain): (Vec<&str>, Vec<&str>) = untold.iter().partition(|name| facts::is_secret(name));
        // A trigger's own substitutions begin with `_`.
        env.extend(plain.iter().map(|name| format!("{name}=${{_{name}}}")));
        let mut advice: Vec<String> = Vec::new();
        if !plain.is_empty() {
            advice.push(format!(
                "set the substitutions _{} in its trigger",
                plain.join(", _")
            ));
        }
        if !secret.is_empty() {
            advice.push(format!("keep {} in Secret Manager", secret.join(", ")));
        }
        let advice = advice.join("; ");
        let first = advice[..1].to_uppercase();
        notes.push(shell::untold(job, &untold, &format!("{first}{}", &advice[1..])));
        secrets.extend(secret.into_iter().map(str::to_owned));
    }
    secrets.sort();
    secrets.dedup();
    out.put("env", list(&env));
    if !secrets.is_empty() {
        out.put("secretEnv", list(&secrets));
    }
    if !job.services.is_empty() && !job.has_tool(ToolKind::Docker) {
        let images: Vec<_> = job
            .services
            .iter()
            .map(|service| service.image.as_str())
            .collect();
        notes.push(Note::of(
            job,
            format!("its services {} have no counterpart", images.join(", ")),
            "Start them in a step before with `docker run --network cloudbuild`",
        ));
    }
    if !job.matrix.is_empty() {
        let axes: Vec<_> = job.matrix.iter().map(|(name, _)| name.as_str()).collect();
        notes.push(Note::of(
            job,
            format!("its matrix of {} has no counterpart", axes.join(", ")),
            "Write a step for each value",
        ));
    }
    out.put("script", script(job, pipeline, notes));
    if let Some(minutes) = job.timeout_minutes {
        out.put("timeout", format!("{}s", minutes * 60));
    }
    if job.allow_failure {
        out.put("allowFailure", true);
    }
    (out, secrets)
}

fn script(job: &Job, pipeline: &Pipeline, notes: &mut Vec<Note>) -> String {
    let mut out = String::from("#!/bin/sh\nset -eu\n");
    if let Some(condition) = &job.run_if {
        match guard(condition) {
            Some(test) => out.push_str(&format!("{test} || {{ echo 'not for this build'; exit 0; }}\n")),
            None => {
                notes.push(Note::of(
                    job,
                    "its condition cannot be asked for there",
                    "It never runs until you write the condition",
                ));
                out.push_str("echo 'its condition is not written yet'; exit 0\n");
            }
        }
    }
    let body = shell::script(job, &pipeline.variables, "CI_PROJECT_DIR");
    let undone: Vec<&Job> = undoing(job, pipeline).collect();
    if undone.is_empty() && job.after.is_empty() {
        out.push_str(&body);
        out.push('\n');
        return out;
    }
    // In a subshell of its own: `set -e` counts for nothing left of `||`.
    out.push_str(&format!(
        "status=0\nset +e\n(\nset -eu\n{body}\n)\nstatus=$?\nset -e\n"
    ));
    for after in &job.after {
        out.push_str(&format!("(\n{after}\n) || true\n"));
    }
    for other in undone {
        let own = shell::plain(&other.variables).filter(|own| !job.variables.contains(own));
        let exports: String = own
            .map(|(name, value)| format!("export {name}={}\n", quoted(value)))
            .collect();
        let other = shell::script(other, &pipeline.variables, "CI_PROJECT_DIR");
        out.push_str(&format!(
            "if [ \"$status\" -ne 0 ]; then (\n{exports}{other}\n) fi\n"
        ));
    }
    out.push_str("exit \"$status\"\n");
    out
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A test of a shell. The default branch is not told: its usual names stand for it.
fn guard(condition: &Condition) -> Option<String> {
    let joined = |parts: &[Condition], with: &str| -> Option<String> {
        let parts: Option<Vec<_>> = parts.iter().map(guard).collect();
        Some(format!("{{ {}; }}", parts?.join(with)))
    };
    Some(match condition {
        Condition::MergeRequest => "[ -n \"${_PR_NUMBER:-}\" ]".to_owned(),
        Condition::Branch => "[ -n \"${BRANCH_NAME:-}\" ]".to_owned(),
        Condition::Tag => "[ -n \"${TAG_NAME:-}\" ]".to_owned(),
        Condition::DefaultBranch => {
            "{ [ \"${BRANCH_NAME:-}\" = main ] || [ \"${BRANCH_NAME:-}\" = master ]; }".to_owned()
        }
        Condition::BranchNamed(name) => format!("[ \"${{BRANCH_NAME:-}}\" = {} ]", quoted(name)),
        Condition::Variable { name, is: Is::Set } => format!("[ -n \"${{{name}:-}}\" ]"),
        Condition::Variable {
            name,
            is: Is::Equal(value),
        } => format!("[ \"${{{name}:-}}\" = {} ]", quoted(value)),
        Condition::Variable {
            name,
            is: Is::Other(value),
        } => format!("[ \"${{{name}:-}}\" != {} ]", quoted(value)),
        Condition::Not(inner) => format!("! {}", guard(inner)?),
        Condition::All(parts) => joined(parts, " && ")?,
        Condition::Any(parts) => joined(parts, " || ")?,
        Condition::Schedule | Condition::Manual => return None,
    })
}
