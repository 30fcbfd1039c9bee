//! What a rollback is to do, and that it is still meant when its turn comes.

use chrono::{DateTime, Utc};
use domain::{Error, Verdict};
use durable::{Stop, TaskCx};
use ports::{Commit, Deployment, LogEntry};
use serde::{Deserialize, Serialize};

use crate::act::Act;
use crate::asking::ForThePlan;
use crate::course::Kind;
use crate::ledger::{self, LOOKED_THROUGH};
use crate::params::RollbackParams;
use crate::plan::{self, Place, Plan};
use crate::report;
use crate::rollback::{HOW, Rollback};
use crate::target::{self, Aim};

/// What the first step settles.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settled {
    /// Its name in the log.
    pub(crate) id: String,
    pub(crate) place: Place,
    /// What the task names, by its full name.
    pub(crate) wanted: Option<String>,
    pub(crate) goal: Goal,
    pub(crate) reason: String,
    pub(crate) asked_at: DateTime<Utc>,
    /// The incident that the task names.
    #[serde(default)]
    pub(crate) incident: Option<String>,
    /// Whether the task says why, or names an incident: then something happened.
    #[serde(default)]
    pub(crate) happened: bool,
    /// What serves again is verified. What an older program began goes on without: its journal has other steps.
    #[serde(default)]
    pub(crate) verifies: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Goal {
    pub(crate) aim: Aim,
    pub(crate) plan: Plan,
    /// Why it cannot be carried out as it stands, where it cannot.
    pub(crate) unfit: Option<String>,
    /// What the version was made from, where the log knows: the forge is not asked before traffic is back.
    pub(crate) commit: Option<Commit>,
}

impl Settled {
    /// What is laid to the deployment of what is rolled back, unless that is known of it.
    pub(crate) fn failure_of(&self, bad: &Deployment) -> Option<LogEntry> {
        let id = target::laid(bad, &self.id, self.incident.as_deref(), self.happened)?;
        Some(LogEntry::Failure {
            deployment: bad.what.id.clone(),
            id,
            cause: self.reason.clone(),
        })
    }
}

impl Goal {
    /// Whether what is found now is what it was settled for, or what is left of that since others made way.
    pub(crate) fn still_means(&self, now: &Self) -> bool {
        let stands = |goal: &Self| {
            let side = |side: &Option<(String, u32)>| side.as_ref().map(|(version, _)| version.clone());
            let standing = &goal.plan.standing;
            [
                goal.aim.bad.clone(),
                side(&standing.stable),
                side(&standing.candidate),
            ]
        };
        let known = stands(self);
        let is_known = |version: &String| {
            self.aim.version.as_ref() == Some(version) || known.iter().flatten().any(|known| known == version)
        };
        let elsewhere = self.aim.bad == now.aim.bad && self.aim.version != now.aim.version;
        !elsewhere && stands(now).iter().flatten().all(is_known)
    }
}

impl Rollback {
    /// Where to is decided here, before anybody makes way: afterwards it would look like the version before that.
    pub(crate) async fn settle(&self, cx: &TaskCx, params: &RollbackParams) -> Result<Settled, Error> {
        let request = params.request()?;
        let mut place = Place::of(plan::repo(cx)?, &self.outside, &request.environment)?;
        let log = &self.outside.log;
        let newest = log.newest(&place.repo_id, &place.name, LOOKED_THROUGH).await?;
        let named = request
            .version
            .as_deref()
            .filter(|version| *version != target::OFF);
        place.only_flag = named.is_none() && target::is_flag(&place, &newest);
        let wanted = match named {
            Some(version) => {
                let asked = format!("a rollback to {version}");
                place.must_run_something(&asked, "Leave `version` out, which switches the flag off")?;
                let fleet = self.outside.fleet(&place.workload)?;
                Some(fleet.resolve(&place.workload, version).await?)
            }
            None => None,
        };
        let earlier = ledger::earlier(cx, &self.outside, &place).await?;
        Ok(Settled {
            id: ledger::id(&cx.task().id, None, earlier),
            goal: self.goal(&place, wanted.as_deref()).await?,
            wanted,
            reason: params
                .reason
                .clone()
                .unwrap_or_else(|| "a rollback was asked for".to_owned()),
            asked_at: log.now().await?,
            happened: params.reason.is_some() || params.incident.is_some(),
            incident: params.incident.clone(),
            verifies: true,
            place,
        })
    }

