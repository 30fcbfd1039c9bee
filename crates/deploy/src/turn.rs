//! Whose turn it is at an environment: the lock's holder asks before each change whether somebody wants something newer, and
//! hears of it while it waits.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::Error;
use durable::{StepKey, Stop, TaskCx};
use ports::{Deployment, DeploymentKind};
use serde_json::Value;

use crate::outside::Outside;
use crate::part::Part;
use crate::settings::WhenNewer;

/// How the error of a deployment begins that makes way for a newer one.
pub(crate) const SUPERSEDED: &str = "superseded by";

/// By which signal a deployment that waits hears of a newer one. It says no more than that: the log says whether it counts.
pub(crate) const NEWER: &str = "newer";

/// How many of an environment's deployments are looked through.
const LOOKED_THROUGH: u32 = 100;

/// The environments that a deployment changes, as long as it is its turn there.
#[derive(Clone, Copy)]
pub(crate) struct Turn<'a> {
    cx: &'a TaskCx,
    outside: &'a Outside,
    parts: &'a [Part],
    /// What is out and only watched gives way to a rollback alone: the newer version waits for the rest of the watch.
    only_watched: bool,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(cx: &'a TaskCx, outside: &'a Outside, parts: &'a [Part]) -> Self {
        Self {
            cx,
            outside,
            parts,
            only_watched: false,
        }
    }

    /// The same for who works in a scope of its own.
    pub(crate) fn within(self, cx: &'a TaskCx) -> Self {
        Self { cx, ..self }
    }

    pub(crate) fn watched(self, only_watched: bool) -> Self {
        Self { only_watched, ..self }
    }

    /// Stops what somebody wants to be rolled back, or superseded where the environment's settings say so.
    pub(crate) async fn still_ours(&self, before: &str) -> Result<(), Stop> {
        let newer: Option<String> = self.cx.step(("turn", before), |_| self.newer()).await?;
        match newer {
            None => Ok(()),
            Some(newer) => Err(Stop::Fail(Error::rejected(format!("{SUPERSEDED} {newer}")))),
        }
    }

    async fn newer(&self) -> Result<Option<String>, Error> {
        for part in self.parts {
            let when_newer = match self.only_watched {
                true => WhenNewer::Queue,
                false => part.place.environment.when_newer,
            };
            let newest = self.newest(part).await?;
            let ours = part.id(&self.cx.task().id);
            if let Some(newer) = newer(&newest, &ours, when_newer) {
                return Ok(Some(words(newer)));
            }
        }
        Ok(None)
    }

    async fn newest(&self, part: &Part) -> Result<Vec<Deployment>, Error> {
        let place = &part.place;
        let log = &self.outside.log;
        log.newest(&place.repo_id, &place.name, LOOKED_THROUGH).await
    }

    /// Tells deployments that were asked for earlier, and may wait for a person, that there is a newer one now.
    pub(crate) async fn make_way(&self) -> Result<(), Stop> {
        let supersedes = |part: &&Part| part.place.environment.when_newer == WhenNewer::Supersede;
        let parts: Vec<&Part> = self.parts.iter().filter(supersedes).collect();
        if parts.is_empty() {
            return Ok(());
        }
        let told = self.cx.step("make-way", |_| async {
            for part in parts {
                let ours = part.id(&self.cx.task().id);
                for older in older(&self.newest(part).await?, &ours) {
                    self.outside.cancels.signal(&older.what.task_id, NEWER).await?;
                }
            }
            Ok(Value::Null)
        });
        told.await.map(|_| ())
    }

    /// Lets a time pass, unless something newer that goes before it ends it at once.
    pub(crate) async fn rest(&self, tag: &str, why: &str, span: Duration, quiet: bool) -> Result<(), Stop> {
        if span.is_zero() {
            return Ok(());
        }
        let log = &self.outside.log;
        let from: DateTime<Utc> = self.cx.step(("from", tag), |_| log.now()).await?;
        let mut left = span;
        for number in 0_u32.. {
            if left.is_zero() {
                break;
            }
            let key = ("pause", tag, number);
            let woken = match quiet {
                true => self.cx.nap_or(key, why, left, &[NEWER]).await?,
                false => self.cx.sleep_or(key, why, left, &[NEWER]).await?,
            };
            if woken.is_none() {
                break;
            }
            self.still_ours(&format!("{tag}-{number}")).await?;
            let now: DateTime<Utc> = self.cx.step(("rest", tag, number), |_| log.now()).await?;
            left = span.saturating_sub((now - from).to_std().unwrap_or_default());
        }
        Ok(())
    }

    /// Between two looks: whether the time passed; else something newer came, and is to be looked at.
    pub(crate) async fn napped(
        &self,
        key: impl Into<StepKey>,
        why: &str,
        span: Duration,
    ) -> Result<bool, Stop> {
        Ok(self.cx.nap_or(key, why, span, &[NEWER]).await?.is_none())
    }
}

