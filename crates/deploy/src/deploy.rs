//! `deploy`: brings a version to an environment, judges it on the way, and takes it back by itself.

use domain::{Error, ErrorKind, Report};
use durable::{Cause, Handler, Stop, TaskCx};
use ports::{Commit, DeploymentKind, DeploymentOutcome, LogEntry, RecordStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::act;
use crate::analysis::Judged;
use crate::carry::Carrier;
use crate::course::{self, Kind};
use crate::freeze::Override;
use crate::gates::{self, Gate};
use crate::judging::Looked as Judging;
use crate::look::Look;
use crate::outside::Outside;
use crate::params::DeployParams;
use crate::plan::{self, Place, Plan};
use crate::report::{self, Told};
use crate::strategy::{Strategy, StrategyName};
use crate::{asking, checks, ledger, turn, undoing};

/// Brings versions out.
pub struct Deploy {
    outside: Outside,
}

/// What the first step settles.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Settled {
    place: Place,
    /// By its full name.
    version: String,
    strategy: Strategy,
    commit: Option<Commit>,
    /// Kept with the plan, so that it is known who let it through.
    #[serde(default)]
    override_freeze: Option<Override>,
}

/// What stood when it was looked at, and what would be done then.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Looked {
    look: Look,
    plan: Plan,
    gates: Vec<Gate>,
}

impl Deploy {
    pub fn new(outside: Outside) -> Self {
        Self { outside }
    }

    /// Reads a payload as a task's is read, without a worker: what is wrong with it is told.
    pub fn read(payload: &Value) -> Result<DeployParams, Error> {
        DeployParams::read(payload)
    }
}

