//! The model as a declarative pipeline.

use super::lines::{Lines, text};
use crate::condition::{Condition, Is};
use crate::facts;
use crate::model::{File, Job, Note, Pipeline, ToolKind, When, Written};
use crate::shell;

pub fn write(pipeline: &Pipeline) -> Written {
    let mut out = Lines::default();
    let mut notes = Vec::new();
    out.open("pipeline");
    out.line("agent none");
    out.open("options");
    out.line(if pipeline.cancel_superseded {
        // Of merge requests alone: half a deployment is worse than an old one.
        "disableConcurrentBuilds(abortPrevious: env.CHANGE_ID != null)"
    } else {
        "disableConcurrentBuilds()"
    });
    out.line("skipStagesAfterUnstable()");
    out.close();
    if !pipeline.on.schedules.is_empty() {
        out.open("triggers");
        for cron in &pipeline.on.schedules {
            out.line(&format!("cron({})", text(cron)));
        }
        out.close();
    }
    let plain: Vec<_> = shell::plain(&pipeline.variables).collect();
    if !plain.is_empty() {
        out.open("environment");
        for (name, value) in plain {
            out.line(&format!("{name} = {}", text(value)));
        }
        out.close();
    }
    out.open("stages");
    for stage in &pipeline.stages {
        // What undoes a failure stands with what may fail.
        let jobs: Vec<&Job> = pipeline
            .jobs
            .iter()
            .filter(|job| job.stage == *stage && after_failure_of(job, pipeline).is_none())
            .collect();
        write_stage(stage, &jobs, pipeline, &mut out, &mut notes);
    }
    out.close();
    out.close();
    if pipeline.jobs.iter().any(|job| !job.caches.is_empty()) {
        notes.push(Note::general(
            "Jenkins keeps no caches by itself",
            "Its agents keep what their workspaces hold; the plugin Job Cacher keeps more",
        ));
    }
    notes.push(Note::general(
        "what starts a build stands in the job's own settings",
        "Make a multibranch pipeline that discovers branches and merge requests",
    ));
    Written {
        files: vec![File {
            path: super::PATH.to_owned(),
            text: out.text,
        }],
        notes,
    }
}

/// The one job after whose failure this one runs.
fn after_failure_of<'p>(job: &Job, pipeline: &'p Pipeline) -> Option<&'p Job> {
    let needs = job.needs.as_deref().filter(|_| job.when == When::Failure)?;
    let [one] = needs else { return None };
    pipeline.job(one)
}

fn write_stage(stage: &str, jobs: &[&Job], pipeline: &Pipeline, out: &mut Lines, notes: &mut Vec<Note>) {
    let levels = levels(jobs);
    match levels.as_slice() {
        [] => {}
        [only] if only.len() == 1 && only[0].id == stage => write_job(only[0], pipeline, out, notes),
        [only] => {
            out.open(&format!("stage({})", text(stage)));
            out.open(if only.len() == 1 { "stages" } else { "parallel" });
            for job in only {
                write_job(job, pipeline, out, notes);
            }
            out.close();
            out.close();
        }
        several => {
            out.open(&format!("stage({})", text(stage)));
            out.open("stages");
            for (at, level) in several.iter().enumerate() {
                if let [one] = level.as_slice() {
                    write_job(one, pipeline, out, notes);
                    continue;
                }
                out.open(&format!("stage({})", text(&format!("{stage}: {}", at + 1))));
                out.open("parallel");
                for job in level {
                    write_job(job, pipeline, out, notes);
                }
                out.close();
                out.close();
            }
            out.close();
            out.close();
        }
    }
}

/// Jobs of one stage by how many of its others they wait for in a row.
fn levels<'j>(jobs: &[&'j Job]) -> Vec<Vec<&'j Job>> {
    let mut left: Vec<&Job> = jobs.to_vec();
    let mut levels = Vec::new();
    while !left.is_empty() {
        let waits = |job: &&Job| {
            let needs = job.needs.as_deref().unwrap_or_default();
            left.iter()
                .any(|other| other.id != job.id && needs.contains(&other.id))
        };
        let (later, mut now): (Vec<_>, Vec<_>) = left.iter().copied().partition(waits);
        if now.is_empty() {
            now.clone_from(&left);
            levels.push(now);
            return levels;
        }
        levels.push(now);
        left = later;
    }
    levels
}

