//! From diagnoses to a decision; pure.

use ports::{FlakeVerdict, Job};
use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::diagnose::{Class, Diagnosis, Kind, Retry};

/// A failed job and what its log says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Finding {
    /// Absent for a log given inline.
    pub(crate) job: Option<Job>,
    pub(crate) diagnosis: Diagnosis,
    /// Earlier verdicts on the same job and commit that led to a retry.
    pub(crate) retried_before: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum Decision {
    /// Run the failed jobs again, after a pause where a quota has to refill.
    Retry { later: bool },
    /// Hand the code to the builder.
    HandOver,
    /// A person must act; the text says why nothing was done.
    Ask { why: String },
    /// Nothing failed.
    Nothing,
}

/// The finding that explains the failure best: blocking jobs first, then those with a cause, then the earliest.
pub(crate) fn root(findings: &[Finding]) -> Option<&Finding> {
    findings.iter().min_by_key(|finding| {
        let allowed = finding.job.as_ref().is_some_and(|job| job.allow_failure);
        (
            allowed,
            !finding.diagnosis.cause_found(),
            finding.diagnosis.retryable(),
        )
    })
}

/// A retry mends a pipeline only when every job that blocks it may pass at another try: one real failure among
/// them, and a retry would only hide it for a while. `unread`: blocking jobs that nobody looked at.
pub(crate) fn decide(findings: &[Finding], unread: usize, config: &Config, may_retry: bool) -> Decision {
    let Some(root) = root(findings) else {
        return Decision::Nothing;
    };
    if root.diagnosis.class == Class::Success {
        return Decision::Nothing;
    }
    let diagnosis = &root.diagnosis;
    let sure = diagnosis.confidence >= config.sure_enough;
    let blocking: Vec<&Finding> = findings
        .iter()
        .filter(|finding| finding.job.as_ref().is_none_or(|job| !job.allow_failure))
        .collect();
    let retryable = |finding: &&Finding| {
        finding.diagnosis.retryable()
            && finding.diagnosis.confidence >= config.sure_enough
            && finding.job.is_some()
    };
    if unread == 0 && !blocking.is_empty() && blocking.iter().all(retryable) {
        if !may_retry {
            return ask("running it again may help, but the task says not to");
        }
        return match blocking.iter().find(|finding| finding.retried_before > 0) {
            None => Decision::Retry {
                later: blocking
                    .iter()
                    .any(|finding| finding.diagnosis.retry == Retry::Later),
            },
            // It failed again: what looked flaky may be a regression.
            Some(again) if again.diagnosis.kind() == Kind::Flaky => Decision::HandOver,
            Some(_) => ask(
                "the same job failed for the same commit after a retry, so another one would only hide it",
            ),
        };
    }
    match diagnosis.kind() {
        Kind::Code if sure => Decision::HandOver,
        Kind::Code => ask("the log points at the code, but not surely enough to hand it on"),
        Kind::Configuration => ask("settings, rights or names must change, which a person decides"),
        Kind::Unknown => ask("the cause is not in this log"),
        Kind::Flaky | Kind::Infrastructure if root.job.is_none() && diagnosis.retryable() => {
            ask("running it again may help, but a log alone names no job to run")
        }
        Kind::Flaky | Kind::Infrastructure if diagnosis.retryable() => {
            ask("running it again may help, but not every failed job of the pipeline can pass by that")
        }
        Kind::Flaky | Kind::Infrastructure => {
            ask("the machinery around the build failed, and running it again would fail the same way")
        }
        Kind::Passed => Decision::Nothing,
    }
}

fn ask(why: &str) -> Decision {
    Decision::Ask { why: why.to_owned() }
}

/// Retries of this job for this commit that were asked for before.
pub(crate) fn retried_before(history: &[FlakeVerdict], sha: &str) -> u32 {
    let count = history
        .iter()
        .filter(|verdict| verdict.retried && verdict.sha == sha)
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
