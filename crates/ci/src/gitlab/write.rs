//! The model as `.gitlab-ci.yml`.

use super::rules::{Gitlab, job_rules, workflow_rules};
use crate::condition::Expressions;
use crate::model::{Access, Cache, File, Job, Note, Pipeline, ToolKind, When, Written};
use crate::shell;
use crate::yaml::{Yaml, block, list, map};

pub fn write(pipeline: &Pipeline) -> Written {
    let mut notes = Vec::new();
    let mut root = map();
    let rules = workflow_rules(&pipeline.on);
    let mut workflow = map();
    if !pipeline.name.is_empty() {
        workflow.put("name", pipeline.name.as_str());
    }
    if !rules.is_empty() {
        workflow.put("rules", Yaml::List(rules));
    }
    root.put("workflow", workflow);
    root.blank();
    for cron in &pipeline.on.schedules {
        notes.push(Note::general(
            format!("the schedule `{cron}` stands in no file there"),
            "Make it under Build > Pipeline schedules",
        ));
    }
    if pipeline.cancel_superseded {
        root.put("default", map().with("interruptible", true));
        root.blank();
    }
    root.put("stages", list(&pipeline.stages));
    if !pipeline.variables.is_empty() {
        root.blank();
        root.put("variables", variables(&pipeline.variables));
    }
    let mut secrets: Vec<&str> = Vec::new();
    for job in &pipeline.jobs {
        root.blank();
        root.put(job.id.as_str(), write_job(job, pipeline, &mut notes));
        secrets.extend(job.secrets.iter().map(String::as_str));
    }
    secrets.sort_unstable();
    secrets.dedup();
    if !secrets.is_empty() {
        notes.push(Note::general(
            format!("its jobs need the secrets {}", secrets.join(", ")),
            "Set them under Settings > CI/CD > Variables, masked and protected",
        ));
    }
    Written {
        files: vec![File {
            path: super::PATH.to_owned(),
            text: block(&root, 0),
        }],
        notes,
    }
}

fn variables(variables: &[(String, String)]) -> Yaml {
    let mut out = map();
    for (name, value) in variables {
        out.put(name.as_str(), value.as_str());
    }
    out
}

