//! From a strategy and what stands to the acts that bring a version out; pure.

use domain::{Error, Span};
use ports::{Granularity, Group, Side};
use serde::{Deserialize, Serialize};

use crate::act::Act;
use crate::carry::TOLERANCE;
use crate::look::{Look, is_well};
use crate::ratio::Split;
use crate::settings::{Environment, Switch};
use crate::strategy::{Step, Strategy};

/// How a deployment goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Course {
    pub(crate) kind: Kind,
    pub(crate) acts: Vec<Act>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// By its strategy.
    Whole,
    /// Nothing ran before, so there is nothing to compare with or to go back to.
    First,
    /// The version runs already: it is only looked at.
    There,
    /// Another task or a person had begun to bring it out; it goes on from there.
    Resumed,
}

pub(crate) fn chart(
    environment: &Environment,
    strategy: &Strategy,
    version: &str,
    look: &Look,
) -> Result<Course, Error> {
    if let Strategy::FeatureFlag { steps } = strategy {
        return flag(environment, steps, look);
    }
    let name = environment.subject();
    let beside = look.candidate.as_ref();
    if let Some(other) = beside.filter(|beside| beside.version != version) {
        return Err(Error::conflict(format!(
            "{} stands beside what serves of {name}, so {version} has no place there",
            other.version
        ))
        .next("Roll the environment back, which takes it away, or deploy that version to its end"));
    }
    let Some(stable) = look.serves() else {
        let is_gone = look.stable.is_none();
        not_paused(look, name)?;
        return match beside {
            None => Ok(first(environment, version, is_gone)),
            Some(_) => Err(Error::conflict(format!(
                "{version} stands beside nothing: the stable side of {name} {}",
                if is_gone { "is gone" } else { "has no replicas" }
            ))
            .next("Bring the stable side back by hand, or take the candidate away")),
        };
    };
    if stable.version != version || !stable.is_complete() {
        not_paused(look, name)?;
    }
    if stable.version == version {
        return Ok(there(environment, look));
    }
    let resumed = beside.is_some();
    let mut acts = match strategy {
        Strategy::Rolling { .. } if resumed => {
            return Err(Error::conflict(format!(
                "{version} is half out beside {}, which a rolling deployment cannot finish",
                stable.version
            ))
            .next("Deploy it with canary or blue_green, or roll the environment back"));
        }
        Strategy::Rolling { pace } => vec![Act::RollOut {
            version: version.to_owned(),
            replicas: stable.wanted,
            pace: Some(*pace),
        }],
        Strategy::BlueGreen { switch, keep_warm } => {
            let can_switch = look.granularity.is_some_and(|can| can.nearest(100).is_some());
            if !can_switch {
                return Err(unfit(
                    name,
                    "blue_green needs a router that can switch all traffic at once",
                ));
            }
            well_enough(look, name, "blue_green")?;
            blue_green(version, look, stable.wanted, *switch, *keep_warm)
        }
        Strategy::Canary { steps } => {
            if look.granularity == Some(Granularity::AllOrNothing) {
                return Err(unfit(
                    name,
                    "canary needs a router that can send a part of the traffic, and this one sends all or nothing",
                ));
            }
            well_enough(look, name, "canary")?;
            canary(environment, version, look, stable.wanted, steps)
        }
        Strategy::FeatureFlag { .. } => Vec::new(),
    };
    acts.extend(last(environment));
    let kind = if resumed { Kind::Resumed } else { Kind::Whole };
    Ok(Course { kind, acts })
}

/// Whoever paused it by hand lets it go on: nothing here does so unasked.
fn not_paused(look: &Look, workload: &str) -> Result<(), Error> {
    if look.stable.as_ref().is_some_and(|stable| stable.paused) {
        return Err(Error::rejected(format!(
            "{workload} is paused, so no version replaces another there"
        ))
        .next("Resume it and deploy again, or ask who paused it"));
    }
    Ok(())
}

fn unfit(workload: &str, why: &str) -> Error {
    Error::invalid(format!("{workload} cannot be deployed so: {why}"))
        .next("Use rolling, or set another `router` in the environment's settings")
}

/// What is to be fallen back to must be well before it is left.
fn well_enough(look: &Look, workload: &str, strategy: &str) -> Result<(), Error> {
    if look.stable_is_well() {
        return Ok(());
    }
    let so_far = look
        .stable
        .as_ref()
        .map(crate::progress::so_far)
        .unwrap_or_default();
    if look.stable.as_ref().is_some_and(is_between) {
        return Err(Error::unavailable(format!(
            "somebody changed what serves of {workload} just now, and the target has not taken that up yet"
        )));
    }
    Err(Error::rejected(format!(
        "what serves of {workload} is not well ({so_far}), so {strategy} has nothing to compare with or to fall back to"
    ))
    .next("Bring it in order first, or deploy the new version with rolling"))
}

