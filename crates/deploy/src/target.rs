//! Where a rollback goes; pure.

use domain::TaskId;
use ports::{Commit, Deployment, DeploymentKind, DeploymentOutcome, Failure, Side};
use serde::{Deserialize, Serialize};

use crate::act::{Act, short};
use crate::ledger::BY_ITSELF;
use crate::look::{Look, can_carry};
use crate::plan::{self, Place};
use crate::progress;
use crate::settings::Environment;
use crate::strategy::StrategyName;
use crate::undoing::going_back;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aim {
    /// Where to; none when there is nothing to go back to.
    pub(crate) version: Option<String>,
    /// What is rolled back.
    pub(crate) bad: Option<String>,
    pub(crate) why: String,
    /// A first deployment that is running: stopping it is all that can be done, since its own undoing leaves nothing.
    #[serde(default)]
    pub(crate) stops: Option<TaskId>,
}

/// Where a flag goes back to.
pub(crate) const OFF: &str = "off";

/// Of an environment's deployments those that a rollback there goes by: of the same workload, of the flag or of what runs,
/// and none that is only unfinished because its task was taken away.
pub(crate) fn of_place(place: &Place, newest_first: Vec<Deployment>) -> Vec<Deployment> {
    let counts = |known: &&Deployment| {
        known.what.workload == place.environment.subject()
            && is_of_flag(known) == place.only_flag
            && !is_overtaken(known, &newest_first)
    };
    newest_first.iter().filter(counts).cloned().collect()
}

/// One at a time changes an environment: who began later and is over began when this one was no more.
fn is_overtaken(known: &Deployment, all: &[Deployment]) -> bool {
    let after = |other: &Deployment| other.outcome.is_some() && other.started_at > known.started_at;
    known.outcome.is_none() && known.started_at.is_some() && all.iter().any(after)
}

fn is_of_flag(known: &Deployment) -> bool {
    known.what.strategy == plan::strategy_words(StrategyName::FeatureFlag)
}

/// Whether a flag is rolled back, by what was brought out last; where the log is silent, by how the environment is deployed
/// to.
pub(crate) fn is_flag(place: &Place, newest_first: &[Deployment]) -> bool {
    let taken_back = |outcome| {
        use DeploymentOutcome::{Cancelled, RolledBack, Superseded};
        matches!(outcome, Some(Cancelled | RolledBack | Superseded))
    };
    // A flag's that is blamed was switched off.
    let stands = |known: &&Deployment| match is_of_flag(known) {
        true => known.failures.is_empty() && !taken_back(known.outcome),
        false => !taken_back(known.outcome),
    };
    let began = |known: &&Deployment| {
        let what = &known.what;
        let here = what.workload == place.environment.subject();
        what.kind == DeploymentKind::Deploy && here && known.started_at.is_some()
    };
    let last = newest_first.iter().filter(began).find(stands);
    let usual = place.environment.strategy == StrategyName::FeatureFlag;
    let alone = place.environment.is_flag_alone();
    place.flag.is_some() && (alone || last.map_or(usual, is_of_flag))
}

/// A flag is only ever switched off.
pub(crate) fn aim_at_flag(newest_first: &[Deployment]) -> Aim {
    let last = newest_first
        .iter()
        .find(|known| known.what.kind == DeploymentKind::Deploy && known.started_at.is_some());
    Aim {
        version: Some(OFF.to_owned()),
        bad: last.map(|last| last.what.version.clone()),
        why: match last {
            Some(last) => format!(
                "what was brought out last is a feature flag (task {})",
                last.what.task_id
            ),
            None => "the environment's strategy is a feature flag".to_owned(),
        },
        stops: None,
    }
}

/// The commit of a version that was deployed before.
pub(crate) fn made_from(version: &str, newest_first: &[Deployment]) -> Option<Commit> {
    let known = newest_first
        .iter()
        .map(|known| &known.what)
        .find(|what| what.version == version && what.sha.is_some())?;
    Some(Commit {
        sha: known.sha.clone()?,
        at: known.committed_at?,
        git_ref: known.git_ref.clone()?,
        is_tag: false,
    })
}