fn write_job(job: &Job, pipeline: &Pipeline, out: &mut Lines, notes: &mut Vec<Note>) {
    out.open(&format!("stage({})", text(&job.id)));
    if !job.matrix.is_empty() {
        out.open("matrix");
        out.open("axes");
        for (name, values) in &job.matrix {
            out.open("axis");
            out.line(&format!("name {}", text(name)));
            let values: Vec<_> = values.iter().map(|value| text(value)).collect();
            out.line(&format!("values {}", values.join(", ")));
            out.close();
        }
        out.close();
        out.open("stages");
        out.open(&format!("stage({})", text(&format!("{}: each", job.id))));
        body(job, pipeline, out, notes);
        out.close();
        out.close();
        out.close();
    } else {
        body(job, pipeline, out, notes);
    }
    out.close();
}

fn body(job: &Job, pipeline: &Pipeline, out: &mut Lines, notes: &mut Vec<Note>) {
    agent(job, out, notes);
    if job.when == When::Manual {
        out.open("input");
        out.line(&format!("message {}", text(&format!("Start {}?", job.id))));
        out.close();
    }
    when(job, out, notes);
    options(job, out);
    environment(job, out, notes);
    if !job.services.is_empty() && !job.has_tool(ToolKind::Docker) {
        let images: Vec<_> = job
            .services
            .iter()
            .map(|service| service.image.as_str())
            .collect();
        notes.push(Note::of(
            job,
            format!("its services {} have no counterpart in a declarative pipeline", images.join(", ")),
            "Start them in a `script` block with docker.image(…).withRun, or in a pod of the Kubernetes plugin",
        ));
    }
    if job.exclusive {
        notes.push(Note::of(
            job,
            "runs of other branches may deploy at the same time",
            "The plugin Lockable Resources adds `lock`",
        ));
    }
    out.open("steps");
    for id in pipeline.waits_for(job) {
        if pipeline.job(id).is_some_and(|needed| needed.artifacts.is_some()) {
            out.line(&format!("unstash {}", text(id)));
        }
    }
    let script = shell::on_bare_machine(job, &pipeline.variables, "WORKSPACE");
    let timed = job.timeout_minutes.filter(|_| job.when == When::Manual);
    if let Some(minutes) = timed {
        out.open(&format!("timeout(time: {minutes}, unit: 'MINUTES')"));
    }
    if job.allow_failure {
        out.open("catchError(buildResult: 'SUCCESS', stageResult: 'UNSTABLE')");
    }
    out.shell(&script);
    if job.allow_failure {
        out.close();
    }
    if timed.is_some() {
        out.close();
    }
    if let Some(artifacts) = &job.artifacts {
        let includes = ant(&artifacts.paths);
        out.line(&format!(
            "stash name: {}, includes: {}, allowEmpty: true",
            text(&job.id),
            text(&includes)
        ));
    }
    out.close();
    post(job, pipeline, out, notes);
}

fn options(job: &Job, out: &mut Lines) {
    let mut options = Vec::new();
    match job.timeout_minutes {
        // It counts the wait for a person too, in which the build keeps the branch's next ones from starting.
        _ if job.when == When::Manual => options.push("timeout(time: 1, unit: 'DAYS')".to_owned()),
        Some(minutes) => options.push(format!("timeout(time: {minutes}, unit: 'MINUTES')")),
        None => {}
    }
    if job.retries > 0 {
        let tries = job.retries + 1;
        options.push(format!(
            "retry(conditions: [agent(), nonresumable()], count: {tries})"
        ));
    }
    if options.is_empty() {
        return;
    }
    out.open("options");
    for option in options {
        out.line(&option);
    }
    out.close();
}

/// The image that Jenkins runs the job's steps in.
fn container(job: &Job) -> Option<String> {
    let bare = job.has_tool(ToolKind::Docker) || job.has_tool(ToolKind::Image);
    shell::image(job).filter(|_| !bare)
}

