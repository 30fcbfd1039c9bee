//! What is written down of a deployment: in the log, and at the forge.

use domain::Error;
use durable::{Cause, Reconciled, Stop, TaskCx};
use ports::{
    Commit, DeploymentKind, DeploymentOutcome, LogEntry, NewDeployment, NewRecord, RecordRef, RecordStatus,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outside::Outside;
use crate::plan::Place;
use crate::report::told_once;

/// The forge's record of a deployment, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AtForge {
    pub(crate) record: Option<RecordRef>,
    pub(crate) why_not: Option<String>,
}

pub(crate) fn new(
    cx: &TaskCx,
    id: String,
    place: &Place,
    kind: DeploymentKind,
    version: &str,
    strategy: &str,
    commit: Option<&Commit>,
) -> NewDeployment {
    NewDeployment {
        id,
        task_id: cx.task().id.clone(),
        repo_id: place.repo_id.clone(),
        environment: place.name.clone(),
        workload: place.environment.workload.clone(),
        kind,
        version: version.to_owned(),
        strategy: strategy.to_owned(),
        git_ref: commit.map(|commit| commit.git_ref.clone()),
        sha: commit.map(|commit| commit.sha.clone()),
        committed_at: commit.map(|commit| commit.at),
    }
}

/// A step that writes entries and does nothing else.
pub(crate) async fn write(
    cx: &TaskCx,
    outside: &Outside,
    key: &str,
    entries: &[LogEntry],
) -> Result<(), Stop> {
    cx.step(key, |idem| async move {
        for entry in entries {
            outside.log.write(entry, &idem);
        }
        Ok(Value::Null)
    })
    .await
    .map(|_| ())
}

/// Makes the forge's record. What the forge refuses is told at the end: a deployment does not fail for its record.
pub(crate) async fn record(
    cx: &TaskCx,
    outside: &Outside,
    place: &Place,
    commit: Option<&Commit>,
    status: RecordStatus,
) -> Result<AtForge, Stop> {
    let Some(new) = commit.map(|commit| of(place, commit, status)) else {
        return Ok(AtForge {
            record: None,
            why_not: Some("the forge knows no commit of this version".to_owned()),
        });
    };
    let (new, repo, environments) = (&new, &place.repo, &outside.environments);
    let made = cx
        .effect("record")
        .reconcile(|idem| async move {
            let found = environments.find(repo, new, &idem).await?;
            Ok(found.map_or(Reconciled::Absent, Reconciled::Found))
        })
        .run(|idem| async move { environments.create(repo, new, &idem).await })
        .await;
    match made {
        Ok(record) => Ok(AtForge {
            record: Some(record),
            why_not: None,
        }),
        Err(Stop::Fail(error)) => Ok(AtForge {
            record: None,
            why_not: Some(told_once(&error)),
        }),
        Err(stop) => Err(stop),
    }
}

fn of(place: &Place, commit: &Commit, status: RecordStatus) -> NewRecord {
    NewRecord {
        environment: place.name.clone(),
        sha: commit.sha.clone(),
        git_ref: commit.git_ref.clone(),
        is_tag: commit.is_tag,
        status,
    }
}

/// The record that the run made, or may have made. A step whatever is known, so that every way of unwinding has it.
pub(crate) async fn recorded(
    cx: &TaskCx,
    outside: &Outside,
    place: &Place,
    commit: Option<&Commit>,
) -> Result<Option<RecordRef>, Stop> {
    let (known, in_doubt) = (cx.recorded("record"), cx.is_in_doubt("record"));
    let found = cx
        .step("record", |idem| async move {
            match commit.filter(|_| in_doubt) {
                Some(commit) => {
                    let new = of(place, commit, RecordStatus::Running);
                    outside.environments.find(&place.repo, &new, &idem).await
                }
                None => Ok(known),
            }
        })
        .await;
    match found {
        // What the forge does not tell is told at the end, and stops nothing.
        Err(Stop::Fail(_)) => Ok(None),
        found => found,
    }
}

/// Brings the record to a status; what the forge refuses is told, and stops nothing.
pub(crate) async fn update(
    cx: &TaskCx,
    outside: &Outside,
    place: &Place,
    key: &str,
    record: Option<&RecordRef>,
    status: RecordStatus,
) -> Result<Option<String>, Stop> {
    let Some(record) = record else {
        return Ok(None);
    };
    let updated = cx
        .step(key, |_| async move {
            outside.environments.update(&place.repo, record, status).await?;
            Ok(Value::Null)
        })
        .await;
    match updated {
        Ok(_) => Ok(None),
        Err(Stop::Fail(error)) => Ok(Some(told_once(&error))),
        Err(stop) => Err(stop),
    }
}

pub(crate) fn asked(new: NewDeployment) -> LogEntry {
    LogEntry::Asked(new)
}

pub(crate) fn ended(id: String, outcome: DeploymentOutcome, cause: Option<String>) -> LogEntry {
    LogEntry::Ended { id, outcome, cause }
}

/// The failure that a deployment is blamed for by itself.
pub(crate) fn failure_id(deployment: &str) -> String {
    format!("{deployment}/rollout")
}

pub(crate) fn failure(deployment: &str, error: &Error) -> LogEntry {
    LogEntry::Failure {
        deployment: deployment.to_owned(),
        id: failure_id(deployment),
        cause: told_once(error),
    }
}

pub(crate) fn cause_words(cause: &Cause) -> Option<String> {
    cause.error().map(told_once)
}
