//! Where a rollback goes; pure.

use ports::{Deployment, DeploymentKind, DeploymentOutcome, Side};
use serde::{Deserialize, Serialize};

use crate::act::{Act, short};
use crate::look::{Look, is_well};
use crate::progress;
use crate::undoing::going_back;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Aim {
    /// Where to; none when there is nothing to go back to.
    pub(crate) version: Option<String>,
    /// What is rolled back.
    pub(crate) bad: Option<String>,
    pub(crate) why: String,
}

/// `wanted` is what the task names. What was rolled out last is what is taken back.
pub(crate) fn aim(wanted: Option<&str>, look: &Look, newest_first: &[Deployment]) -> Aim {
    let stable = look.stable.as_ref().map(|group| group.version.clone());
    let running = newest_first.iter().find(|known| {
        known.what.kind == DeploymentKind::Deploy && known.started_at.is_some() && known.outcome.is_none()
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
    };
    if let Some(wanted) = wanted {
        return aim(Some(wanted.to_owned()), "the task names it".to_owned());
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
pub(crate) fn toward(look: &Look, version: &str, workload: &str) -> Result<Vec<Act>, String> {
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
    } else if has_share && !is_well(stable) {
        return Err(format!(
            "{version} on the stable side of {workload} is not well ({}), so it is not given the {} % of the traffic \
             that it lacks",
            progress::so_far(stable),
            short(look.share().percent())
        ));
    }
    let beside = look.candidate.as_ref();
    if let Some(beside) = beside.filter(|_| !look.by_router()) {
        acts.push(Act::Scale {
            side: Side::Stable,
            replicas: stable.wanted + beside.wanted,
        });
    }
    let back = look.granularity.and_then(|can| can.nearest(0));
    let back = back.filter(|_| look.by_router() && has_share);
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

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
