//! Whose turn it is at an environment: the lock's holder asks before each change whether somebody wants something newer, and
//! hears of it while it waits.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{Error, Report, Span, Verdict};
use durable::{StepKey, Stop, TaskCx};
use ports::{Deployment, DeploymentKind, PAUSE_CHANGED, Paused};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outside::Outside;
use crate::part::Part;
use crate::settings::WhenNewer;

/// How the error of a deployment begins that makes way for a newer one.
pub(crate) const SUPERSEDED: &str = "superseded by";

/// By which signal a deployment that waits hears of a newer one. It says no more than that: the log says whether it counts.
pub(crate) const NEWER: &str = "newer";

/// What ends a wait early, on the way out.
const HEARD: &[&str] = &[NEWER, PAUSE_CHANGED];

/// What goes before the next change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Ahead {
    /// Somebody wants something newer, in words.
    Newer(String),
    /// A person wants it to stop where it is.
    Paused(Paused),
}

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

    /// Stops what somebody wants to be rolled back, or superseded where the environment's settings say so, and stands still
    /// as long as a person has paused it: the answer says for how long that was.
    pub(crate) async fn still_ours(&self, before: &str) -> Result<Duration, Stop> {
        let ahead: Option<Ahead> = self.cx.step(("turn", before), |_| self.ahead()).await?;
        self.yields(before, ahead).await
    }

    /// The same, and leaves it to the caller to stand still.
    pub(crate) async fn paused(&self, before: &str) -> Result<Option<Paused>, Stop> {
        let ahead: Option<Ahead> = self.cx.step(("turn", before), |_| self.ahead()).await?;
        unless_newer(ahead)
    }

    /// [`Turn::still_ours`] by what a step of the caller's found ahead.
    pub(crate) async fn yields(&self, before: &str, ahead: Option<Ahead>) -> Result<Duration, Stop> {
        match unless_newer(ahead)? {
            None => Ok(Duration::ZERO),
            Some(paused) => self.stand_still(before, paused).await,
        }
    }

    /// Until somebody lets it go on. Also then what goes before it does.
    pub(crate) async fn stand_still(&self, before: &str, mut paused: Paused) -> Result<Duration, Stop> {
        let log = &self.outside.log;
        let from: DateTime<Utc> = self.cx.step(("paused", before), |_| log.now()).await?;
        let mut told: Option<Paused> = None;
        for number in 0_u32.. {
            let words = words_of(&paused);
            // The signal of the pause itself may be heard after that was told. What was told twice before stays so.
            let key = || StepKey::from(("told-paused", before, number));
            if told.as_ref() != Some(&paused) || self.cx.recorded::<Value>(key())?.is_some() {
                self.cx.tell(key(), &self.told(Some(&paused), &words)).await?;
                told = Some(paused.clone());
            }
            let why = format!("for somebody to let it go on: {words}");
            self.cx
                .wait_for_any(("stands-still", before, number), &why, HEARD)
                .await?;
            let ahead: Option<Ahead> = self.cx.step(("turn", before, number), |_| self.ahead()).await?;
            match unless_newer(ahead)? {
                Some(still) => paused = still,
                None => break,
            }
        }
        let to: DateTime<Utc> = self.cx.step(("goes-on", before), |_| log.now()).await?;
        let stood = (to - from).to_std().unwrap_or_default();
        let words = format!("goes on after a pause of {}", whole(stood));
        self.cx
            .tell(("told-goes-on", before), &self.told(None, &words))
            .await?;
        Ok(stood)
    }

    fn told(&self, paused: Option<&Paused>, words: &str) -> Report {
        let verdict = paused.map_or(Verdict::Running, |_| Verdict::Waiting);
        let places: Vec<String> = self.parts.iter().map(|part| part.place.label()).collect();
        let mut told = Report::new(verdict, format!("{}: {words}", places.join(", ")));
        if verdict == Verdict::Waiting {
            let id = &self.cx.task().id;
            told = told
                .next_step(format!("`longshore tasks resume {id}` lets it go on"))
                .next_step(format!(
                    "`longshore tasks cancel {id}` takes back what was done so far"
                ));
        }
        if let Some(paused) = paused {
            told.who = Some(paused.by.clone());
        }
        if let [part] = self.parts {
            told.environment = Some(part.place.name.clone());
            told.version = Some(part.version.clone());
        }
        told
    }

    pub(crate) async fn ahead(&self) -> Result<Option<Ahead>, Error> {
        if let Some(newer) = self.newer().await? {
            return Ok(Some(Ahead::Newer(newer)));
        }
        let paused = self.outside.cancels.paused(&self.cx.task().id).await?;
        Ok(paused.map(Ahead::Paused))
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

    /// Lets a time pass, unless something newer that goes before it ends it at once. A person's pause stops the clock: the
    /// answer says for how long.
    pub(crate) async fn rest(
        &self,
        tag: &str,
        why: &str,
        span: Duration,
        quiet: bool,
    ) -> Result<Duration, Stop> {
        if span.is_zero() {
            return Ok(Duration::ZERO);
        }
        let log = &self.outside.log;
        let from: DateTime<Utc> = self.cx.step(("from", tag), |_| log.now()).await?;
        let (mut left, mut stood) = (span, Duration::ZERO);
        for number in 0_u32.. {
            if left.is_zero() {
                break;
            }
            let key = ("pause", tag, number);
            let woken = match quiet {
                true => self.cx.nap_or(key, why, left, HEARD).await?,
                false => self.cx.sleep_or(key, why, left, HEARD).await?,
            };
            if woken.is_none() {
                break;
            }
            stood += self.still_ours(&format!("{tag}-{number}")).await?;
            let now: DateTime<Utc> = self.cx.step(("rest", tag, number), |_| log.now()).await?;
            let passed = (now - from).to_std().unwrap_or_default();
            // What it stood still does not count.
            left = span.saturating_sub(passed.saturating_sub(stood));
        }
        Ok(stood)
    }

    /// Between two looks: whether the time passed; else something newer came, and is to be looked at.
    pub(crate) async fn napped(
        &self,
        key: impl Into<StepKey>,
        why: &str,
        span: Duration,
    ) -> Result<bool, Stop> {
        Ok(self.cx.nap_or(key, why, span, HEARD).await?.is_none())
    }
}

fn unless_newer(ahead: Option<Ahead>) -> Result<Option<Paused>, Stop> {
    match ahead {
        None => Ok(None),
        Some(Ahead::Paused(paused)) => Ok(Some(paused)),
        Some(Ahead::Newer(newer)) => Err(Stop::Fail(Error::rejected(format!("{SUPERSEDED} {newer}")))),
    }
}

fn words_of(paused: &Paused) -> String {
    match &paused.why {
        Some(why) => format!("paused by {}: {why}", paused.by),
        None => format!("paused by {}", paused.by),
    }
}

/// In whole seconds, the begun one with it.
pub(crate) fn whole(span: Duration) -> Span {
    Span::seconds(span.as_secs() + u64::from(span.subsec_nanos() > 0))
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