    /// The deployments that count here, newest first.
    pub(crate) async fn newest(&self, place: &Place) -> Result<Vec<Deployment>, Error> {
        let log = &self.outside.log;
        let newest = log.newest(&place.repo_id, &place.name, LOOKED_THROUGH).await?;
        Ok(target::of_place(place, newest))
    }

    pub(crate) async fn goal(&self, place: &Place, wanted: Option<&str>) -> Result<Goal, Error> {
        let look = place.look(&self.outside).await?;
        let newest = self.newest(place).await?;
        let (aim, acts) = match place.only_flag {
            true => (target::aim_at_flag(&newest), Ok(vec![Act::Flag { percent: 0 }])),
            false => {
                let aim = target::aim(wanted, &look, &newest);
                let acts = match &aim.version {
                    Some(version) => target::toward(&look, version, &place.environment),
                    None => Ok(Vec::new()),
                };
                (aim, acts)
            }
        };
        let (acts, unfit) = match acts {
            Ok(acts) => (acts, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let version = aim.version.clone().unwrap_or_default();
        Ok(Goal {
            plan: place.plan(&version, HOW, Kind::Whole, acts, &look),
            commit: target::made_from(&version, &newest),
            aim,
            unfit,
        })
    }

    /// Asks where somebody must agree, and again where the answer came to something else than what is there by then.
    pub(crate) async fn agreed(&self, cx: &TaskCx, settled: &Settled) -> Result<Goal, Stop> {
        let place = &settled.place;
        let mut goal = settled.goal.clone();
        if !place.needs_approval() {
            return Ok(goal);
        }
        let mut seen = Vec::new();
        for round in 0_u32.. {
            if goal.aim.version.is_none() && goal.aim.stops.is_none() {
                break;
            }
            ask(cx, place, &goal, &mut seen).await?;
            let now: Goal = cx
                .step(("aim", round), |_| self.goal(place, settled.wanted.as_deref()))
                .await?;
            if goal.still_means(&now) {
                break;
            }
            goal = now;
        }
        Ok(goal)
    }

    /// Takes the environment's lock, before those who wait: it is what they would have to be built on. What somebody
    /// brought out before they made way is not rolled back unseen.
    pub(crate) async fn locked(&self, cx: &TaskCx, place: &Place, goal: Goal) -> Result<Goal, Stop> {
        let (mut goal, lock, mut seen) = (goal, place.lock(), Vec::new());
        for round in 0_u32.. {
            cx.lock_first(&lock).await?;
            let to = goal.aim.version.as_deref().filter(|_| !place.only_flag);
            let now: Goal = cx.step(("aim-locked", round), |_| self.goal(place, to)).await?;
            if goal.still_means(&now) {
                break;
            }
            cx.unlock(&lock).await?;
            goal = Goal {
                aim: Aim {
                    why: goal.aim.why,
                    ..now.aim
                },
                ..now
            };
            ask(cx, place, &goal, &mut seen).await?;
        }
        Ok(goal)
    }
}

/// A yes is to this version in the place of what is there.
async fn ask(cx: &TaskCx, place: &Place, goal: &Goal, seen: &mut Vec<String>) -> Result<(), Stop> {
    let (aim, plan) = (&goal.aim, &goal.plan);
    let (of, mut told) = match &aim.stops {
        Some(task) => (
            format!("stopping the first deployment to {}", place.name),
            report::question(
                place,
                Verdict::NeedsApproval,
                &format!("task {task} is stopped and takes itself back: {}", aim.why),
            ),
        ),
        None => (
            format!("{} to {}", plan.version, place.name),
            with_aim(report::to_approve(place, plan, &[]), aim),
        ),
    };
    if let Some(bad) = &aim.bad {
        told = told.fact("Rolled back", bad);
    }
    if let Some(why) = &goal.unfit {
        told = told.fact("Not as it stands now", why);
    }
    let approval = &place.environment.approval;
    let asking = ForThePlan {
        cx,
        turn: None,
        approvers: approval.approvers.clone(),
        within: Some(approval.within),
        asked_before: seen.iter().filter(|known| **known == plan.hash).count(),
    };
    asking.ask(&plan.hash, &of, &told).await?;
    seen.push(plan.hash.clone());
    Ok(())
}

pub(crate) fn with_aim(report: domain::Report, aim: &Aim) -> domain::Report {
    match &aim.version {
        Some(version) => report
            .fact(report::DECISION, format!("rollback to {version}"))
            .fact("Why to this one", format!("{version}: {}", aim.why)),
        None => report,
    }
}