impl Handler for Deploy {
    const TASK_TYPES: &'static [&'static str] = &["deploy"];
    type Params = DeployParams;

    fn parse(&self, payload: &Value) -> Result<DeployParams, Error> {
        Self::read(payload)
    }

    async fn run(&self, cx: &TaskCx, params: &DeployParams) -> Result<Report, Stop> {
        let settled: Settled = cx.step("plan", |_| self.settle(cx, params)).await?;
        let place = &settled.place;
        if params.dry_run {
            let looked: Looked = cx.step("look", |_| self.look(cx, &settled)).await?;
            return Ok(report::planned(place, &looked.plan, &looked.gates));
        }
        let how = plan::strategy_words(settled.strategy.name());
        let commit = settled.commit.as_ref();
        let new = ledger::new(cx, place, DeploymentKind::Deploy, &settled.version, how, commit);
        ledger::write(cx, &self.outside, "asked", &[ledger::asked(new)]).await?;
        cx.lock(&place.lock()).await?;
        turn::still_ours(cx, &self.outside, place, "start", place.environment.when_newer).await?;

        let status = if place.needs_approval() {
            RecordStatus::Blocked
        } else {
            RecordStatus::Running
        };
        let (key, looked, approved_by, at_forge) = self.agreed(cx, &settled, status).await?;
        let Looked { look, plan, gates } = &looked;
        let started = LogEntry::Started {
            id: cx.task().id.to_string(),
            previous: plan.from().map(str::to_owned),
        };
        // From here on something may be changed: before this step there is nothing to undo.
        cx.step("start", |idem| async move {
            self.outside.log.write(&started, &idem);
            Ok(key)
        })
        .await?;
        let record = at_forge.record.as_ref();
        if status == RecordStatus::Blocked {
            let running = RecordStatus::Running;
            ledger::update(cx, &self.outside, place, "record-running", record, running).await?;
        }
        let mut carrier = Carrier::new(cx, &self.outside, place, &settled.version, look).made_from(commit);
        carrier.carry(&plan.acts).await?;

        let ended = ledger::ended(&cx.task().id, DeploymentOutcome::Succeeded, None);
        ledger::write(cx, &self.outside, "end", &[ended]).await?;
        let success = RecordStatus::Success;
        let refused = ledger::update(cx, &self.outside, place, "record-end", record, success).await?;
        let told = Told {
            gates,
            judged: &carrier.judged,
            approved_by,
            unrecorded: at_forge.why_not.or(refused),
            record_url: record.and_then(|record| record.url.clone()),
        };
        Ok(report::done(place, plan, &told))
    }

    /// Takes back what was done, from what stands now: which of the run's steps took effect does not matter.
    async fn unwind(&self, cx: &TaskCx, _: &DeployParams, cause: &Cause) -> Result<Report, Stop> {
        let Some(settled) = cx.recorded::<Settled>("plan") else {
            return Ok(cause.report());
        };
        let (place, task) = (&settled.place, &cx.task().id);
        let record = ledger::recorded(cx, &self.outside, place, settled.commit.as_ref()).await?;
        let is_cancel = *cause == Cause::Cancelled;
        let at_forge = if is_cancel {
            RecordStatus::Canceled
        } else {
            RecordStatus::Failed
        };
        let begun = cx.recorded::<String>("start");
        let Some(begun) = begun.and_then(|key| cx.recorded::<Looked>(key)) else {
            if cx.recorded::<Value>("asked").is_some() {
                let outcome = match cause.error() {
                    Some(error) if error.what.starts_with(turn::SUPERSEDED) => DeploymentOutcome::Superseded,
                    Some(_) => DeploymentOutcome::Failed,
                    None => DeploymentOutcome::Cancelled,
                };
                let ended = ledger::ended(task, outcome, ledger::cause_words(cause));
                ledger::write(cx, &self.outside, "end", &[ended]).await?;
            }
            let canceled = RecordStatus::Canceled;
            ledger::update(cx, &self.outside, place, "record-end", record.as_ref(), canceled).await?;
            return Ok(report::untouched(place, &settled.version, cause));
        };
        let superseded = cause
            .error()
            .is_some_and(|error| error.what.starts_with(turn::SUPERSEDED));
        let failed = cause.error().filter(|_| !superseded);
        if let Some(error) = failed {
            ledger::write(cx, &self.outside, "blame", &[ledger::failure(task, error)]).await?;
        }
        let undone = match failed.filter(|error| error.kind == ErrorKind::Conflict) {
            Some(error) => Err(report::told_once(error)),
            None => self.take_back(cx, &settled, &begun).await?,
        };
        let (outcome, report) = match &undone {
            Ok(lines) => {
                let judged = judged(cx, &begun.plan);
                let told = Told {
                    gates: &begun.gates,
                    judged: &judged,
                    record_url: record.as_ref().and_then(|record| record.url.clone()),
                    ..Told::default()
                };
                let outcome = match failed {
                    Some(_) if begun.plan.from().is_none() || begun.plan.kind == Kind::There => {
                        DeploymentOutcome::Failed
                    }
                    Some(_) => DeploymentOutcome::RolledBack,
                    None if superseded => DeploymentOutcome::Superseded,
                    None => DeploymentOutcome::Cancelled,
                };
                (outcome, report::undone(place, &begun.plan, lines, cause, &told))
            }
            Err(why) => {
                let look: Look = cx.step("left", |_| place.look(&self.outside)).await?;
                let stands = report::stands(&look);
                (
                    DeploymentOutcome::Failed,
                    report::left(place, &begun.plan, &stands, why),
                )
            }
        };
        let mut entries = vec![ledger::ended(task, outcome, ledger::cause_words(cause))];
        if undone.is_ok() && failed.is_some() {
            let id = ledger::failure_id(task);
            entries.insert(0, LogEntry::Recovered { id });
        }
        ledger::write(cx, &self.outside, "end", &entries).await?;
        ledger::update(cx, &self.outside, place, "record-end", record.as_ref(), at_forge).await?;
        Ok(report)
    }
}

impl Deploy {
    /// Everything that can be wrong without looking at what runs is found here.
    async fn settle(&self, cx: &TaskCx, params: &DeployParams) -> Result<Settled, Error> {
        let request = params.request()?;
        let mut place = Place::of(cx, &self.outside, &request.environment)?;
        let strategy = Strategy::of(&place.environment, &request.wishes)?;
        place.only_flag = strategy.name() == StrategyName::FeatureFlag;
        let version = match place.only_flag {
            true => request.version.clone(),
            false => {
                let fleet = self.outside.fleet(&place.workload)?;
                fleet.resolve(&place.workload, &request.version).await?
            }
        };
        let commit = plan::made_from(&self.outside, &place.repo, params, &request.version).await?;
        Ok(Settled {
            place,
            version,
            strategy,
            commit,
            override_freeze: params.override_freeze.clone(),
        })
    }