/// Jenkins runs containers under its own user, who may install nothing in them.
fn needs_root(job: &Job) -> bool {
    const INSTALLS: [&str; 5] = ["apt-get ", "apk add", "dnf ", "yum ", "corepack enable"];
    job.shell()
        .any(|line| INSTALLS.iter().any(|install| line.contains(install)))
}

fn agent(job: &Job, out: &mut Lines, notes: &mut Vec<Note>) {
    let label = job.runner.join(" && ");
    let bare = job.has_tool(ToolKind::Docker) || job.has_tool(ToolKind::Image);
    match container(job) {
        Some(image) => {
            out.open("agent");
            out.open("docker");
            out.line(&format!("image {}", text(&image)));
            if needs_root(job) {
                out.line("args '--user 0'");
                notes.push(Note::of(
                    job,
                    "it installs packages: its container runs as root, and so what it leaves in the workspace is root's",
                    "Use an image that has them, and take `args` away",
                ));
            }
            if !label.is_empty() {
                out.line(&format!("label {}", text(&label)));
            }
            out.close();
            out.close();
        }
        None if bare && label.is_empty() => out.line("agent { label 'docker' }"),
        None if label.is_empty() => out.line("agent any"),
        None => out.line(&format!("agent {{ label {} }}", text(&label))),
    }
}

fn when(job: &Job, out: &mut Lines, notes: &mut Vec<Note>) {
    let after_failure = job.when == When::Failure;
    if after_failure {
        notes.push(Note::of(
            job,
            "a stage cannot run after the failure of several others",
            "It never runs until you put what it does under `post { failure { … } }` of the pipeline",
        ));
    }
    if job.when == When::Always {
        notes.push(Note::of(
            job,
            "it runs only after success: the first stage that fails ends the build",
            "Put what it does under `post { always { … } }` of the pipeline",
        ));
    }
    if job.run_if.is_none() && job.changes.is_empty() && !after_failure {
        return;
    }
    out.open("when");
    out.line("beforeAgent true");
    if job.when == When::Manual {
        out.line("beforeInput true");
    }
    if after_failure {
        out.line("expression { false }");
    }
    if let Some(condition) = &job.run_if {
        out.line(&said(condition));
    }
    match job.changes.as_slice() {
        [] => {}
        [one] => out.line(&format!("changeset {}", text(one))),
        several => {
            let sets: Vec<_> = several
                .iter()
                .map(|path| format!("changeset {}", text(path)))
                .collect();
            out.line(&format!("anyOf {{ {} }}", sets.join("; ")));
        }
    }
    out.close();
}

pub(super) fn said(condition: &Condition) -> String {
    let all = |parts: &[Condition]| parts.iter().map(said).collect::<Vec<_>>().join("; ");
    match condition {
        Condition::MergeRequest => "changeRequest()".to_owned(),
        Condition::Tag => "buildingTag()".to_owned(),
        Condition::Branch => "not { anyOf { changeRequest(); buildingTag() } }".to_owned(),
        Condition::Schedule => "triggeredBy 'TimerTrigger'".to_owned(),
        Condition::Manual => "triggeredBy 'UserIdCause'".to_owned(),
        Condition::DefaultBranch => "environment name: 'BRANCH_IS_PRIMARY', value: 'true'".to_owned(),
        Condition::BranchNamed(name) => format!("branch {}", text(name)),
        Condition::Variable { name, is: Is::Set } => format!("expression {{ env.{name} }}"),
        Condition::Variable {
            name,
            is: Is::Equal(value),
        } => {
            format!("environment name: {}, value: {}", text(name), text(value))
        }
        Condition::Variable {
            name,
            is: Is::Other(value),
        } => {
            format!(
                "not {{ environment name: {}, value: {} }}",
                text(name),
                text(value)
            )
        }
        Condition::Not(inner) => format!("not {{ {} }}", said(inner)),
        Condition::All(parts) => format!("allOf {{ {} }}", all(parts)),
        Condition::Any(parts) => format!("anyOf {{ {} }}", all(parts)),
    }
}

