//! `rollback`: goes straight to a version that did well, and says why to that one.

use chrono::{DateTime, Utc};
use domain::{Error, ErrorKind, FollowOn, NewTask, Report};
use durable::{Cause, Handler, Stop, TaskCx};
use ports::{Commit, Deployment, DeploymentKind, DeploymentOutcome, LogEntry, RecordStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::act::{self, Act};
use crate::carry::Carrier;
use crate::goal::{Goal, Settled, with_aim};
use crate::ledger::{AtForge, LOOKED_THROUGH};
use crate::look::Look;
use crate::outside::Outside;
use crate::params::RollbackParams;
use crate::plan::{self, Place};
use crate::postmortem::{self, Facts};
use crate::report::{self, Told};
use crate::revert::{self, Bad, Opened};
use crate::settings::Revert;
use crate::story::Story;
use crate::strategy::StrategyName;
use crate::{asking, ledger, patience, target};

/// Rolls environments back.
pub struct Rollback {
    pub(crate) outside: Outside,
}

/// Who mends what cannot be rolled back, and by which type of task.
const BUILDER: &str = "builder";
const BUILDER_TASK: &str = "implement_fix";
pub(crate) const HOW: &str = "rollback";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Begun {
    goal: Goal,
    /// The deployment that is rolled back, where the log knows it.
    bad: Option<Deployment>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Ended {
    at: DateTime<Utc>,
    /// How it went back.
    lines: Vec<act::Line>,
}

impl Rollback {
    pub fn new(outside: Outside) -> Self {
        Self { outside }
    }
}

impl Handler for Rollback {
    const TASK_TYPES: &'static [&'static str] = &["rollback"];
    type Params = RollbackParams;

    fn parse(&self, payload: &Value) -> Result<RollbackParams, Error> {
        RollbackParams::read(payload)
    }

    async fn run(&self, cx: &TaskCx, params: &RollbackParams) -> Result<Report, Stop> {
        let settled: Settled = cx.step("plan", |_| self.settle(cx, params)).await?;
        let (place, goal) = (&settled.place, &settled.goal);
        if params.dry_run {
            return Ok(match (&goal.aim.version, &goal.unfit) {
                (None, _) => report::nowhere(place, &goal.aim.why),
                (_, Some(why)) => with_aim(report::unfit(place, &goal.plan, why), &goal.aim),
                _ => with_aim(report::planned(place, &goal.plan, &[]), &goal.aim),
            });
        }
        let goal = self.agreed(cx, &settled).await?;
        let Some(version) = &goal.aim.version else {
            return self.nowhere(cx, &settled, &goal).await;
        };
        let (id, kind) = (settled.id.clone(), DeploymentKind::Rollback);
        let how = match place.only_flag {
            true => plan::strategy_words(StrategyName::FeatureFlag),
            false => HOW,
        };
        let new = ledger::new(cx, id, place, kind, version, how, goal.commit.as_ref());
        ledger::write(cx, &self.outside, "asked", &[ledger::asked(new)]).await?;
        self.stop_others(cx, place).await?;
        let goal = self.locked(cx, place, goal.clone()).await?;
        let begun = self.begin(cx, &settled, &goal).await?;
        let lines = self.go(cx, place, version).await?;
        let ended = self.end(cx, &settled.id, begun.bad.as_ref(), lines).await?;
        // The forge comes last: what serves does not wait for it.
        let commit = self.commit(cx, place, version).await?;
        let at_forge = match &commit {
            Ok(commit) => {
                let (commit, running) = (commit.as_ref(), RecordStatus::Running);
                ledger::record_afterwards(cx, &self.outside, place, commit, running).await?
            }
            Err(error) => AtForge {
                record: None,
                why_not: Some(report::told_once(error)),
            },
        };
        let record = at_forge.record.as_ref();
        let success = RecordStatus::Success;
        let refused = ledger::update(cx, &self.outside, place, "record-end", record, success).await?;
        let commit = commit.ok().flatten().or(goal.commit);
        let revert = self.revert(cx, params, &settled, &begun, commit.as_ref()).await?;
        let told = Told {
            unrecorded: at_forge.why_not.or(refused),
            record_url: record.and_then(|record| record.url.clone()),
            ..Told::default()
        };
        Ok(done(
            cx,
            &self.outside,
            &settled,
            &begun,
            &ended,
            revert.as_ref(),
            &told,
        ))
    }

    /// Going back is not undone: what is bad is not brought out again.
    async fn unwind(&self, cx: &TaskCx, _: &RollbackParams, cause: &Cause) -> Result<Report, Stop> {
        let Some(settled) = cx.recorded::<Settled>("plan")? else {
            return Ok(cause.report());
        };
        let place = &settled.place;
        let begun = cx.recorded::<Begun>("start")?;
        if let (Some(begun), Some(ended)) = (&begun, cx.recorded::<Ended>("end")?) {
            return self.over_already(cx, &settled, begun, &ended, cause).await;
        }
        if cx.recorded::<Value>("asked")?.is_some() {
            let outcome = match cause {
                Cause::Cancelled => DeploymentOutcome::Cancelled,
                _ => DeploymentOutcome::Failed,
            };
            let ended = ledger::ended(settled.id.clone(), outcome, ledger::cause_words(cause));
            ledger::write(cx, &self.outside, "end", &[ended]).await?;
        }
        let Some(begun) = &begun else {
            return Ok(report::untouched(place, &settled.goal.plan.version, cause));
        };
        let look: Look = cx.step("left", |_| place.look(&self.outside)).await?;
        let why = ledger::cause_words(cause).unwrap_or_else(|| "it was cancelled".to_owned());
        Ok(report::left(
            place,
            &begun.goal.plan,
            &report::stands(&look),
            &why,
            report::is_by_hand(cause),
        ))
    }
}

fn done(
    cx: &TaskCx,
    outside: &Outside,
    settled: &Settled,
    begun: &Begun,
    ended: &Ended,
    revert: Option<&Opened>,
    told: &Told,
) -> Report {
    let (
        place,
        Goal {
            aim, plan, commit, ..
        },
    ) = (&settled.place, &begun.goal);
    let bad_sha = begun.bad.as_ref().and_then(|bad| bad.what.sha.as_deref());
    let shas = commit.as_ref().map(|good| good.sha.as_str()).zip(bad_sha);
    let changes = shas.and_then(|(good, bad)| outside.environments.comparison(&place.repo, good, bad));
    let facts = Facts {
        workload: place.environment.subject(),
        environment: &place.name,
        bad: begun.bad.as_ref(),
        bad_version: aim.bad.as_deref().filter(|bad| *bad != plan.version),
        target: Some(&plan.version),
        reason: &settled.reason,
        asked_at: Some(settled.asked_at),
        recovered_at: ended.at,
        story: &Story::of(&cx.history(), &[]),
        changes: changes.as_deref(),
        only_flag: place.only_flag,
        revert,
    };
    let draft = postmortem::draft(&facts);
    let told = report::rolled_back(place, plan, &ended.lines, &settled.reason, draft, told);
    with_aim(report::with_revert(told, revert), aim)
}

impl Rollback {
    /// What stopped it came when traffic was back and that was written down: only the forge's record is brought to an end.
    async fn over_already(
        &self,
        cx: &TaskCx,
        settled: &Settled,
        begun: &Begun,
        ended: &Ended,
        cause: &Cause,
    ) -> Result<Report, Stop> {
        let place = &settled.place;
        // Asked for whatever is known, so that every way of unwinding has the same steps.
        let commit = self.commit(cx, place, &begun.goal.plan.version).await?;
        let commit = commit.ok().flatten();
        let known = cx.recorded::<AtForge>("record")?.and_then(|made| made.record);
        let record = ledger::recorded(cx, &self.outside, place, commit.as_ref(), known).await?;
        let (record, success) = (record.as_ref(), RecordStatus::Success);
        let refused = ledger::update(cx, &self.outside, place, "record-end", record, success).await?;
        let told = Told {
            unrecorded: refused,
            record_url: record.and_then(|record| record.url.clone()),
            ..Told::default()
        };
        let report = done(cx, &self.outside, settled, begun, ended, None, &told);
        Ok(report::over_already(report, cause))
    }

    /// The commit behind the version that serves again.
    async fn commit(
        &self,
        cx: &TaskCx,
        place: &Place,
        version: &str,
    ) -> Result<Result<Option<Commit>, Error>, Stop> {
        if place.only_flag {
            return Ok(Ok(None));
        }
        let (outside, repo) = (&self.outside, &place.repo);
        ledger::at_the_forge(cx, "commit", |_| plan::commit(outside, repo, None, version)).await
    }

    /// Asks every deployment that is on its way there to undo itself and to let the lock go. One that hears of it only
    /// when it gets the lock sees by the log that a rollback was asked for after it.
    async fn stop_others(&self, cx: &TaskCx, place: &Place) -> Result<(), Stop> {
        cx.step("stop", |_| async move {
            let newest = self
                .outside
                .log
                .newest(&place.repo_id, &place.name, LOOKED_THROUGH)
                .await?;
            let on_its_way =
                |known: &&Deployment| known.what.kind == DeploymentKind::Deploy && known.outcome.is_none();
            for known in newest.iter().filter(on_its_way) {
                self.outside.cancels.cancel(&known.what.task_id).await?;
            }
            Ok(Value::Null)
        })
        .await
        .map(|_| ())
    }

    /// Opened once traffic is back: nothing waits for it.
    async fn revert(
        &self,
        cx: &TaskCx,
        params: &RollbackParams,
        settled: &Settled,
        begun: &Begun,
        commit: Option<&Commit>,
    ) -> Result<Option<Opened>, Stop> {
        let (place, Goal { aim, plan, .. }) = (&settled.place, &begun.goal);
        let usual = place.environment.rollback.revert == Revert::MergeRequest;
        if place.only_flag || !params.revert.unwrap_or(usual) {
            return Ok(None);
        }
        let bad = Bad {
            version: aim.bad.as_deref(),
            sha: begun.bad.as_ref().and_then(|bad| bad.what.sha.as_deref()),
            target: &plan.version,
            target_sha: commit.map(|commit| commit.sha.as_str()),
            reason: &settled.reason,
        };
        revert::open(cx, &self.outside, place, &bad).await.map(Some)
    }

    async fn begin(&self, cx: &TaskCx, settled: &Settled, goal: &Goal) -> Result<Begun, Stop> {
        let (aim, id) = (&goal.aim, settled.id.clone());
        cx.step("start", |idem| async move {
            let log = &self.outside.log;
            let newest = self.newest(&settled.place).await?;
            let bad = target::blamed(aim.bad.as_deref(), &newest).cloned();
            let bad = bad.filter(|bad| Some(&bad.what.version) != aim.version.as_ref());
            let previous = aim.bad.clone();
            log.write(
                &LogEntry::Started {
                    id: id.clone(),
                    previous,
                },
                &idem,
            );
            // What took itself back is blamed already.
            if let Some(bad) = bad.as_ref().filter(|bad| bad.failures.is_empty()) {
                let failure = LogEntry::Failure {
                    deployment: bad.what.id.clone(),
                    id,
                    cause: settled.reason.clone(),
                };
                log.write(&failure, &idem);
            }
            Ok(Begun {
                goal: goal.clone(),
                bad,
            })
        })
        .await
    }

    /// What failed because of the bad version is over, whoever wrote it down.
    async fn end(
        &self,
        cx: &TaskCx,
        id: &str,
        bad: Option<&Deployment>,
        lines: Vec<act::Line>,
    ) -> Result<Ended, Stop> {
        cx.step("end", |idem| async move {
            let log = &self.outside.log;
            if let Some(bad) = bad {
                let open = bad.failures.iter().filter(|known| known.recovered_at.is_none());
                for id in open.map(|known| known.id.as_str()).chain([id]) {
                    log.write(&LogEntry::Recovered { id: id.to_owned() }, &idem);
                }
            }
            log.write(
                &ledger::ended(id.to_owned(), DeploymentOutcome::Succeeded, None),
                &idem,
            );
            let at = log.now().await?;
            Ok(Ended { at, lines })
        })
        .await
    }

    /// Goes back from what stands now, again if a person says so.
    async fn go(&self, cx: &TaskCx, place: &Place, version: &str) -> Result<Vec<act::Line>, Stop> {
        for round in 0_u32.. {
            let toward = |look: &Look| match place.only_flag {
                true => Ok(vec![Act::Flag { percent: 0 }]),
                false => target::toward(look, version, &place.environment),
            };
            let (look, acts) = patience::look(cx, &self.outside, place, ("look", round), toward).await?;
            let error = match acts {
                Err(why) => Error::rejected(why),
                Ok(mut acts) => {
                    let lines = act::outline_back(&acts, &look.standing(), &place.environment);
                    acts.push(Act::Health);
                    let mut carrier = Carrier::new(cx, &self.outside, place, version, &look).back(round);
                    match carrier.carry(&acts).await {
                        Ok(()) => return Ok(lines),
                        Err(Stop::Fail(error)) if error.kind != ErrorKind::Conflict => error,
                        Err(stop) => return Err(stop),
                    }
                }
            };
            let why = report::told_once(&error);
            if !asking::to_undo_again(cx, place, round, &why).await? {
                return Err(Stop::Fail(error));
            }
        }
        Ok(Vec::new())
    }

    /// What is known of the version that has to be mended, for whoever mends it.
    async fn evidence(&self, cx: &TaskCx, settled: &Settled, bad: Option<&str>) -> Result<Value, Stop> {
        cx.step("evidence", |_| async move {
            let place = &settled.place;
            let newest = self.newest(place).await?;
            let brought = target::blamed(bad, &newest);
            let failures = brought.map(|known| {
                known
                    .failures
                    .iter()
                    .map(|failure| failure.cause.as_str())
                    .collect()
            });
            let failures: Vec<&str> = failures.unwrap_or_default();
            // Whoever mends it gets it also where the target does not answer.
            let stands = match place.look(&self.outside).await {
                Ok(look) => report::stands(&look),
                Err(error) => format!("not known: {}", report::told_once(&error)),
            };
            Ok(json!({
                "stands": stands,
                "deployed_by": brought.map(|known| &known.what.task_id),
                "commit": brought.and_then(|known| known.what.sha.as_deref()),
                "ended_because": brought.and_then(|known| known.cause.as_deref()),
                "failures": failures,
            }))
        })
        .await
    }

    /// Nothing to go back to: whoever mends code gets it. A first deployment that is on its way is stopped: its own undoing
    /// leaves nothing running.
    async fn nowhere(&self, cx: &TaskCx, settled: &Settled, goal: &Goal) -> Result<Report, Stop> {
        let (place, aim) = (&settled.place, &goal.aim);
        let mut told =
            report::nowhere(place, &aim.why).fact(report::DECISION, format!("hotfix task: {}", aim.why));
        if let Some(stopped) = &aim.stops {
            self.stop_others(cx, place).await?;
            // It holds it until it is undone.
            cx.lock_first(&place.lock()).await?;
            let look: Look = cx.step("left", |_| place.look(&self.outside)).await?;
            told = told
                .fact("Stopped", format!("task {stopped}, which took itself back"))
                .fact("Stands now", report::stands(&look));
        }
        let task = cx.task();
        let mut payload = json!({
            "instruction": format!(
                "{} in {} has to be mended by a new version: {}, and {}.",
                place.environment.subject(), place.name, settled.reason, aim.why
            ),
            "environment": place.name,
            "version": aim.bad,
            "reason": settled.reason,
            "evidence": self.evidence(cx, settled, aim.bad.as_deref()).await?,
        });
        if let (Some(payload), Some(given)) = (payload.as_object_mut(), task.payload.as_object()) {
            for inherited in ["repo_id", "project", "issue", "issue_iid", "merge_request"] {
                if let Some(value) = given.get(inherited) {
                    payload.insert(inherited.to_owned(), value.clone());
                }
            }
        }
        let hotfix = NewTask::new(BUILDER_TASK, payload)
            .assigned_to(BUILDER)
            .priority(task.priority)
            .repo(task.repo.as_ref().map(|repo| repo.id.clone()));
        let task_id = cx.spawn("hotfix", hotfix).await?;
        told.follow_ons.push(FollowOn {
            task_id,
            task_type: BUILDER_TASK.to_owned(),
            agent: Some(BUILDER.to_owned()),
            why: "make a version that mends it".to_owned(),
        });
        Ok(told)
    }
}
