//! What a deployment changes: one environment, or each of a group's.

use domain::{Error, Report, TaskId};
use durable::{Stop, TaskCx};
use ports::Commit;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::act::Act;
use crate::checks;
use crate::course::{self, Kind};
use crate::freeze::Override;
use crate::gates::{self, Gate};
use crate::ledger;
use crate::look::Look;
use crate::outside::Outside;
use crate::plan::{self, Place, Plan};
use crate::report;
use crate::strategy::Strategy;

/// One environment that is changed, as the first step settles it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    /// What a group calls it; none of what is deployed on its own.
    #[serde(default)]
    pub(crate) service: Option<String>,
    pub(crate) place: Place,
    /// By its full name.
    pub(crate) version: String,
    pub(crate) strategy: Strategy,
    pub(crate) commit: Option<Commit>,
    /// Kept with the plan, so that it is known who let it through.
    #[serde(default)]
    pub(crate) override_freeze: Option<Override>,
    /// How often its task was run to an end and tried anew.
    #[serde(default)]
    pub(crate) earlier: usize,
}

/// What stood when it was looked at, and what would be done then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Looked {
    pub(crate) look: Look,
    pub(crate) plan: Plan,
    pub(crate) gates: Vec<Gate>,
}

impl Part {
    /// Its name in the log of deployments.
    pub(crate) fn id(&self, task: &TaskId) -> String {
        ledger::id(task, self.service.as_deref(), self.earlier)
    }

    pub(crate) async fn look(&self, outside: &Outside, task: &TaskId) -> Result<Looked, Error> {
        let (place, version) = (&self.place, &self.version);
        let look = place.look(outside).await?;
        let course = course::chart(&place.environment, &self.strategy, version, &look)?;
        let how = match course.kind {
            Kind::First => "first deployment",
            _ => plan::strategy_words(self.strategy.name()),
        };
        let plan = place.plan(version, how, course.kind, course.acts, &look);
        let ours = self.id(task);
        let (commit, by) = (self.commit.as_ref(), self.override_freeze.as_ref());
        checks::can_run(&plan.acts, place, version, commit)?;
        let gates = gates::look(outside, place, &ours, version, &look, commit, by).await?;
        Ok(Looked { look, plan, gates })
    }

    /// Says whose error it is, where there are several.
    pub(crate) fn told(&self, error: Error) -> Error {
        match &self.service {
            Some(service) => error.context(format!("the group's {service}")),
            None => error,
        }
    }
}

impl Looked {
    /// A pause until a person says to go on, before anything was touched.
    pub(crate) fn begins_with_a_question(&self) -> bool {
        matches!(self.plan.acts.first(), Some(Act::Ask { .. }))
    }
}

/// Everything that is to be done, under one name.
pub(crate) fn hash(looked: &[Looked]) -> String {
    if let [only] = looked {
        return only.plan.hash.clone();
    }
    let hashes: Vec<&str> = looked.iter().map(|looked| looked.plan.hash.as_str()).collect();
    let digest = Sha256::digest(hashes.join(" ").as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// In a fixed order, whoever takes several of them: nobody waits for somebody who waits for it.
pub(crate) fn locks(parts: &[Part]) -> Vec<String> {
    let mut locks: Vec<String> = parts.iter().map(|part| part.place.lock()).collect();
    locks.sort();
    locks.dedup();
    locks
}

/// A scope of steps for each part: a group's have one each, so that undoing one finds what it did.
pub(crate) struct Scopes<'a> {
    whole: &'a TaskCx,
    branches: Vec<TaskCx>,
}

impl<'a> Scopes<'a> {
    pub(crate) fn of(cx: &'a TaskCx, parts: &[Part]) -> Result<Self, Stop> {
        let names = parts.iter().filter_map(|part| part.service.as_deref());
        Ok(Self {
            whole: cx,
            branches: names.map(|name| cx.branch(name)).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn at(&self, part: usize) -> &TaskCx {
        self.branches.get(part).unwrap_or(self.whole)
    }
}

/// What one part has to tell; of several, together.
pub(crate) fn together(
    parts: &[Part],
    mut reports: Vec<Report>,
    whole: impl FnOnce(Vec<(String, Report)>) -> Report,
) -> Report {
    let names: Vec<String> = parts.iter().filter_map(|part| part.service.clone()).collect();
    match reports.len() {
        1 if names.is_empty() => reports.remove(0),
        _ => whole(names.into_iter().zip(reports).collect()),
    }
}

/// Who may approve all of it: of those who are named for each part, the ones named for every one.
pub(crate) fn approvers(parts: &[&Part]) -> Result<Vec<String>, Error> {
    let mut all: Option<Vec<String>> = None;
    for part in parts {
        let own = &part.place.environment.approval.approvers;
        if own.is_empty() {
            continue;
        }
        let common = match all {
            None => own.clone(),
            Some(so_far) => so_far.into_iter().filter(|name| own.contains(name)).collect(),
        };
        if common.is_empty() {
            return Err(Error::invalid(
                "nobody may approve the whole group: its services name different people as approvers",
            )
            .next(
                "Name one person for all of them in the environments' settings, or deploy them one by one",
            ));
        }
        all = Some(common);
    }
    Ok(all.unwrap_or_default())
}

pub(crate) fn as_planned(parts: &[Part], looked: &[Looked]) -> Vec<Report> {
    let both = parts.iter().zip(looked);
    both.map(|(part, looked)| report::planned(&part.place, &looked.plan, &looked.gates))
        .collect()
}
