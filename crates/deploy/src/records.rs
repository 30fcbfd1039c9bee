//! From the log of deployments to the records that DORA's figures are counted of; pure.

use chrono::{DateTime, Utc};
use ports::{Deployment, DeploymentKind, DeploymentOutcome, Failure};

use crate::dora;

/// Everything in the log as records, in its order. `log` holds at least all deployments to the environments in question
/// whose failures were open in the time that is looked at.
pub fn of_log(log: &[Deployment]) -> Vec<dora::Deployment> {
    log.iter().map(|known| record(known, log)).collect()
}

fn record(known: &Deployment, log: &[Deployment]) -> dora::Deployment {
    let what = &known.what;
    let because_of: Vec<String> = others(known, log)
        .filter(|failure| is_reason(known, failure))
        .map(|failure| failure.id.clone())
        .collect();
    dora::Deployment {
        id: what.id.clone(),
        task_id: what.task_id.to_string(),
        repo: what.repo_id.clone(),
        environment: what.environment.clone(),
        version: what.version.clone(),
        // What has no commit is told apart by its version.
        commit: what.sha.clone().unwrap_or_else(|| what.version.clone()),
        commit_time: what.committed_at,
        started: began(known),
        finished: known.ended_at,
        outcome: outcome(known),
        kind: match what.kind {
            DeploymentKind::Rollback => dora::DeploymentKind::Rollback,
            DeploymentKind::Deploy if known.previous.as_ref() == Some(&what.version) => {
                dora::DeploymentKind::Redeploy
            }
            DeploymentKind::Deploy if !because_of.is_empty() => dora::DeploymentKind::Hotfix,
            DeploymentKind::Deploy => dora::DeploymentKind::Deploy,
        },
        because_of,
        incidents: known.failures.iter().map(incident).collect(),
    }
}

/// What is left broken was reached like what was taken back; what failed before anybody was reached is none of both.
fn outcome(known: &Deployment) -> dora::DeploymentOutcome {
    let reached = known.reached_at.is_some();
    match known.outcome {
        None => dora::DeploymentOutcome::Running,
        Some(DeploymentOutcome::Succeeded) => dora::DeploymentOutcome::Succeeded,
        Some(DeploymentOutcome::RolledBack | DeploymentOutcome::Failed) if reached => {
            dora::DeploymentOutcome::RolledBack
        }
        Some(DeploymentOutcome::RolledBack | DeploymentOutcome::Failed) => {
            dora::DeploymentOutcome::FailedBefore
        }
        // A rollback cancels what is on its way and blames it: it was taken back.
        Some(DeploymentOutcome::Cancelled | DeploymentOutcome::Superseded)
            if reached && !known.failures.is_empty() =>
        {
            dora::DeploymentOutcome::RolledBack
        }
        Some(DeploymentOutcome::Cancelled | DeploymentOutcome::Superseded) => {
            dora::DeploymentOutcome::Cancelled
        }
    }
}

fn began(known: &Deployment) -> DateTime<Utc> {
    known.started_at.unwrap_or(known.asked_at)
}

/// Failures of other deployments to the same environment.
fn others<'a>(known: &'a Deployment, log: &'a [Deployment]) -> impl Iterator<Item = &'a Failure> {
    let same = move |of: &&Deployment| {
        of.what.id != known.what.id
            && of.what.repo_id == known.what.repo_id
            && of.what.environment == known.what.environment
    };
    log.iter().filter(same).flat_map(|of| &of.failures)
}

/// A deployment that was asked for after something failed, and began before that was over, was not planned. A rollback
/// writes down what failed as it begins.
fn is_reason(known: &Deployment, failure: &Failure) -> bool {
    let wanted = match known.what.kind {
        DeploymentKind::Deploy => known.asked_at,
        DeploymentKind::Rollback => began(known),
    };
    let open = failure.recovered_at.is_none_or(|over| over > began(known));
    failure.began_at <= wanted && open
}

fn incident(failure: &Failure) -> dora::Incident {
    dora::Incident {
        id: failure.id.clone(),
        detected: failure.began_at,
        recovered: failure.recovered_at,
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
