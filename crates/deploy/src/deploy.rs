//! `deploy`: brings a version to an environment, or several to theirs, judges them on the way, and takes them back by itself.

use domain::{Error, Report};
use durable::{Cause, Handler, Stop, TaskCx};
use ports::{DeploymentKind, DeploymentOutcome, LogEntry, RecordStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agree::Agreed;
use crate::analysis::Judged;
use crate::carry::{Carrier, Forward};
use crate::outside::Outside;
use crate::params::DeployParams;
use crate::part::{self, Looked, Part, Scopes};
use crate::plan::{self, Place};
use crate::report::{self, Told};
use crate::strategy::{Strategy, StrategyName};
use crate::turn::Turn;
use crate::{group, ledger};

/// Brings versions out.
pub struct Deploy {
    pub(crate) outside: Outside,
}

/// What the first step settles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// In the order in which they are brought out.
    pub(crate) parts: Vec<Part>,
    /// What serves again is verified, where it is taken back. What an older program began goes on without: its journal has
    /// other steps.
    #[serde(default)]
    pub(crate) verifies: bool,
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
    /// From 2 on it stands still where a person pauses it, which the code of 1 does not know; from 3 on it verifies what serves
    /// again.
    const VERSION: i32 = 3;
    const RESUMES: &'static [i32] = &[1, 2, 3];
    type Params = DeployParams;

    fn parse(&self, payload: &Value) -> Result<DeployParams, Error> {
        Self::read(payload)
    }

    async fn run(&self, cx: &TaskCx, params: &DeployParams) -> Result<Report, Stop> {
        let settled: Settled = cx.step("plan", |_| self.settle(cx, params)).await?;
        let parts = &settled.parts[..];
        if params.dry_run {
            let looked: Vec<Looked> = cx.step("look", |_| self.look(cx, parts)).await?;
            let reports = part::as_planned(parts, &looked);
            return Ok(part::together(parts, reports, |reports| {
                group::planned(reports, &part::hash(&looked))
            }));
        }
        let scopes = Scopes::of(cx, parts)?;
        let asked: Vec<LogEntry> = parts.iter().map(|part| asked(cx, part)).collect();
        ledger::write(cx, &self.outside, "asked", &asked).await?;
        let turn = Turn::new(cx, &self.outside, parts);
        turn.make_way().await?;
        let agreed = self.agreed(cx, turn, parts, &scopes).await?;

        let mut judged = Vec::new();
        for at in 0..parts.len() {
            judged.push(self.bring_out(&scopes, turn, parts, at, &agreed).await?);
        }
        let (outside, parts_done) = (&self.outside, parts);
        cx.step("end", |idem| async move {
            for part in parts_done {
                let id = part.id(&cx.task().id);
                ledger::mended(outside, &part.place, &id, &part.version, None, &idem).await?;
                let ended = ledger::ended(id, DeploymentOutcome::Succeeded, None);
                outside.log.write(&ended, &idem);
            }
            Ok(Value::Null)
        })
        .await?;
        let mut reports = Vec::new();
        for (at, (part, judged)) in parts.iter().zip(&judged).enumerate() {
            let (place, at_forge) = (&part.place, &agreed.at_forge[at]);
            let (record, success) = (at_forge.record.as_ref(), RecordStatus::Success);
            let scope = scopes.at(at);
            let refused = ledger::update(scope, &self.outside, place, "record-end", record, success).await?;
            let Looked { plan, gates, .. } = &agreed.looked[at];
            let told = Told {
                gates,
                judged,
                approved_by: agreed.approved_by.clone(),
                unrecorded: at_forge.why_not.clone().or(refused),
                record_url: record.and_then(|record| record.url.clone()),
            };
            reports.push(report::done(place, plan, &told));
        }
        Ok(part::together(parts, reports, group::done))
    }

    async fn unwind(&self, cx: &TaskCx, _: &DeployParams, cause: &Cause) -> Result<Report, Stop> {
        match cx.recorded::<Settled>("plan")? {
            Some(settled) => self.take_all_back(cx, &settled, cause).await,
            None => Ok(cause.report()),
        }
    }
}

fn asked(cx: &TaskCx, part: &Part) -> LogEntry {
    let (id, how) = (part.id(&cx.task().id), plan::strategy_words(part.strategy.name()));
    let (kind, commit) = (DeploymentKind::Deploy, part.commit.as_ref());
    ledger::asked(ledger::new(cx, id, &part.place, kind, &part.version, how, commit))
}