    async fn look(&self, cx: &TaskCx, settled: &Settled) -> Result<Looked, Error> {
        let Settled {
            place,
            version,
            strategy,
            commit,
            override_freeze,
        } = settled;
        let look = place.look(&self.outside).await?;
        let course = course::chart(&place.environment, strategy, version, &look)?;
        let how = plan::strategy_words(strategy.name());
        let how = if course.kind == Kind::First {
            "first deployment"
        } else {
            how
        };
        let plan = place.plan(version, how, course.kind, course.acts, &look);
        let ours = cx.task().id.as_str();
        let (commit, by) = (commit.as_ref(), override_freeze.as_ref());
        checks::can_run(&plan.acts, place, version, commit)?;
        let gates = gates::look(&self.outside, place, ours, version, &look, commit, by).await?;
        Ok(Looked { look, plan, gates })
    }

    /// What is to be done, with the name of the step that has it, once the gates are open and, where it must be, somebody
    /// approved exactly this plan.
    async fn agreed(
        &self,
        cx: &TaskCx,
        settled: &Settled,
        status: RecordStatus,
    ) -> Result<(String, Looked, Option<String>, ledger::AtForge), Stop> {
        let (place, commit) = (&settled.place, settled.commit.as_ref());
        let mut key = "look".to_owned();
        let mut looked: Looked = cx.step(key.as_str(), |_| self.look(cx, settled)).await?;
        if let Some(shut) = gates::shut(&looked.gates) {
            return Err(Stop::Fail(shut));
        }
        let at_forge = ledger::record(cx, &self.outside, place, commit, status).await?;
        if !place.needs_approval() || looked.plan.kind == Kind::There {
            return Ok((key, looked, None, at_forge));
        }
        let mut seen: Vec<String> = Vec::new();
        for again in 0_u32.. {
            let asked_before = seen.iter().filter(|hash| **hash == looked.plan.hash).count();
            let told = report::to_approve(place, &looked.plan, &looked.gates);
            let approval = asking::for_the_plan(cx, place, &looked.plan, asked_before, &told).await?;
            seen.push(looked.plan.hash.clone());
            key = format!("look/{again}");
            let now: Looked = cx.step(key.as_str(), |_| self.look(cx, settled)).await?;
            if let Some(shut) = gates::shut(&now.gates) {
                return Err(Stop::Fail(shut));
            }
            let same = now.plan.hash == looked.plan.hash;
            looked = now;
            if same {
                return Ok((key, looked, Some(approval.by), at_forge));
            }
        }
        Ok((key, looked, None, at_forge))
    }

    /// Goes back to what stood before. The error says why it was left as it is, by a person's word.
    async fn take_back(
        &self,
        cx: &TaskCx,
        settled: &Settled,
        begun: &Looked,
    ) -> Result<Result<Vec<act::Line>, String>, Stop> {
        let (place, version) = (&settled.place, &settled.version);
        for round in 0_u32.. {
            let now: Look = cx
                .step(("look-back", round), |_| place.look(&self.outside))
                .await?;
            let acts = undoing::back(&begun.look, &now, version, &place.environment.workload);
            let why = match acts {
                Ok(acts) => {
                    let lines = act::outline_back(&acts, &now.standing(), &place.environment);
                    let mut carrier = Carrier::new(cx, &self.outside, place, version, &now).back(round);
                    match carrier.carry(&acts).await {
                        Ok(()) => return Ok(Ok(lines)),
                        Err(Stop::Fail(error)) => report::told_once(&error),
                        Err(stop) => return Err(stop),
                    }
                }
                Err(why) => why,
            };
            if !asking::to_undo_again(cx, place, round, &why).await? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(Vec::new()))
    }
}

/// Every judgement that the run came to, with what had been reached then.
fn judged(cx: &TaskCx, plan: &Plan) -> Vec<(String, Judged)> {
    let mut reached = "nothing yet".to_owned();
    let mut judged = Vec::new();
    for (place, act) in plan.acts.iter().enumerate() {
        if act.exposes() {
            reached = act.what();
        }
        for round in 0_u32.. {
            let Some(looked) = cx.recorded::<Judging>(("judge", place, round)) else {
                break;
            };
            judged.push((reached.clone(), looked.judged));
        }
    }
    judged
}