/// What was asked for before `ours` and is not over.
fn older<'a>(newest_first: &'a [Deployment], ours: &str) -> impl Iterator<Item = &'a Deployment> {
    let before = newest_first.iter().skip_while(move |known| known.what.id != ours);
    before
        .skip(1)
        .filter(|known| known.what.kind == DeploymentKind::Deploy && known.outcome.is_none())
}

/// What was asked for after `ours`, is not over, and goes before it. A rollback always does.
fn newer<'a>(newest_first: &'a [Deployment], ours: &str, when_newer: WhenNewer) -> Option<&'a Deployment> {
    newest_first
        .iter()
        .take_while(|known| known.what.id != ours)
        .filter(|known| known.outcome.is_none())
        .find(|known| known.what.kind == DeploymentKind::Rollback || when_newer == WhenNewer::Supersede)
}

fn words(newer: &Deployment) -> String {
    let what = match newer.what.kind {
        DeploymentKind::Deploy => format!("the deployment of {}", newer.what.version),
        DeploymentKind::Rollback => "a rollback".to_owned(),
    };
    format!("{what} (task {})", newer.what.task_id)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use chrono::DateTime;
    use ports::{DeploymentOutcome, NewDeployment};

    pub(crate) fn deployment(
        id: &str,
        kind: DeploymentKind,
        outcome: Option<DeploymentOutcome>,
    ) -> Deployment {
        Deployment {
            what: NewDeployment {
                id: id.to_owned(),
                task_id: id.into(),
                repo_id: "shop".to_owned(),
                environment: "staging".to_owned(),
                workload: "shop".to_owned(),
                kind,
                version: "v2".to_owned(),
                strategy: "rolling".to_owned(),
                git_ref: None,
                sha: None,
                committed_at: None,
            },
            previous: None,
            asked_at: DateTime::UNIX_EPOCH,
            started_at: None,
            reached_at: None,
            ended_at: None,
            outcome,
            cause: None,
            failures: Vec::new(),
        }
    }

    #[test]
    fn only_what_is_newer_unfinished_and_may_goes_before() {
        use DeploymentKind::{Deploy, Rollback};
        let found = |list: &[Deployment], when| newer(list, "ours", when).map(|d| d.what.id.clone());
        let ours = || deployment("ours", Deploy, None);
        let list = [
            deployment("new", Deploy, None),
            ours(),
            deployment("old", Rollback, None),
        ];
        assert_eq!(found(&list, WhenNewer::Queue), None);
        assert_eq!(found(&list, WhenNewer::Supersede).as_deref(), Some("new"));
        let list = [deployment("back", Rollback, None), ours()];
        assert_eq!(found(&list, WhenNewer::Queue).as_deref(), Some("back"));
        let over = Some(DeploymentOutcome::Cancelled);
        let list = [deployment("new", Deploy, over), ours()];
        assert_eq!(found(&list, WhenNewer::Supersede), None);
    }

    #[test]
    fn what_is_older_and_unfinished_is_told_and_a_rollback_is_not() {
        use DeploymentKind::{Deploy, Rollback};
        let over = Some(DeploymentOutcome::Failed);
        let list = [
            deployment("new", Deploy, None),
            deployment("ours", Deploy, None),
            deployment("back", Rollback, None),
            deployment("over", Deploy, over),
            deployment("old", Deploy, None),
        ];
        let told: Vec<_> = older(&list, "ours").map(|known| known.what.id.as_str()).collect();
        assert_eq!(told, ["old"]);
        assert_eq!(older(&list, "unknown").count(), 0);
    }
}
