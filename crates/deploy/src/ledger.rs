//! What is written down of a deployment: in the log, and at the forge.

use std::future::Future;
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{Error, Idem, TaskId};
use durable::{Cause, Reconciled, Stop, TaskCx};
use ports::{
    Commit, Deployment, DeploymentKind, DeploymentOutcome, LogEntry, NewDeployment, NewRecord, RecordRef,
    RecordStatus,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outside::Outside;
use crate::plan::Place;
use crate::report::told_once;
use crate::target;

/// How many of an environment's deployments are looked through.
pub(crate) const LOOKED_THROUGH: u32 = 100;

/// How often a forge that does not answer is asked where nothing may fail for it, and how long lies between.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(5);

/// The forge's record of a deployment, or why there is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct AtForge {
    pub(crate) record: Option<RecordRef>,
    pub(crate) why_not: Option<String>,
}

/// A deployment's name in the log. A task that is tried anew after its end is another deployment.
pub(crate) fn id(task: &TaskId, service: Option<&str>, earlier: usize) -> String {
    let again = match earlier {
        0 => String::new(),
        earlier => format!("#{}", earlier + 1),
    };
    match service {
        Some(service) => format!("{task}{again}/{service}"),
        None => format!("{task}{again}"),
    }
}

/// How often this task has ended there before.
pub(crate) async fn earlier(cx: &TaskCx, outside: &Outside, place: &Place) -> Result<usize, Error> {
    let newest = outside
        .log
        .newest(&place.repo_id, &place.name, LOOKED_THROUGH)
        .await?;
    let ours = |known: &&Deployment| known.what.task_id == cx.task().id && known.outcome.is_some();
    Ok(newest.iter().filter(ours).count())
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
        workload: place.environment.subject().to_owned(),
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
        return Ok(AtForge::without("the forge knows no commit of this version"));
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
        Ok(record) => Ok(AtForge::with(record)),
        Err(Stop::Fail(error)) => Ok(AtForge::without(told_once(&error))),
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

/// The same for what serves already: it fails for no record, and waits for none.
pub(crate) async fn record_afterwards(
    cx: &TaskCx,
    outside: &Outside,
    place: &Place,
    commit: Option<&Commit>,
    status: RecordStatus,
) -> Result<AtForge, Stop> {
    let Some(new) = commit.map(|commit| of(place, commit, status)) else {
        return Ok(AtForge::without("the forge knows no commit of this version"));
    };
    let (new, repo, environments) = (&new, &place.repo, &outside.environments);
    cx.effect("record")
        .reconcile(|idem| async move {
            Ok(match environments.find(repo, new, &idem).await {
                Ok(Some(found)) => Reconciled::Found(AtForge::with(found)),
                Ok(None) => Reconciled::Absent,
                Err(error) => Reconciled::Found(AtForge::without(told_once(&error))),
            })
        })
        .run(|idem| async move {
            let error = match environments.create(repo, new, &idem).await {
                Ok(made) => return Ok(AtForge::with(made)),
                Err(error) => error,
            };
            // Only the answer may have got lost.
            let found = match error.is_transient() {
                true => environments.find(repo, new, &idem).await.ok().flatten(),
                false => None,
            };
            Ok(found.map_or_else(|| AtForge::without(told_once(&error)), AtForge::with))
        })
        .await
}

impl AtForge {
    fn with(record: RecordRef) -> Self {
        Self {
            record: Some(record),
            why_not: None,
        }
    }

    fn without(why: impl Into<String>) -> Self {
        Self {
            record: None,
            why_not: Some(why.into()),
        }
    }
}

/// The record that the run made, or may have made. A step whatever is known, so that every way of unwinding has it.
pub(crate) async fn recorded(
    cx: &TaskCx,
    outside: &Outside,
    place: &Place,
    commit: Option<&Commit>,
    known: Option<RecordRef>,
) -> Result<Option<RecordRef>, Stop> {
    let in_doubt = cx.is_in_doubt("record");
    let (known, sought) = (&known, &commit.filter(|_| in_doubt));
    let found = at_the_forge(cx, "record", |idem| async move {
        match sought {
            Some(commit) => {
                let new = of(place, commit, RecordStatus::Running);
                outside.environments.find(&place.repo, &new, &idem).await
            }
            None => Ok(known.clone()),
        }
    });
    // What the forge does not tell stops nothing.
    Ok(found.await?.ok().flatten())
}

/// Brings the record to a status; what the forge refuses, or does not answer, is told and stops nothing.
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
    let updated = at_the_forge(cx, key, |_| async move {
        outside.environments.update(&place.repo, record, status).await?;
        Ok(Value::Null)
    });
    Ok(updated.await?.err().map(|error| told_once(&error)))
}

/// What one try at the forge gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Tried<T> {
    Answered(T),
    /// It may be there again in a moment.
    Away(Error),
}

/// Something that is wanted of the forge, and for which nothing fails: while it does not answer it is tried again, but
/// not for long.
pub(crate) async fn at_the_forge<T, F, Fut>(
    cx: &TaskCx,
    key: &str,
    wanted: F,
) -> Result<Result<T, Error>, Stop>
where
    T: Serialize + DeserializeOwned,
    F: Fn(Idem) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    for tried in 1.. {
        let wanted = &wanted;
        let answer: Result<Tried<T>, Stop> = cx
            .step((key, tried), |idem| async move {
                match wanted(idem).await {
                    Ok(value) => Ok(Tried::Answered(value)),
                    Err(error) if error.is_transient() => Ok(Tried::Away(error)),
                    Err(error) => Err(error),
                }
            })
            .await;
        match answer {
            Ok(Tried::Answered(value)) => return Ok(Ok(value)),
            Ok(Tried::Away(error)) if tried >= TRIES => return Ok(Err(error)),
            Ok(Tried::Away(_)) => {
                cx.nap(("forge-away", key, tried), "for the forge to answer", BETWEEN)
                    .await?
            }
            Err(Stop::Fail(error)) => return Ok(Err(error)),
            Err(stop) => return Err(stop),
        }
    }
    Ok(Err(Error::internal(format!("{key} was tried for ever"))))
}

pub(crate) fn asked(new: NewDeployment) -> LogEntry {
    LogEntry::Asked(new)
}

pub(crate) fn ended(id: String, outcome: DeploymentOutcome, cause: Option<String>) -> LogEntry {
    LogEntry::Ended { id, outcome, cause }
}

/// How the name of a failure ends that a deployment found by itself.
pub(crate) const BY_ITSELF: &str = "/rollout";

/// The failure that a deployment is blamed for by itself.
pub(crate) fn failure_id(deployment: &str) -> String {
    format!("{deployment}{BY_ITSELF}")
}

pub(crate) fn failure(deployment: &str, error: &Error) -> LogEntry {
    LogEntry::Failure {
        deployment: deployment.to_owned(),
        id: failure_id(deployment),
        cause: told_once(error),
    }
}

/// A version that does well is out: what failed because of others there is over.
pub(crate) async fn mended(
    outside: &Outside,
    place: &Place,
    id: &str,
    version: &str,
    since: Option<DateTime<Utc>>,
    idem: &Idem,
) -> Result<(), Error> {
    let newest = outside
        .log
        .newest(&place.repo_id, &place.name, LOOKED_THROUGH)
        .await?;
    for failure in target::mended_by(id, version, &target::of_place(place, newest)) {
        let id = failure.id.clone();
        outside.log.write(&LogEntry::Recovered { id, at: since }, idem);
    }
    Ok(())
}

pub(crate) fn cause_words(cause: &Cause) -> Option<String> {
    cause.error().map(told_once)
}