/// `wanted` is what the task names. What was rolled out last is what is taken back.
pub(crate) fn aim(wanted: Option<&str>, look: &Look, newest_first: &[Deployment]) -> Aim {
    let stable = look.stable.as_ref().map(|group| group.version.clone());
    // What only goes on with, or looks at, a version that is there already says nothing of the one before.
    let running = newest_first.iter().find(|known| {
        known.what.kind == DeploymentKind::Deploy
            && known.started_at.is_some()
            && known.outcome.is_none()
            && known.previous.as_ref() != Some(&known.what.version)
    });
    let beside = look.candidate.as_ref().map(|group| group.version.clone());
    let bad = running
        .map(|running| running.what.version.clone())
        .or(beside.clone())
        .or(stable.clone());
    let aim = |version: Option<String>, why: String| Aim {
        version,
        bad: bad.clone(),
        why,
        stops: None,
    };
    if let Some(wanted) = wanted {
        return aim(Some(wanted.to_owned()), "the task names it".to_owned());
    }
    if let Some(first) = running.filter(|running| running.previous.is_none()) {
        let task = first.what.task_id.clone();
        let why = format!("nothing served before the deployment that is running (task {task})");
        return Aim {
            stops: Some(task),
            ..aim(None, why)
        };
    }
    if let Some(running) = running {
        let why = format!(
            "it served before the deployment that is running (task {})",
            running.what.task_id
        );
        return aim(running.previous.clone(), why);
    }
    if let Some(beside) = beside {
        return aim(stable, format!("it serves beside {beside}, which is half out"));
    }
    if look.by_router() && look.share().part > 0 && stable.is_some() {
        return Aim {
            version: stable,
            bad: None,
            why: format!(
                "it serves, and {} % of the traffic goes to a candidate that is gone",
                short(look.share().percent())
            ),
            stops: None,
        };
    }
    let others = newest_first
        .iter()
        .filter(|known| Some(&known.what.version) != stable.as_ref());
    let did_well = |known: &&Deployment| {
        known.outcome == Some(DeploymentOutcome::Succeeded) && known.failures.is_empty()
    };
    if let Some(good) = others.clone().find(did_well) {
        let why = format!(
            "it is the last other one that did well (task {})",
            good.what.task_id
        );
        return aim(Some(good.what.version.clone()), why);
    }
    // Of what the log does not know, the target may still have a revision; what failed here is none to go to.
    let failed = |version: &str| newest_first.iter().any(|known| known.what.version == version);
    let kept = look
        .revisions
        .iter()
        .find(|revision| Some(&revision.version) != stable.as_ref() && !failed(&revision.version));
    match kept {
        Some(kept) => aim(Some(kept.version.clone()), "it is the revision before".to_owned()),
        None => aim(None, "no earlier version is known that did well".to_owned()),
    }
}

/// The acts that bring an environment to a version that it ran before; the error says why a person must look.
pub(crate) fn toward(look: &Look, version: &str, environment: &Environment) -> Result<Vec<Act>, String> {
    let workload = environment.subject();
    let Some(stable) = &look.stable else {
        return Err(format!(
            "the stable side of {workload} is gone, so there is nothing to bring {version} to"
        ));
    };
    if stable.wanted == 0 && (look.by_router() || look.candidate.is_none()) {
        return Err(format!(
            "the stable side of {workload} has no replicas, so nobody would be served by {version} there; deploy it, \
             which gives it some"
        ));
    }
    let mut acts = Vec::new();
    let has_share = look.share().part > 0;
    if stable.version != version {
        acts.push(going_back(look, version, stable.wanted));
    } else if has_share && !can_carry(stable) {
        return Err(format!(
            "{version} on the stable side of {workload} is not well ({}), so it is not given the {} % of the traffic \
             that it lacks",
            progress::so_far(stable),
            short(look.share().percent())
        ));
    }
    let beside = look.candidate.as_ref();
    if beside.is_some() && !look.by_router() {
        acts.push(Act::Scale {
            side: Side::Stable,
            replicas: look.whole(environment),
        });
    }
    let back = look.granularity.and_then(|can| can.nearest(0));
    // A share of nothing may be that of a candidate that is out of rotation, with all weight on it.
    let back = back.filter(|_| look.by_router() && (has_share || beside.is_some()));
    acts.extend(back.map(|share| Act::Weight { percent: 0, share }));
    acts.extend(beside.map(|_| Act::Retire));
    Ok(acts)
}

/// The deployment that brought out what is rolled back.
pub(crate) fn blamed<'a>(bad: Option<&str>, newest_first: &'a [Deployment]) -> Option<&'a Deployment> {
    newest_first.iter().find(|known| {
        known.what.kind == DeploymentKind::Deploy
            && known.started_at.is_some()
            && Some(known.what.version.as_str()) == bad
    })
}

/// Under which name a failure is laid to what is rolled back; `id` is the rollback's own. None where it is known there already:
/// what lasts is what it is rolled back for, unless the task names another incident.
pub(crate) fn laid(bad: &Deployment, id: &str, incident: Option<&str>, happened: bool) -> Option<String> {
    let known = &bad.failures;
    if let Some(incident) = incident {
        let id = format!("{}/incident/{incident}", bad.what.id);
        return known.iter().all(|failure| failure.id != id).then_some(id);
    }
    let lasts = known.iter().any(|failure| failure.recovered_at.is_none());
    // What took itself back is blamed already.
    let served_on = bad.outcome == Some(DeploymentOutcome::Succeeded);
    let again = happened && served_on && !lasts;
    (known.is_empty() || again).then(|| id.to_owned())
}

/// What is over with a version that does well. What people laid to that very version is not: that it is well again is theirs to
/// say. What a deployment of it found by itself was looked for again.
pub(crate) fn mended_by<'a>(id: &str, version: &str, newest_first: &'a [Deployment]) -> Vec<&'a Failure> {
    let others = newest_first.iter().filter(|known| known.what.id != id);
    let failures = others.flat_map(|known| known.failures.iter().map(move |failure| (known, failure)));
    let over = failures.filter(|(known, failure)| {
        let another = known.what.version != version || failure.id.ends_with(BY_ITSELF);
        failure.recovered_at.is_none() && another
    });
    over.map(|(_, failure)| failure).collect()
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
