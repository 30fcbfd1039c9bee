//! The jobs of one unit, and what every pipeline has.

use std::collections::BTreeMap;

use super::Options;
use crate::detect::Unit;
use crate::model::{Access, Job, Note, Pipeline, Tool, ToolKind};
use crate::pins;

pub(super) fn reads() -> BTreeMap<String, Access> {
    BTreeMap::from([("contents".to_owned(), Access::Read)])
}

/// Without a name the jobs are `build`, `test` and so on.
pub(super) fn of_unit(unit: &Unit, name: Option<&str>, options: &Options, notes: &mut Vec<Note>) -> Vec<Job> {
    let id = |kind: &str| name.map_or_else(|| kind.to_owned(), |name| format!("{kind}_{name}"));
    let mut jobs = Vec::new();
    let build = id("build");
    let has_build = !unit.build.is_empty();
    if has_build {
        let mut job = base(unit, &build, "build", &unit.build);
        job.artifacts = unit.artifacts.clone();
        job.timeout_minutes = Some(30);
        jobs.push(job);
    }
    for check in &unit.checks {
        let mut job = base(unit, &id(&check.name), "test", &check.script);
        job.timeout_minutes = Some(15);
        jobs.push(job);
    }
    if unit.test.is_empty() {
        notes.push(Note::general(
            format!(
                "no tests were found in the {} project in {}",
                unit.language,
                shown(&unit.directory)
            ),
            "Add tests, or a job for them by hand; nothing is tested there",
        ));
        return jobs;
    }
    let mut job = base(unit, &id("test"), "test", &unit.test);
    if has_build {
        job.needs = Some(vec![build]);
    }
    job.timeout_minutes = Some(30);
    job.reports = unit.reports.clone();
    match (options.min_coverage, &unit.coverage_gate) {
        (Some(least), Some(gate)) => job.script.push(gate.replace("{}", &least.to_string())),
        (Some(_), None) => notes.push(Note::of(
            &job,
            format!(
                "its coverage is not held to a minimum: the {} project does not measure it",
                unit.language
            ),
            "Set up a tool of coverage in the project and let its own configuration fail below a minimum",
        )),
        (None, _) => {}
    }
    jobs.push(job);
    jobs
}

fn shown(directory: &str) -> &str {
    if directory.is_empty() {
        "the root"
    } else {
        directory
    }
}

fn base(unit: &Unit, id: &str, stage: &str, script: &[String]) -> Job {
    let mut job = Job::new(id, stage);
    job.needs = Some(Vec::new());
    job.image = Some(unit.image.clone());
    job.tools = unit.tools.clone();
    job.variables = unit.variables.clone();
    job.caches = unit.cache.iter().cloned().collect();
    job.permissions = reads();
    job.retries = 1;
    if !unit.directory.is_empty() {
        job.script.push(format!("cd {}", quoted(&unit.directory)));
    }
    job.script.extend(unit.setup.iter().chain(script).cloned());
    job
}

/// A folder's name as a shell reads it.
pub(super) fn quoted(text: &str) -> String {
    let harmless = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.'));
    if harmless {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Known holes in what is depended on, and secrets in the files.
pub(super) fn security() -> Job {
    let mut job = Job::new("security_scan", "security");
    job.needs = Some(Vec::new());
    job.image = Some(pins::TRIVY.to_owned());
    job.tools = vec![Tool {
        kind: ToolKind::Image,
        version: String::new(),
    }];
    job.script = vec![
        "trivy fs --scanners vuln,secret,misconfig --severity HIGH,CRITICAL --ignore-unfixed --exit-code 1 \
         --skip-dirs .cache --no-progress ."
            .to_owned(),
    ];
    job.permissions = reads();
    job.timeout_minutes = Some(15);
    job.retries = 1;
    job
}

/// A caller's own job waits for everything before it.
pub(super) fn custom(name: &str, script: &[String], pipeline: &Pipeline) -> Job {
    let before: Vec<String> = pipeline
        .jobs
        .iter()
        .filter(|job| pipeline.stages.contains(&job.stage))
        .map(|job| job.id.clone())
        .collect();
    let mut job = Job::new(name, name);
    job.needs = Some(before);
    job.image = Some(pins::SHELL.to_owned());
    job.tools = vec![Tool {
        kind: ToolKind::Native,
        version: String::new(),
    }];
    job.script = script.to_vec();
    job.permissions = reads();
    job.timeout_minutes = Some(30);
    job
}