impl Deploy {
    /// Everything that can be wrong without looking at what runs is found here.
    async fn settle(&self, cx: &TaskCx, params: &DeployParams) -> Result<Settled, Error> {
        let Some(members) = group::members(params)? else {
            let place = |name: &str| Place::of(plan::repo(cx)?, &self.outside, name);
            let part = self.settle_one(cx, None, params, place).await?;
            return Ok(Settled {
                parts: vec![part],
                verifies: true,
            });
        };
        let mut parts: Vec<Part> = Vec::new();
        for member in members {
            let repo = match &member.repo {
                Some(named) => Some(group::repo(&self.outside, &member.name, named).await?),
                None => None,
            };
            let place = |name: &str| match &repo {
                Some(repo) => Place::of(repo, &self.outside, name),
                None => Place::of(plan::repo(cx)?, &self.outside, name),
            };
            let part = self
                .settle_one(cx, Some(member.name.clone()), &member.params, place)
                .await;
            parts.push(part.map_err(|error| group::of(&member.name, error))?);
        }
        group::apart(&parts)?;
        Ok(Settled {
            parts,
            verifies: true,
        })
    }

    async fn settle_one(
        &self,
        cx: &TaskCx,
        service: Option<String>,
        params: &DeployParams,
        place: impl FnOnce(&str) -> Result<Place, Error>,
    ) -> Result<Part, Error> {
        let request = params.request()?;
        let mut place = place(&request.environment)?;
        let strategy = Strategy::of(&place.environment, &request.wishes)?;
        place.only_flag = strategy.name() == StrategyName::FeatureFlag;
        place.service.clone_from(&service);
        let version = match place.only_flag {
            true => request.version.clone(),
            false => {
                let asked = format!("the strategy {}", strategy.name());
                place.must_run_something(&asked, "Leave `strategy` out, or say feature_flag")?;
                let fleet = self.outside.fleet(&place.workload)?;
                fleet.resolve(&place.workload, &request.version).await?
            }
        };
        let commit = plan::made_from(&self.outside, &place.repo, params, &request.version).await?;
        Ok(Part {
            earlier: ledger::earlier(cx, &self.outside, &place).await?,
            service,
            place,
            version,
            strategy,
            commit,
            override_freeze: params.override_freeze.clone(),
        })
    }

    pub(crate) async fn look(&self, cx: &TaskCx, parts: &[Part]) -> Result<Vec<Looked>, Error> {
        let mut looked = Vec::new();
        for part in parts {
            let found = part.look(&self.outside, &cx.task().id).await;
            looked.push(found.map_err(|error| part.told(error))?);
        }
        Ok(looked)
    }

    /// Brings one part to its end, and answers how it was judged on the way.
    async fn bring_out(
        &self,
        scopes: &Scopes<'_>,
        turn: Turn<'_>,
        parts: &[Part],
        at: usize,
        agreed: &Agreed,
    ) -> Result<Vec<(String, Judged)>, Stop> {
        let (cx, part, Looked { look, plan, .. }) = (scopes.at(at), &parts[at], &agreed.looked[at]);
        let (place, id) = (&part.place, part.id(&cx.task().id));
        let (started, key) = (
            LogEntry::Started {
                id: id.clone(),
                previous: plan.from().map(str::to_owned),
            },
            agreed.key.clone(),
        );
        // From here on something may be changed: before this step there is nothing of it to undo.
        cx.step("start", |idem| async move {
            self.outside.log.write(&started, &idem);
            Ok(key)
        })
        .await?;
        if agreed.status == RecordStatus::Blocked {
            let (record, running) = (agreed.at_forge[at].record.as_ref(), RecordStatus::Running);
            ledger::update(cx, &self.outside, place, "record-running", record, running).await?;
        }
        let carrier = Carrier::new(cx, &self.outside, place, &part.version, look);
        let mut carrier = carrier.made_from(part.commit.as_ref()).forward(Forward {
            turn: turn.within(cx),
            id,
            asked: at == 0 && agreed.approved_by.is_some(),
            more: at + 1 < parts.len(),
        });
        carrier.carry(&plan.acts).await?;
        Ok(carrier.judged)
    }
}