/// It was well before a change that the target has not taken up yet: in a moment it is known whether it still is.
fn is_between(stable: &Group) -> bool {
    let observed = Group {
        observed: true,
        ..stable.clone()
    };
    !stable.observed && is_well(&observed)
}

/// What comes after the new version has everything.
fn last(environment: &Environment) -> Vec<Act> {
    let mut acts = vec![Act::Health];
    if !environment.watch.0.is_zero() {
        acts.push(Act::Pause {
            span: environment.watch,
        });
        acts.push(Act::Analyse {
            side: Side::Stable,
            compared: false,
        });
        acts.push(Act::Health);
    }
    acts
}

/// `makes`: nothing stands there at all. Else it was left without replicas, which a roll-out does not give it back.
fn first(environment: &Environment, version: &str, makes: bool) -> Course {
    let mut acts = vec![Act::RollOut {
        version: version.to_owned(),
        replicas: environment.replicas,
        pace: None,
    }];
    acts.extend((!makes).then_some(Act::Scale {
        side: Side::Stable,
        replicas: environment.replicas,
    }));
    acts.extend(last(environment));
    Course {
        kind: Kind::First,
        acts,
    }
}

/// The stable side runs or was told to run it already. What an earlier deployment left is finished.
fn there(environment: &Environment, look: &Look) -> Course {
    let mut acts = Vec::new();
    let stable = look.stable.as_ref();
    if let Some(going) = stable.filter(|stable| !stable.is_complete()) {
        acts.push(Act::RollOut {
            version: going.version.clone(),
            replicas: going.wanted,
            pace: None,
        });
    }
    if look.candidate.is_some() {
        // Without a router the candidate has replicas that the stable side is to have.
        let whole = look.whole(environment);
        let lacks = |has: u32| has < whole && (environment.replicas < 2 || has != environment.replicas);
        if stable.is_some_and(|stable| lacks(stable.wanted)) {
            acts.push(Act::Scale {
                side: Side::Stable,
                replicas: whole,
            });
        }
        acts.extend(leave_candidate(look));
    }
    let kind = if acts.is_empty() {
        Kind::There
    } else {
        Kind::Resumed
    };
    acts.extend(match kind {
        Kind::There => vec![Act::Health],
        _ => last(environment),
    });
    Course { kind, acts }
}

/// All traffic to the stable side, and nothing beside it.
fn leave_candidate(look: &Look) -> Vec<Act> {
    let back = look.granularity.and_then(|can| can.nearest(0));
    let back = back.map(|share| Act::Weight { percent: 0, share });
    back.into_iter().chain([Act::Retire]).collect()
}

fn promote(version: &str, replicas: u32) -> Act {
    Act::RollOut {
        version: version.to_owned(),
        replicas,
        pace: None,
    }
}

fn weight(look: &Look, percent: u32) -> Option<Act> {
    let share = look.granularity?.nearest(percent)?;
    Some(Act::Weight { percent, share })
}

fn blue_green(version: &str, look: &Look, replicas: u32, switch: Switch, keep_warm: Span) -> Vec<Act> {
    let mut acts = vec![
        Act::Launch {
            version: version.to_owned(),
            replicas,
        },
        Act::Smoke,
    ];
    if switch == Switch::Manual {
        acts.push(Act::Ask {
            what: "switch all traffic".to_owned(),
        });
    }
    acts.extend(weight(look, 100));
    let judged = Act::Analyse {
        side: Side::Candidate,
        compared: false,
    };
    acts.extend([Act::Health, Act::Pause { span: keep_warm }, judged]);
    acts.push(promote(version, replicas));
    acts.extend(leave_candidate(look));
    acts
}

fn canary(environment: &Environment, version: &str, look: &Look, replicas: u32, steps: &[Step]) -> Vec<Act> {
    let done = look.candidate.as_ref().map(|_| look.share().percent());
    let whole = look.whole(environment).max(1);
    // What a weight came to there, which is not always what was asked for.
    let came_to = |percent: u32| match look.granularity.and_then(|can| can.nearest(percent)) {
        Some(share) => share.percent(),
        None => Split::nearest(whole, percent.min(99)).share().percent(),
    };
    let steps = match done.filter(|done| *done > 0.0) {
        Some(done) => ahead(steps, |percent| came_to(percent) <= done + TOLERANCE),
        None => steps,
    };
    if look.by_router() {
        by_router(version, look, replicas, steps)
    } else {
        by_replicas(version, look, replicas, whole, steps)
    }
}

/// What was reached already is not gone back behind: it goes on just after the last weight that was, with the pause and the
/// judgement that belong to it.
fn ahead(steps: &[Step], is_reached: impl Fn(u32) -> bool) -> &[Step] {
    let reached = |step: &Step| matches!(step, Step::SetWeight(percent) if is_reached(*percent));
    let begin = match steps.iter().rposition(reached) {
        Some(last) => Some(last + 1),
        None => steps.iter().position(|step| matches!(step, Step::SetWeight(_))),
    };
    begin.and_then(|begin| steps.get(begin..)).unwrap_or_default()
}

