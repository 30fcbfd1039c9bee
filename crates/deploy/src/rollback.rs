//! `rollback`: goes straight to a version that did well, and says why to that one.

use chrono::{DateTime, Utc};
use domain::{Error, ErrorKind, FollowOn, NewTask, Report};
use durable::{Cause, Handler, Stop, TaskCx};
use ports::{Commit, Deployment, DeploymentKind, DeploymentOutcome, LogEntry, RecordStatus};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::act::{self, Act};
use crate::carry::Carrier;
use crate::course::Kind;
use crate::look::Look;
use crate::outside::Outside;
use crate::params::RollbackParams;
use crate::plan::{self, Place, Plan};
use crate::postmortem::{self, Facts};
use crate::report::{self, Told};
use crate::revert::{self, Bad, Opened};
use crate::settings::Revert;
use crate::strategy::StrategyName;
use crate::target::{self, Aim};
use crate::{asking, ledger};

/// Rolls environments back.
pub struct Rollback {
    outside: Outside,
}

/// Who mends what cannot be rolled back, and by which type of task.
const BUILDER: &str = "builder";
const BUILDER_TASK: &str = "implement_fix";
const HOW: &str = "rollback";
/// How many of an environment's deployments are looked through.
const LOOKED_THROUGH: u32 = 100;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settled {
    place: Place,
    aim: Aim,
    plan: Plan,
    commit: Option<Commit>,
    reason: String,
    asked_at: DateTime<Utc>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Begun {
    /// The deployment that is rolled back, where the log knows it.
    bad: Option<Deployment>,
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
        let Settled {
            place,
            aim,
            plan,
            commit,
            ..
        } = &settled;
        let Some(version) = &aim.version else {
            return self.nowhere(cx, params, &settled).await;
        };
        if params.dry_run {
            return Ok(with_aim(report::planned(place, plan, &[]), aim));
        }
        if place.needs_approval() {
            let told = with_aim(report::to_approve(place, plan, &[]), aim);
            let approval = &place.environment.approval;
            let asking = asking::ForThePlan {
                cx,
                turn: None,
                approvers: approval.approvers.clone(),
                within: Some(approval.within),
                asked_before: 0,
            };
            let of = format!("{} to {}", plan.version, place.name);
            asking.ask(&plan.hash, &of, &told).await?;
        }
        let (id, kind) = (cx.task().id.to_string(), DeploymentKind::Rollback);
        let new = ledger::new(cx, id, place, kind, version, HOW, commit.as_ref());
        ledger::write(cx, &self.outside, "asked", &[ledger::asked(new)]).await?;
        self.stop_others(cx, place).await?;
        // Before those who wait: it is what they would have to be built on.
        cx.lock_first(&place.lock()).await?;
        let begun = self.begin(cx, &settled).await?;
        let running = RecordStatus::Running;
        let at_forge = ledger::record(cx, &self.outside, place, commit.as_ref(), running).await?;
        let lines = self.go(cx, &settled, version).await?;
        let recovered_at: DateTime<Utc> = self.end(cx, begun.bad.as_ref()).await?;
        let record = at_forge.record.as_ref();
        let success = RecordStatus::Success;
        let refused = ledger::update(cx, &self.outside, place, "record-end", record, success).await?;
        let revert = self
            .revert(cx, params, &settled, begun.bad.as_ref(), version)
            .await?;
        let told = Told {
            unrecorded: at_forge.why_not.or(refused),
            record_url: record.and_then(|record| record.url.clone()),
            ..Told::default()
        };
        let facts = Facts {
            workload: &place.environment.workload,
            environment: &place.name,
            bad: begun.bad.as_ref(),
            bad_version: aim.bad.as_deref().filter(|bad| bad != version),
            target: version,
            reason: &settled.reason,
            asked_at: settled.asked_at,
            recovered_at,
            revert: revert.as_ref(),
        };
        let draft = postmortem::draft(&facts);
        let told = report::rolled_back(place, plan, &lines, &settled.reason, draft, &told);
        Ok(with_aim(report::with_revert(told, revert.as_ref()), aim))
    }

    /// Going back is not undone: what is bad is not brought out again.
    async fn unwind(&self, cx: &TaskCx, _: &RollbackParams, cause: &Cause) -> Result<Report, Stop> {
        let Some(settled) = cx.recorded::<Settled>("plan") else {
            return Ok(cause.report());
        };
        let (place, plan) = (&settled.place, &settled.plan);
        if cx.recorded::<Value>("asked").is_some() {
            let outcome = match cause {
                Cause::Cancelled => DeploymentOutcome::Cancelled,
                _ => DeploymentOutcome::Failed,
            };
            let ended = ledger::ended(cx.task().id.to_string(), outcome, ledger::cause_words(cause));
            ledger::write(cx, &self.outside, "end", &[ended]).await?;
        }
        let record = ledger::recorded(cx, &self.outside, place, settled.commit.as_ref()).await?;
        let status = match cause {
            Cause::Cancelled => RecordStatus::Canceled,
            _ => RecordStatus::Failed,
        };
        ledger::update(cx, &self.outside, place, "record-end", record.as_ref(), status).await?;
        if cx.recorded::<Begun>("start").is_none() {
            return Ok(report::untouched(place, &plan.version, cause));
        }
        let look: Look = cx.step("left", |_| place.look(&self.outside)).await?;
        let why = ledger::cause_words(cause).unwrap_or_else(|| "it was cancelled".to_owned());
        Ok(report::left(place, plan, &report::stands(&look), &why))
    }
}

