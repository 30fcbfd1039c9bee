//! What people and programs are told of a build; pure.

use domain::{Evidence, FollowOn, Report, Verdict};
use ports::{Job, JobStatus, Pipeline};
use serde_json::{Value, json};

use super::Done;
use super::config::Config;
use super::judge::{self, Finding};
use crate::diagnose::{Class, Kind};

type Link<'a> = &'a dyn Fn(&Job, u64) -> String;

/// Findings beside the main one whose excerpts are shown too.
const MORE_EXCERPTS: usize = 3;

pub(super) fn nothing_failed(pipeline: &Pipeline) -> Report {
    let why = match pipeline.status {
        JobStatus::Succeeded => "it passed",
        JobStatus::Cancelled => "it was cancelled",
        JobStatus::Skipped => "it was skipped",
        JobStatus::Failed => {
            "it failed before any job ran, as an invalid pipeline definition does, or what failed is being run again"
        }
        JobStatus::Running | JobStatus::Waiting => "it runs, and none of its jobs has failed so far",
    };
    let failed = pipeline.status == JobStatus::Failed;
    let verdict = if failed {
        Verdict::ActionNeeded
    } else {
        Verdict::Succeeded
    };
    let mut report = Report::new(
        verdict,
        format!(
            "Pipeline {} of {} has no failed job: {why}",
            pipeline.id, pipeline.git_ref
        ),
    )
    .linked_fact("Pipeline", pipeline.id.to_string(), &pipeline.url)
    .fact("Commit", short(&pipeline.sha));
    if failed {
        report = report.next_step("Open the pipeline: its page shows what is wrong with the definition");
    }
    report.data = json!({"pipeline": pipeline.id, "status": pipeline.status, "action": "none"});
    report
}

fn elsewhere(report: Report, job: &Job) -> Report {
    let what = format!("{} of pipeline {}", job.name, job.pipeline);
    report.linked_fact("Left to another task", what, &job.url)
}

pub(super) fn told(
    config: &Config,
    pipeline: Option<&Pipeline>,
    findings: &[Finding],
    done: &Done,
    link: Link,
) -> Report {
    let Some(root) = judge::root(findings) else {
        return Report::new(Verdict::Succeeded, "Nothing failed");
    };
    let diagnosis = &root.diagnosis;
    let verdict = match done {
        _ if diagnosis.class == Class::Success && done.retried.is_empty() => Verdict::Succeeded,
        Done { ask: Some(_), .. } => Verdict::ActionNeeded,
        _ => Verdict::Succeeded,
    };
    let passed = pipeline.is_some_and(|pipeline| pipeline.status == JobStatus::Succeeded);
    let mut summary = summary(root, done, &config.builder);
    if passed && done.retried.is_empty() && diagnosis.class != Class::Success {
        summary.push_str("; nothing was done, because the pipeline passed without it");
    }
    let mut report = Report::new(verdict, summary);
    if done.ask.is_some() {
        report.who = Some("whoever owns this build".to_owned());
    } else if done.follow_on.is_some() {
        report.who = Some(config.builder.clone());
    }
    if let Some(pipeline) = pipeline {
        report = report
            .linked_fact(
                "Pipeline",
                format!("{} on {}", pipeline.id, pipeline.git_ref),
                &pipeline.url,
            )
            .fact("Commit", short(&pipeline.sha));
    }
    report = facts(report, root);
    for (name, why) in &done.refused {
        report = report.fact("Not run again", format!("{name}: {why}"));
    }
    for job in &done.retried {
        report = report.linked_fact("Run again", &job.name, &job.url);
    }
    for other in findings.iter().filter(|finding| !std::ptr::eq(*finding, root)) {
        if let Some(job) = &other.job {
            let allowed = if job.allow_failure {
                ", allowed to fail"
            } else {
                ""
            };
            let what = format!("{}: {}{allowed}", job.name, words(other.diagnosis.class));
            report = report.linked_fact("Also failed", what, &job.url);
        }
    }
    for job in &done.elsewhere {
        report = elsewhere(report, job);
    }
    let others = findings
        .iter()
        .filter(|finding| !std::ptr::eq(*finding, root))
        .take(MORE_EXCERPTS);
    if done.unread > 0 {
        report = report.fact("Not looked at", format!("{} more failed jobs", done.unread));
    }
    report.evidence = std::iter::once(root)
        .chain(others)
        .filter_map(|finding| evidence(finding, link))
        .collect();
    report.why = match &done.ask {
        _ if diagnosis.class == Class::Unknown => Some(diagnosis.why.clone()),
        Some(ask) if done.retried.is_empty() => Some(format!("nothing was done yet: {ask}")),
        ask => ask.clone(),
    }
    .map(|why| capital(why.trim_end_matches('.')) + ".");
    if !diagnosis.advice.is_empty() {
        report = report.next_step(&diagnosis.advice);
    }
    if let Some(task_id) = &done.follow_on {
        report.follow_ons.push(FollowOn {
            task_id: task_id.clone(),
            task_type: config.builder_task.clone(),
            agent: Some(config.builder.clone()),
            why: "mend the code".to_owned(),
        });
    }
    report
        .labels
        .add
        .extend(config.labels.get(diagnosis.class.name()).cloned());
    report.data = data(root, findings, done);
    report
}