fn write_job(job: &Job, pipeline: &Pipeline, notes: &mut Vec<Note>) -> Yaml {
    let mut out = map();
    out.put("stage", job.stage.as_str());
    if let Some(needs) = &job.needs {
        out.put(
            "needs",
            if needs.is_empty() {
                Yaml::Inline(Vec::new())
            } else {
                list(needs)
            },
        );
    }
    let condition = job
        .run_if
        .as_ref()
        .map(|condition| (condition, Gitlab.write(condition)));
    if let Some((_, None)) = condition {
        notes.push(Note::of(
            job,
            "its condition cannot be said in rules",
            "It waits for a person until you write the rule",
        ));
    }
    match job_rules(job) {
        Some(rules) => out.put("rules", rules),
        None => match job.when {
            When::Success => {}
            When::Manual => {
                out.put("when", "manual");
                // Else a job that waits for a person counts as passed.
                if !job.allow_failure {
                    out.put("allow_failure", false);
                }
            }
            When::Failure => out.put("when", "on_failure"),
            When::Always => out.put("when", "always"),
        },
    }
    if job.allow_failure {
        out.put("allow_failure", true);
    }
    if let Some(name) = &shell::image(job) {
        // An image whose entry point is a program of its own runs no shell of the job's.
        if job.has_tool(ToolKind::Image) {
            out.put(
                "image",
                map()
                    .with("name", name.as_str())
                    .with("entrypoint", Yaml::Inline(vec!["".into()])),
            );
        } else {
            out.put("image", name.as_str());
        }
    }
    if !job.services.is_empty() {
        let services = job.services.iter().map(|service| {
            let mut out = map().with("name", service.image.as_str());
            if !service.alias.is_empty() {
                out.put("alias", service.alias.as_str());
            }
            if !service.variables.is_empty() {
                out.put("variables", variables(&service.variables));
            }
            out
        });
        out.put("services", Yaml::List(services.collect()));
    }
    if !job.runner.is_empty() {
        out.put("tags", list(&job.runner));
    }
    let mut own = job.variables.clone();
    if job.services.iter().any(|service| service.alias == "docker") && job.has_tool(ToolKind::Docker) {
        own.push(("DOCKER_TLS_CERTDIR".to_owned(), "/certs".to_owned()));
    }
    if !own.is_empty() {
        out.put("variables", variables(&own));
    }
    match job.caches.as_slice() {
        [] => {}
        [one] => out.put("cache", cache(one, job, notes)),
        several => {
            let caches = several.iter().map(|one| cache(one, job, notes));
            out.put("cache", Yaml::List(caches.collect()));
        }
    }
    out.put("script", list(&job.script));
    if !job.after.is_empty() {
        out.put("after_script", list(&job.after));
    }
    if let Some(regex) = &job.reports.coverage_regex {
        out.put("coverage", regex.as_str());
    }
    if let Some(artifacts) = artifacts(job) {
        out.put("artifacts", artifacts);
    }
    if let Some(minutes) = job.timeout_minutes {
        out.put("timeout", format!("{minutes} minutes"));
    }
    if job.retries > 0 {
        let when = Yaml::List(vec![
            "runner_system_failure".into(),
            "stuck_or_timeout_failure".into(),
        ]);
        out.put("retry", map().with("max", job.retries.min(2)).with("when", when));
        if job.retries > 2 {
            notes.push(Note::of(
                job,
                format!("{} retries: two are the most there", job.retries),
                "Nothing, or mend what fails",
            ));
        }
    }
    if let Some(environment) = &job.environment {
        let mut place = map().with("name", environment.name.as_str());
        if let Some(url) = &environment.url {
            place.put("url", url.as_str());
        }
        out.put("environment", place);
    }
    if job.exclusive {
        out.put(
            "resource_group",
            job.environment
                .as_ref()
                .map_or(job.id.as_str(), |at| at.name.as_str()),
        );
    }
    if pipeline.cancel_superseded && (job.environment.is_some() || job.exclusive) {
        // Half a deployment is worse than an old one.
        out.put("interruptible", false);
    }
    if !job.matrix.is_empty() {
        let mut axes = map();
        for (name, values) in &job.matrix {
            axes.put(
                name.as_str(),
                Yaml::Inline(values.iter().map(Into::into).collect()),
            );
        }
        out.put("parallel", map().with("matrix", Yaml::List(vec![axes])));
    }
    if job.permissions.get("id-token") == Some(&Access::Write) {
        notes.push(Note::of(
            job,
            "it asks for a token of identity, whose audience is not known",
            "Write `id_tokens` with the audience that its cloud expects",
        ));
    }
    out
}

fn cache(cache: &Cache, job: &Job, notes: &mut Vec<Note>) -> Yaml {
    if cache.files.len() > 2 {
        notes.push(Note::of(
            job,
            format!(
                "its cache depends on {} files: two are the most there",
                cache.files.len()
            ),
            "Leave the two whose change matters most",
        ));
    }
    let mut key = map();
    if !cache.files.is_empty() {
        key.put("files", list(cache.files.iter().take(2)));
        key.put("prefix", cache.name.as_str());
    }
    let mut out = map();
    if key.is_empty() {
        out.put("key", cache.name.as_str());
    } else {
        out.put("key", key);
    }
    out.put("paths", list(&cache.paths));
    out
}

fn artifacts(job: &Job) -> Option<Yaml> {
    let mut out = map();
    if let Some(artifacts) = &job.artifacts {
        out.put("paths", list(&artifacts.paths));
        if artifacts.always {
            out.put("when", "always");
        }
        if let Some(days) = artifacts.days {
            out.put("expire_in", format!("{days} days"));
        }
    }
    let reports = &job.reports;
    if !reports.junit.is_empty() || reports.coverage.is_some() {
        // A report is of use most when the job failed.
        if !job.artifacts.as_ref().is_some_and(|artifacts| artifacts.always) {
            out.put("when", "always");
        }
        let mut kinds = map();
        match reports.junit.as_slice() {
            [] => {}
            [one] => kinds.put("junit", one.as_str()),
            several => kinds.put("junit", list(several)),
        }
        if let Some(path) = &reports.coverage {
            let cobertura = map()
                .with("coverage_format", "cobertura")
                .with("path", path.as_str());
            kinds.put("coverage_report", cobertura);
        }
        out.put("reports", kinds);
    }
    (!out.is_empty()).then_some(out)
}
