//! From what stood before and what stands now to the acts that go back; pure.

use ports::Side;

use crate::act::Act;
use crate::look::{Look, can_carry};
use crate::settings::Environment;

/// The acts that bring `now` back to `before`; the error says why a person must look instead. `ours` is the version
/// that was being brought out, `planned` how.
pub(crate) fn back(
    before: &Look,
    now: &Look,
    ours: &str,
    environment: &Environment,
    planned: &[Act],
) -> Result<Vec<Act>, String> {
    let workload = environment.subject();
    let mut acts = Vec::new();
    if let (Some(before), Some(now)) = (&before.flag, &now.flag)
        && before.percent != now.percent
    {
        acts.push(Act::Flag {
            percent: before.percent,
        });
    }
    let beside = now.candidate.as_ref().map(|group| group.version.as_str());
    if let Some(other) = beside.filter(|version| *version != ours) {
        return Err(format!(
            "{other} stands beside what serves of {workload}, which nobody here put there"
        ));
    }
    let Some(served) = before.serves() else {
        // Nothing ran before, so back means that nothing runs.
        if let Some(runs) = now.serves() {
            if runs.version != ours {
                return Err(format!(
                    "the stable side of {workload} runs {}, and not {ours}, which was to be the first there",
                    runs.version
                ));
            }
            acts.push(Act::Scale {
                side: Side::Stable,
                replicas: 0,
            });
        }
        return Ok(acts);
    };
    let Some(stable) = &now.stable else {
        return Err(format!(
            "the stable side of {workload} is gone, so there is nothing to fall back to; {}",
            carries(now)
        ));
    };
    if stable.version == ours && served.version != ours {
        acts.push(going_back(now, &served.version, stable.wanted));
    } else if stable.version != served.version {
        return Err(format!(
            "the stable side of {workload} runs {}, which is neither {} nor {ours}",
            stable.version, served.version
        ));
    } else if now.share().part > 0 && !can_carry(stable) && stable.ready == 0 {
        return Err(format!(
            "the stable side of {workload} has no replica that is ready, so it cannot take the traffic back; {}",
            carries(now)
        ));
    }
    // What was not scaled here is an autoscaler's or a person's business: it gets what it had when it carried everything,
    // and keeps what it has more.
    let had = before.whole(environment);
    let scaled = planned.iter().any(Act::scales_stable);
    let replicas = if scaled { had } else { had.max(stable.wanted) };
    // What was stopped in the middle here is let go by whatever writes to that side.
    let was_stopped = before.stable.as_ref().is_some_and(|before| before.paused);
    let stands_still = stable.paused && !was_stopped && !acts.iter().any(Act::writes_stable);
    if stable.wanted != replicas || stands_still {
        acts.push(Act::Scale {
            side: Side::Stable,
            replicas,
        });
    } else if acts.is_empty() && !can_carry(stable) && now.share().part > 0 {
        return Err(format!(
            "the stable side of {workload} is not well ({}), so it is not given the traffic back; {}",
            crate::progress::so_far(stable),
            carries(now)
        ));
    }
    let back = now.granularity.and_then(|can| can.nearest(0));
    // A share of nothing may be that of a candidate that is out of rotation, with all weight on it.
    let moved = before.marks().route != now.marks().route;
    let parted = beside.is_some() || moved || now.share().part > 0;
    let back = back.filter(|_| now.by_router() && parted);
    acts.extend(back.map(|share| Act::Weight { percent: 0, share }));
    if beside.is_some() {
        acts.push(Act::Retire);
    }
    Ok(acts)
}

/// To the revision where the target still has it, else by rolling the version out again.
pub(crate) fn going_back(now: &Look, version: &str, replicas: u32) -> Act {
    let kept = now.revisions.iter().find(|revision| revision.version == version);
    match kept {
        Some(revision) => Act::Undo {
            to: revision.id.clone(),
            version: version.to_owned(),
        },
        None => Act::RollOut {
            version: version.to_owned(),
            replicas,
            pace: None,
        },
    }
}

fn carries(now: &Look) -> String {
    match &now.candidate {
        Some(candidate) => format!(
            "{} has {} % of the traffic",
            candidate.version,
            crate::act::short(now.share().percent())
        ),
        None => "nothing stands beside it".to_owned(),
    }
}

#[cfg(test)]
#[path = "undoing_tests.rs"]
mod tests;