impl Rollback {
    /// Where to is decided here, before anybody makes way: afterwards it would look like the version before that.
    async fn settle(&self, cx: &TaskCx, params: &RollbackParams) -> Result<Settled, Error> {
        let request = params.request()?;
        let mut place = Place::of(plan::repo(cx)?, &self.outside, &request.environment)?;
        place.only_flag = place.environment.strategy == StrategyName::FeatureFlag;
        let look = place.look(&self.outside).await?;
        let log = &self.outside.log;
        let (aim, acts) = if place.only_flag {
            let aim = Aim {
                version: Some("off".to_owned()),
                bad: None,
                why: "the environment's strategy is a feature flag".to_owned(),
            };
            (aim, vec![Act::Flag { percent: 0 }])
        } else {
            let version = match &request.version {
                Some(version) => {
                    let fleet = self.outside.fleet(&place.workload)?;
                    Some(fleet.resolve(&place.workload, version).await?)
                }
                None => None,
            };
            let newest = log.newest(&place.repo_id, &place.name, LOOKED_THROUGH).await?;
            let aim = target::aim(version.as_deref(), &look, &newest);
            let acts = aim
                .version
                .as_ref()
                .and_then(|version| target::toward(&look, version, &place.environment.workload).ok());
            (aim, acts.unwrap_or_default())
        };
        let version = aim.version.clone().unwrap_or_default();
        let commit = match &aim.version {
            Some(version) if !place.only_flag => {
                plan::commit(&self.outside, &place.repo, None, version).await?
            }
            _ => None,
        };
        let plan = place.plan(&version, HOW, Kind::Whole, acts, &look);
        Ok(Settled {
            plan,
            commit,
            reason: params
                .reason
                .clone()
                .unwrap_or_else(|| "a rollback was asked for".to_owned()),
            asked_at: log.now().await?,
            place,
            aim,
        })
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
        deployment: Option<&Deployment>,
        target: &str,
    ) -> Result<Option<Opened>, Stop> {
        let place = &settled.place;
        let usual = place.environment.rollback.revert == Revert::MergeRequest;
        if place.only_flag || !params.revert.unwrap_or(usual) {
            return Ok(None);
        }
        let bad = Bad {
            version: settled.aim.bad.as_deref(),
            deployment,
            target,
            target_sha: settled.commit.as_ref().map(|commit| commit.sha.as_str()),
            reason: &settled.reason,
        };
        revert::open(cx, &self.outside, place, &bad).await.map(Some)
    }

    async fn begin(&self, cx: &TaskCx, settled: &Settled) -> Result<Begun, Stop> {
        let (place, aim, id) = (&settled.place, &settled.aim, cx.task().id.to_string());
        cx.step("start", |idem| async move {
            let log = &self.outside.log;
            let newest = log.newest(&place.repo_id, &place.name, LOOKED_THROUGH).await?;
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
            Ok(Begun { bad })
        })
        .await
    }

    async fn end(&self, cx: &TaskCx, bad: Option<&Deployment>) -> Result<DateTime<Utc>, Stop> {
        let task = &cx.task().id;
        cx.step("end", |idem| async move {
            let log = &self.outside.log;
            if bad.is_some() {
                log.write(&LogEntry::Recovered { id: task.to_string() }, &idem);
            }
            log.write(
                &ledger::ended(task.to_string(), DeploymentOutcome::Succeeded, None),
                &idem,
            );
            log.now().await
        })
        .await
    }

    /// Goes back from what stands now, again if a person says so.
    async fn go(&self, cx: &TaskCx, settled: &Settled, version: &str) -> Result<Vec<act::Line>, Stop> {
        let place = &settled.place;
        for round in 0_u32.. {
            let look: Look = cx.step(("look", round), |_| place.look(&self.outside)).await?;
            let acts = match place.only_flag {
                true => Ok(vec![Act::Flag { percent: 0 }]),
                false => target::toward(&look, version, &place.environment.workload),
            };
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

    /// Nothing to go back to: whoever mends code gets it.
    async fn nowhere(&self, cx: &TaskCx, params: &RollbackParams, settled: &Settled) -> Result<Report, Stop> {
        let mut told = report::nowhere(&settled.place, &settled.aim.why);
        if params.dry_run {
            return Ok(told);
        }
        let task = cx.task();
        let mut payload = json!({
            "instruction": format!(
                "{} in {} has to be mended by a new version: {}, and {}.",
                settled.place.environment.workload, settled.place.name, settled.reason, settled.aim.why
            ),
            "environment": settled.place.name,
            "version": settled.aim.bad,
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

fn with_aim(report: Report, aim: &Aim) -> Report {
    let Some(version) = &aim.version else {
        return report;
    };
    report.fact("Why to this one", format!("{version}: {}", aim.why))
}
