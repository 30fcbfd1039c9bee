//! Rules that hold in every dialect.

use super::facts::{JobFacts, Spot};
use super::{Finding, Severity};
use crate::dialect::Dialect;

pub(super) fn check(dialect: Dialect, jobs: &[JobFacts], findings: &mut Vec<Finding>) {
    for job in jobs {
        for image in &job.images {
            findings.extend(image_pinned(image));
        }
        findings.extend(timeout(dialect, job));
        for (at, what) in &job.loose_caches {
            findings.push(Finding::warning(
                "cache-key-without-lock-file",
                *at,
                format!("the cache of {} is the same whatever its dependencies are: {what}", job.id),
                "Let its key depend on a lock file: `key: files`, `hashFiles(…)`, or a file among the parts of the key",
            ));
        }
        for script in &job.scripts {
            findings.extend(piped(script));
            findings.extend(password(script));
        }
        if let Some((at, edit)) = &job.may_fail
            && is_security(job)
        {
            let finding = Finding::warning(
                "security-may-fail",
                *at,
                format!("{} looks for holes, and its failure counts for nothing", job.id),
                "Take that away; except what is known and harmless by name in the tool's own file",
            );
            findings.push(finding.edited(edit.clone()));
        }
    }
}

fn image_pinned(image: &Spot) -> Option<Finding> {
    let text = image.text.trim();
    // What a variable holds stands elsewhere.
    if text.is_empty() || text.contains('$') || text.contains('@') || text == "scratch" {
        return None;
    }
    let name = text.rsplit('/').next().unwrap_or(text);
    let (what, severity) = match name.split_once(':') {
        None => (
            format!("the image {text} has no tag: it is whatever is newest"),
            Severity::Warning,
        ),
        Some((_, tag)) if MOVING.contains(&tag) => (
            format!("the image {text} is whatever `{tag}` means that day"),
            Severity::Warning,
        ),
        Some((_, tag)) if !tag.contains(|c: char| c.is_ascii_digit()) => {
            (format!("the tag of {text} names no version"), Severity::Warning)
        }
        Some(_) => return None,
    };
    Some(Finding::new(
        "image-unpinned",
        severity,
        image.at,
        what,
        "Name a full version, best with its digest: `name:1.2.3@sha256:…`",
    ))
}

const MOVING: &[&str] = &[
    "latest", "stable", "edge", "nightly", "main", "master", "dev", "lts", "current", "rolling",
];

fn timeout(dialect: Dialect, job: &JobFacts) -> Option<Finding> {
    let timeout = job.timeout.as_ref().filter(|timeout| !timeout.is_set)?;
    let (severity, usual) = match dialect {
        Dialect::Github => (Severity::Warning, "6 hours"),
        Dialect::Jenkins => (Severity::Warning, "no end at all"),
        Dialect::Gitlab => (Severity::Hint, "the project's, an hour mostly"),
        Dialect::Azure | Dialect::CloudBuild => (Severity::Hint, "60 minutes"),
    };
    let mut finding = Finding::new(
        "timeout-missing",
        severity,
        job.at,
        format!(
            "{} has no timeout: one that hangs holds a runner for {usual}",
            job.id
        ),
        "Give it one, some times as long as it takes",
    );
    finding.edit.clone_from(&timeout.edit);
    Some(finding)
}

/// `curl … | sh`: whoever serves that address, or stands before it, runs code there.
fn piped(script: &Spot) -> Option<Finding> {
    let line = script.text.lines().position(|line| {
        let fetched = line.find("curl ").or_else(|| line.find("wget "));
        fetched.is_some_and(|at| {
            let rest: String = line[at..].split_whitespace().collect::<Vec<_>>().join(" ");
            [
                "| sh",
                "| bash",
                "| sudo sh",
                "| sudo bash",
                "|sh",
                "|bash",
                "| python",
                "| sudo -E bash",
            ]
            .iter()
            .any(|pipe| rest.contains(pipe))
        })
    })?;
    Some(Finding::warning(
        "download-piped-to-shell",
        below(script, line),
        "what is downloaded is run unseen",
        "Download a version, check its sum, then run it; or use an image that has the tool",
    ))
}

fn password(script: &Spot) -> Option<Finding> {
    let line = script.text.lines().position(|line| {
        let login = [
            "docker login",
            "podman login",
            "buildah login",
            "helm registry login",
        ]
        .iter()
        .find_map(|login| line.find(login));
        login.is_some_and(|at| {
            let mut words = line[at..].split_whitespace();
            words.any(|word| word == "-p" || word == "--password" || word.starts_with("--password="))
        })
    })?;
    Some(Finding::warning(
        "password-on-command-line",
        below(script, line),
        "a password among arguments is seen by every process of the machine",
        "Hand it in: `printf '%s' \"$PASSWORD\" | docker login --username … --password-stdin`",
    ))
}

/// A line of a script: exact where the script begins on a line of its own.
pub(super) fn below(script: &Spot, line: usize) -> crate::yaml::Place {
    let block = script.text.contains('\n');
    crate::yaml::Place {
        line: script.at.line + line + usize::from(block),
        column: if line == 0 && !block { script.at.column } else { 1 },
    }
}

fn is_security(job: &JobFacts) -> bool {
    const NAMES: &[&str] = &[
        "security", "sast", "dast", "audit", "secret", "vuln", "trivy", "gitleaks", "snyk", "semgrep",
    ];
    const TOOLS: &[&str] = &[
        "trivy ",
        "gitleaks ",
        "snyk ",
        "semgrep ",
        "npm audit",
        "cargo audit",
        "cargo deny",
        "pip-audit",
        "govulncheck",
        "bandit ",
        "grype ",
        "osv-scanner",
        "bundler-audit",
        "composer audit",
        "checkov ",
        "tfsec",
    ];
    let named = |text: &str| NAMES.iter().any(|name| text.to_lowercase().contains(name));
    named(&job.id)
        || named(&job.stage)
        || job
            .scripts
            .iter()
            .any(|script| TOOLS.iter().any(|tool| script.text.contains(tool)))
}