/// As many of the candidate as its share of the traffic needs.
fn enough(replicas: u32, percent: u32) -> u32 {
    let needed = (u64::from(replicas) * u64::from(percent)).div_ceil(100);
    u32::try_from(needed).unwrap_or(replicas).max(1)
}

fn by_router(version: &str, look: &Look, replicas: u32, steps: &[Step]) -> Vec<Act> {
    let there = look.candidate.as_ref().map_or(0, |group| group.wanted);
    let first = steps.iter().find_map(|step| match step {
        Step::SetWeight(percent) => Some(enough(replicas, *percent)),
        Step::SetScale(replicas) => Some(*replicas),
        _ => None,
    });
    let mut stands = first.unwrap_or(replicas).max(there);
    let mut by_hand = false;
    let mut acts = vec![
        Act::Launch {
            version: version.to_owned(),
            replicas: stands,
        },
        Act::Smoke,
    ];
    let scale = |replicas| Act::Scale {
        side: Side::Candidate,
        replicas,
    };
    for step in steps {
        match *step {
            Step::SetWeight(percent) => {
                let needed = enough(replicas, percent);
                if needed > stands && !by_hand {
                    acts.push(scale(needed));
                    stands = needed;
                }
                acts.extend(weight(look, percent));
            }
            Step::SetScale(replicas) => {
                by_hand = true;
                if replicas != stands {
                    acts.push(scale(replicas));
                    stands = replicas;
                }
            }
            other => acts.extend(common(other)),
        }
    }
    // It carries everything while the stable side is replaced.
    if stands < replicas {
        acts.push(scale(replicas));
    }
    let is_all = matches!(acts.last(), Some(Act::Weight { percent: 100, .. }));
    acts.extend(weight(look, 100).filter(|_| !is_all));
    acts.push(promote(version, replicas));
    acts.extend(leave_candidate(look));
    acts
}

fn by_replicas(version: &str, look: &Look, replicas: u32, whole: u32, steps: &[Step]) -> Vec<Act> {
    let beside = look.candidate.as_ref().map_or(0, |group| group.wanted);
    let mut now = Split {
        stable: replicas,
        candidate: beside,
    };
    let mut acts = Vec::new();
    for step in steps {
        match *step {
            Step::SetWeight(percent) => {
                // The last part goes with the roll-out of the stable side, so that this never runs empty.
                let split = Split::nearest(whole, percent.min(99));
                if now.candidate == 0 {
                    acts.push(Act::Launch {
                        version: version.to_owned(),
                        replicas: split.candidate,
                    });
                    acts.push(Act::Smoke);
                }
                acts.push(Act::Split { percent, split });
                now = split;
            }
            Step::SetScale(replicas) if now.candidate > 0 => {
                acts.push(Act::Scale {
                    side: Side::Candidate,
                    replicas,
                });
                now.candidate = replicas;
            }
            Step::SetScale(_) => {}
            other => acts.extend(common(other)),
        }
    }
    acts.push(promote(version, now.stable));
    if now.stable != whole {
        acts.push(Act::Scale {
            side: Side::Stable,
            replicas: whole,
        });
    }
    acts.push(Act::Retire);
    acts
}

fn common(step: Step) -> Option<Act> {
    match step {
        Step::Pause(span) => Some(Act::Pause { span }),
        Step::Ask => Some(Act::Ask {
            what: "go on".to_owned(),
        }),
        Step::Analyse => Some(Act::Analyse {
            side: Side::Candidate,
            compared: true,
        }),
        Step::SetWeight(_) | Step::SetScale(_) => None,
    }
}

fn flag(environment: &Environment, steps: &[Step], look: &Look) -> Result<Course, Error> {
    let Some(flag) = &look.flag else {
        return Err(
            Error::invalid("the environment has no `flag`, so there is none to roll out")
                .next("Set `flag` to its store and key in the environment's settings"),
        );
    };
    if flag.percent == 100 {
        let acts = vec![Act::Health];
        let kind = Kind::There;
        return Ok(Course { kind, acts });
    }
    let steps = match flag.percent {
        0 => steps,
        on => ahead(steps, |percent| percent <= on),
    };
    let turned = |step: &Step| match *step {
        Step::SetWeight(percent) => Some(Act::Flag { percent }),
        // A flag has no two sides that could be compared.
        Step::Analyse => Some(Act::Analyse {
            side: Side::Stable,
            compared: false,
        }),
        other => common(other),
    };
    let mut acts: Vec<Act> = steps.iter().filter_map(turned).collect();
    let is_all = acts.contains(&Act::Flag { percent: 100 });
    acts.extend((!is_all).then_some(Act::Flag { percent: 100 }));
    acts.extend(last(environment));
    let kind = if flag.percent > 0 {
        Kind::Resumed
    } else {
        Kind::Whole
    };
    Ok(Course { kind, acts })
}

#[cfg(test)]
#[path = "course_tests.rs"]
pub(crate) mod tests;
