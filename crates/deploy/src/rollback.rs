//! `rollback`: goes straight to a version that did well, and says why to that one.

use chrono::{DateTime, Utc};
use domain::{Error, ErrorKind, Report};
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
use crate::verify::{self, Verified};
use crate::{asking, ledger, patience, target};

/// Rolls environments back.
pub struct Rollback {
    pub(crate) outside: Outside,
}

pub(crate) const HOW: &str = "rollback";

/// Under this name it is recorded that a person left what serves again although that is not well.
const LEFT_UNWELL: &str = "left-unwell";

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
    #[serde(default)]
    verified: Option<Verified>,
}

impl Rollback {
    pub fn new(outside: Outside) -> Self {
        Self { outside }
    }
}

impl Handler for Rollback {
    const TASK_TYPES: &'static [&'static str] = &["rollback"];
    /// From 2 on it verifies what serves again.
    const VERSION: i32 = 2;
    const RESUMES: &'static [i32] = &[1, 2];
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
        let (lines, verified) = self.go(cx, &settled, version).await?;
        let ended = self.end(cx, &settled, &begun, lines, verified).await?;
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
        let unwell = cx.recorded::<String>(LEFT_UNWELL)?;
        if let (Some(begun), Some(lines), None) = (&begun, went_back(cx)?, &unwell) {
            let verified = Verified::not("it was stopped before that was known");
            let ended = self.end(cx, &settled, begun, lines, verified).await?;
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
        let (plan, by_hand) = (&begun.goal.plan, report::is_by_hand(cause));
        let mut told = report::left(place, plan, &report::stands(&look), &why, by_hand);
        if unwell.is_some() {
            told.summary = format!(
                "{} in {} was left as it is: {why}",
                place.environment.subject(),
                place.name
            );
        }
        Ok(told)
    }
}

/// A person said to leave what serves as it is, which is not well. What failed lasts.
async fn left_unwell(cx: &TaskCx, why: String) -> Stop {
    let said = &why;
    match cx.step(LEFT_UNWELL, |_| async move { Ok(said.clone()) }).await {
        Ok(why) => Stop::Fail(Error::rejected(why)),
        Err(stop) => stop,
    }
}

/// How it went back, as far as it did: what users get is what it went to.
fn went_back(cx: &TaskCx) -> Result<Option<Vec<act::Line>>, Stop> {
    let mut went = None;
    for time in 0_u32.. {
        match cx.recorded(("back", time))? {
            Some(lines) => went = Some(lines),
            None => break,
        }
    }
    Ok(went)
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
    let found = ended.verified.clone();
    let found = found.unwrap_or_else(Verified::by_an_older_program);
    let judged = found.judged(place, &plan.version);
    let told = &Told {
        judged: &judged,
        unrecorded: told.unrecorded.clone(),
        record_url: told.record_url.clone(),
        ..Told::default()
    };
    let told = report::rolled_back(place, plan, &ended.lines, &settled.reason, draft, told);
    let told = with_aim(report::with_revert(told, revert), aim);
    found.told(told, place, &plan.version)
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
    pub(crate) async fn stop_others(&self, cx: &TaskCx, place: &Place) -> Result<(), Stop> {
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
            if let Some(failure) = bad.as_ref().and_then(|bad| settled.failure_of(bad)) {
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
        settled: &Settled,
        begun: &Begun,
        lines: Vec<act::Line>,
        verified: Verified,
    ) -> Result<Ended, Stop> {
        let (log, id) = (&self.outside.log, &settled.id);
        let (lines, verified) = (&lines, &verified);
        cx.step("end", |idem| async move {
            let version = &begun.goal.plan.version;
            let since = verified.back_at();
            ledger::mended(&self.outside, &settled.place, id, version, since, &idem).await?;
            let ended = ledger::ended(id.clone(), DeploymentOutcome::Succeeded, None);
            log.write(&ended, &idem);
            Ok(Ended {
                at: match since {
                    Some(since) => since,
                    None => log.now().await?,
                },
                lines: lines.clone(),
                verified: Some(verified.clone()),
            })
        })
        .await
    }

    /// Goes back from what stands now and verifies what serves then, again if a person says so.
    async fn go(
        &self,
        cx: &TaskCx,
        settled: &Settled,
        version: &str,
    ) -> Result<(Vec<act::Line>, Verified), Stop> {
        let place = &settled.place;
        let (mut went, mut times, mut round) = (Vec::new(), 0_u32, 0_u32);
        loop {
            let toward = |look: &Look| match place.only_flag {
                true => Ok(vec![Act::Flag { percent: 0 }]),
                false => target::toward(look, version, &place.environment),
            };
            let (look, acts) = patience::look(cx, &self.outside, place, ("look", round), toward).await?;
            let error = match acts {
                Err(why) => Error::rejected(why),
                Ok(mut acts) => {
                    let lines = act::outline_back(&acts, &look.standing(), &place.environment);
                    if !settled.verifies {
                        acts.push(Act::Health);
                    }
                    let mut carrier = Carrier::new(cx, &self.outside, place, version, &look).back(round);
                    match carrier.carry(&acts).await {
                        Ok(()) if !settled.verifies => {
                            return Ok((lines, Verified::by_an_older_program()));
                        }
                        Ok(()) => {
                            went.extend(lines);
                            let so_far = &went;
                            let _: Value = cx
                                .step(("back", times), |_| async move { Ok(json!(so_far)) })
                                .await?;
                            times += 1;
                            let verified = carrier.verify().await?;
                            let Some(why) = verified.unwell() else {
                                return Ok((went, verified));
                            };
                            let again = verify::again(place, version);
                            if !asking::to_verify_again(cx, place, round, &again, why).await? {
                                let why = format!("{again} and is not well: {why}");
                                return Err(left_unwell(cx, why).await);
                            }
                            round += 1;
                            continue;
                        }
                        Err(Stop::Fail(error)) if error.kind != ErrorKind::Conflict => error,
                        Err(stop) => return Err(stop),
                    }
                }
            };
            let why = report::told_once(&error);
            if !asking::to_undo_again(cx, place, round, &why).await? {
                return Err(match times {
                    0 => Stop::Fail(error),
                    _ => left_unwell(cx, why).await,
                });
            }
            round += 1;
        }
    }
}