/// What the builder is handed: the instruction for a reader, the evidence for a program.
pub(super) fn brief(pipeline: Option<&Pipeline>, findings: &[Finding], link: Link) -> Value {
    let Some(root) = judge::root(findings) else {
        return json!({});
    };
    let diagnosis = &root.diagnosis;
    let again = if root.retried_before > 0 {
        " It failed again after a retry, so it is not just flaky."
    } else {
        ""
    };
    json!({
        "instruction": format!("{}.{again} {}", summary(root, &Done::default(), ""), diagnosis.advice).trim().to_owned(),
        "diagnosis": {
            "class": diagnosis.class,
            "confidence": diagnosis.confidence,
            "line": diagnosis.line,
            "excerpt": diagnosis.excerpt,
            "excerpt_start": diagnosis.excerpt_start,
            "exit_code": diagnosis.exit_code,
            "why": diagnosis.why,
        },
        "job": root.job.as_ref().map(|job| json!({
            "id": job.at.id, "name": job.name, "stage": job.stage, "url": job.url,
            "log_url": diagnosis.line.map(|line| link(job, line)),
        })),
        "pipeline": pipeline.map(|pipeline| json!({
            "id": pipeline.id, "ref": pipeline.git_ref, "sha": pipeline.sha, "url": pipeline.url,
        })),
        "also_failed": findings.iter().filter(|finding| !std::ptr::eq(*finding, root))
            .filter_map(|finding| finding.job.as_ref()).map(|job| job.name.clone()).collect::<Vec<_>>(),
    })
}

fn summary(root: &Finding, done: &Done, builder: &str) -> String {
    let class = root.diagnosis.class;
    let job = root
        .job
        .as_ref()
        .map(|job| job.name.clone())
        .or_else(|| root.diagnosis.job.clone());
    let subject = job.map_or_else(|| "the build".to_owned(), |job| format!("job {job}"));
    let found = match class {
        Class::Success => format!("{subject} passed: its log shows no failure"),
        Class::Unknown => format!("{subject} failed, and the cause is not in its log"),
        _ if root.diagnosis.why.is_empty() => format!("{subject} failed: {}", words(class)),
        _ => format!(
            "{subject} failed: {} ({})",
            words(class),
            root.diagnosis.why.trim_end_matches('.')
        ),
    };
    let acted = if !done.retried.is_empty() {
        match done.retried.len() {
            1 => "; it was run again".to_owned(),
            n => format!("; {n} jobs were run again"),
        }
    } else if done.follow_on.is_some() {
        format!("; handed to {builder}")
    } else if !done.elsewhere.is_empty() {
        "; it was reported for another pipeline too, whose task acts on it".to_owned()
    } else {
        String::new()
    };
    capital(&format!("{found}{acted}"))
}