/// What the system tells, and the names of secrets, of which some it tells elsewhere.
fn told<'j>(job: &'j Job, notes: &mut Vec<Note>) -> (Vec<(&'static str, &'static str)>, Vec<&'j str>) {
    let (told, untold) = shell::told(job, |fact| fact.jenkins);
    if !untold.is_empty() {
        notes.push(shell::untold(
            job,
            &untold,
            "Set them as global variables of Jenkins, under the same names; the password as a credential, a secret text",
        ));
    }
    let secret = untold.into_iter().filter(|name| facts::is_secret(name));
    (
        told,
        secret.chain(job.secrets.iter().map(String::as_str)).collect(),
    )
}

fn environment(job: &Job, out: &mut Lines, notes: &mut Vec<Note>) {
    let (told, secrets) = told(job, notes);
    let plain: Vec<_> = shell::plain(&job.variables).collect();
    // A user whom the image does not know has no folder of his own, and many programs want to write to it.
    let homeless = container(job).is_some() && !needs_root(job);
    if told.is_empty() && plain.is_empty() && secrets.is_empty() && !homeless {
        return;
    }
    out.open("environment");
    if homeless {
        out.line(&format!("{} = \"${{env.{}}}\"", super::HOME.0, super::HOME.1));
    }
    for (name, value) in plain {
        out.line(&format!("{name} = {}", text(value)));
    }
    for (name, word) in told {
        out.line(&format!("{name} = \"${{env.{word}}}\""));
    }
    for secret in secrets {
        out.line(&format!("{secret} = credentials({})", text(secret)));
    }
    out.close();
}

/// Patterns as Ant has them: a folder is all that is in it.
fn ant(paths: &[String]) -> String {
    let whole = |path: &String| match path.strip_suffix('/') {
        Some(folder) => format!("{folder}/**"),
        None => path.clone(),
    };
    paths.iter().map(whole).collect::<Vec<_>>().join(",")
}

fn post(job: &Job, pipeline: &Pipeline, out: &mut Lines, notes: &mut Vec<Note>) {
    let back: Vec<&Job> = pipeline
        .jobs
        .iter()
        .filter(|other| after_failure_of(other, pipeline).is_some_and(|of| of.id == job.id))
        .collect();
    let reports = &job.reports;
    let always = !job.after.is_empty() || !reports.junit.is_empty() || reports.coverage.is_some();
    if !always && job.artifacts.is_none() && back.is_empty() {
        return;
    }
    out.open("post");
    if always {
        out.open("always");
        if !job.after.is_empty() {
            let after: Vec<_> = job
                .after
                .iter()
                .map(|line| shell::in_workspace(line, "WORKSPACE"))
                .collect();
            out.shell(&after.join("\n"));
        }
        if !reports.junit.is_empty() {
            out.line(&format!(
                "junit testResults: {}, allowEmptyResults: true",
                text(&ant(&reports.junit))
            ));
        }
        if let Some(path) = &reports.coverage {
            out.line(&format!(
                "recordCoverage(tools: [[parser: 'COBERTURA', pattern: {}]])",
                text(path)
            ));
        }
        out.close();
    }
    if let Some(artifacts) = &job.artifacts {
        out.open(if artifacts.always { "cleanup" } else { "success" });
        let paths = text(&ant(&artifacts.paths));
        out.line(&format!(
            "archiveArtifacts artifacts: {paths}, allowEmptyArchive: true"
        ));
        out.close();
    }
    if !back.is_empty() {
        out.open("failure");
        for job in back {
            let mut pairs: Vec<String> = shell::plain(&job.variables)
                .map(|(name, value)| text(&format!("{name}={value}")))
                .collect();
            let (told, secrets) = told(job, notes);
            let told = told.into_iter();
            pairs.extend(told.map(|(name, word)| format!("\"{name}=${{env.{word}}}\"")));
            let secrets: Vec<_> = secrets
                .into_iter()
                .map(|name| format!("string(credentialsId: {0}, variable: {0})", text(name)))
                .collect();
            if !secrets.is_empty() {
                out.open(&format!("withCredentials([{}])", secrets.join(", ")));
            }
            if !pairs.is_empty() {
                out.open(&format!("withEnv([{}])", pairs.join(", ")));
            }
            out.line(&format!("echo {}", text(&job.id)));
            out.shell(&shell::script(job, &pipeline.variables, "WORKSPACE"));
            if !pairs.is_empty() {
                out.close();
            }
            if !secrets.is_empty() {
                out.close();
            }
        }
        out.close();
    }
    out.close();
}