fn facts(mut report: Report, root: &Finding) -> Report {
    let diagnosis = &root.diagnosis;
    if let Some(job) = &root.job {
        let stage = if job.stage.is_empty() {
            String::new()
        } else {
            format!(" (stage {})", job.stage)
        };
        report = report.linked_fact("Job", format!("{}{stage}", job.name), &job.url);
    } else if let Some(job) = &diagnosis.job {
        let stage = diagnosis
            .stage
            .as_ref()
            .map(|stage| format!(" (stage {stage})"))
            .unwrap_or_default();
        report = report.fact("Job", format!("{job}{stage}"));
    }
    let sure = format!(
        "{} ({:.0} % sure)",
        diagnosis.class.name(),
        diagnosis.confidence * 100.0
    );
    report = report.fact("Class", sure);
    if let Some(code) = diagnosis.exit_code {
        report = report.fact("Exit code", code.to_string());
    }
    if let Some(reason) = root.job.as_ref().and_then(|job| job.failure_reason.as_ref()) {
        report = report.fact("Reason given", reason);
    }
    if root.retried_before > 0 {
        report = report.fact(
            "Before",
            format!("run again {} times for this commit already", root.retried_before),
        );
    }
    report
}

fn evidence(finding: &Finding, link: Link) -> Option<Evidence> {
    let diagnosis = &finding.diagnosis;
    let line = diagnosis.line?;
    let of = finding
        .job
        .as_ref()
        .map_or_else(|| diagnosis.job.clone(), |job| Some(job.name.clone()));
    Some(Evidence {
        title: of.map_or_else(|| "Log".to_owned(), |job| format!("Log of {job}")),
        text: diagnosis.excerpt.clone(),
        first_line: diagnosis.excerpt_start,
        deciding_line: Some(line),
        link: finding.job.as_ref().map(|job| link(job, line)),
    })
}

fn data(root: &Finding, findings: &[Finding], done: &Done) -> Value {
    let diagnosis = &root.diagnosis;
    let action = match done {
        Done { retried, .. } if !retried.is_empty() => "retried",
        Done {
            follow_on: Some(_), ..
        } => "handed_over",
        Done { ask: Some(_), .. } => "asked",
        _ => "none",
    };
    json!({
        "class": diagnosis.class,
        "kind": diagnosis.kind,
        "confidence": diagnosis.confidence,
        "line": diagnosis.line,
        "excerpt": diagnosis.excerpt,
        "exit_code": diagnosis.exit_code,
        "why": diagnosis.why,
        "action": action,
        "flake": matches!(diagnosis.kind, Kind::Flaky | Kind::Infrastructure) && !done.retried.is_empty(),
        "elsewhere": done.elsewhere.iter().map(|job| job.at.id).collect::<Vec<_>>(),
        "retried_jobs": done.retried.iter().map(|job| job.at.id).collect::<Vec<_>>(),
        "jobs": findings.iter().filter_map(|finding| {
            let job = finding.job.as_ref()?;
            Some(json!({"id": job.at.id, "name": job.name, "class": finding.diagnosis.class,
                        "confidence": finding.diagnosis.confidence, "line": finding.diagnosis.line}))
        }).collect::<Vec<_>>(),
    })
}

fn words(class: Class) -> String {
    match class {
        Class::Oom => "out of memory".to_owned(),
        Class::InfraRunner => "runner trouble".to_owned(),
        Class::GeneratedFilesStale => "generated files are stale".to_owned(),
        _ => class.name().replace('_', " "),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn short(sha: &str) -> String {
    sha.chars().take(12).collect()
}
