//! What a deployment does, one act after the other, and how each is told.

use std::time::Duration;

use domain::Span;
use ports::{Pace, RevisionId, Share, Side};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::ratio::Split;
use crate::settings::Environment;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Act {
    /// The stable side gets a version, its replicas replaced one after the other.
    RollOut {
        version: String,
        replicas: u32,
        pace: Option<Pace>,
    },
    /// The stable side goes back to a revision that it had.
    Undo {
        to: RevisionId,
        version: String,
    },
    /// A version is started beside the stable side.
    Launch {
        version: String,
        replicas: u32,
    },
    Scale {
        side: Side,
        replicas: u32,
    },
    /// The candidate gets a share of the traffic. `share` is what the router can do of it.
    Weight {
        percent: u32,
        share: Share,
    },
    /// The candidate gets a share by its number of replicas.
    Split {
        percent: u32,
        split: Split,
    },
    /// The flag is on for a share of users.
    Flag {
        percent: u32,
    },
    /// Nothing stands beside the stable side any more.
    Retire,
    Pause {
        span: Span,
    },
    /// A person says whether to go on.
    Ask {
        what: String,
    },
    /// The time since traffic last changed is judged on the side that has the new version; `compared` with the
    /// stable one.
    Analyse {
        side: Side,
        compared: bool,
    },
    /// The new version answers well before users get any of it.
    Smoke,
    /// What users reach answers well.
    Health,
}

impl Act {
    /// The name of its steps.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::RollOut { .. } => "roll-out",
            Self::Undo { .. } => "undo",
            Self::Launch { .. } => "launch",
            Self::Scale { .. } => "scale",
            Self::Weight { .. } => "weight",
            Self::Split { .. } => "split",
            Self::Flag { .. } => "flag",
            Self::Retire => "retire",
            Self::Pause { .. } => "pause",
            Self::Ask { .. } => "ask",
            Self::Analyse { .. } => "analyse",
            Self::Smoke => "smoke",
            Self::Health => "health",
        }
    }

    /// Whether more users get the new version by it: before these a newer wish is looked for.
    pub(crate) fn exposes(&self) -> bool {
        matches!(
            self,
            Self::RollOut { .. } | Self::Weight { .. } | Self::Split { .. } | Self::Flag { .. }
        )
    }

    /// Whether it brings the stable side to another version.
    pub(crate) fn writes_stable(&self) -> bool {
        matches!(self, Self::RollOut { .. } | Self::Undo { .. })
    }

    /// Whether the stable side's number of replicas is set by it.
    pub(crate) fn scales_stable(&self) -> bool {
        let scales = matches!(
            self,
            Self::Scale {
                side: Side::Stable,
                ..
            }
        );
        scales || matches!(self, Self::Split { .. })
    }

    /// Whether both sides are held against each other by it.
    pub(crate) fn compares(&self) -> bool {
        matches!(self, Self::Analyse { compared: true, .. })
    }

    pub(crate) fn what(&self) -> String {
        match self {
            Self::RollOut { version, .. } => format!("roll {version} out, replica by replica"),
            Self::Undo { version, .. } => format!("go back to the revision with {version}"),
            Self::Launch { version, replicas } => {
                format!("start {} of {version} beside what serves", counted(*replicas))
            }
            Self::Scale { side, replicas } => {
                format!("bring the {} side to {}", side.as_str(), counted(*replicas))
            }
            Self::Weight { share, .. } if share.part == 0 => "send all traffic to the stable side".to_owned(),
            Self::Weight { percent, share } => {
                let exact = share.percent();
                let off = (exact - f64::from(*percent)).abs() > 0.005;
                let honest = if off {
                    format!(" (asked: {percent} %)")
                } else {
                    String::new()
                };
                format!(
                    "send {} % of the traffic to the new version{honest}",
                    short(exact)
                )
            }
            Self::Split { percent, split } => {
                let exact = split.share().percent();
                format!(
                    "give the new version {} % by replicas, {} of {} (asked: {percent} %)",
                    short(exact),
                    split.candidate,
                    split.candidate + split.stable
                )
            }
            Self::Flag { percent } => format!("turn the flag on for {percent} % of users"),
            Self::Retire => "take away what stands beside the stable side".to_owned(),
            Self::Pause { span } => format!("wait {span}"),
            Self::Ask { what } => format!("ask a person: {what}?"),
            Self::Analyse { .. } => "judge the time since the last change".to_owned(),
            Self::Smoke => "check the new version before users get it".to_owned(),
            Self::Health => "check what users reach".to_owned(),
        }
    }

    /// How long it takes at least, for what has a length.
    fn takes(&self, environment: &Environment) -> Duration {
        match self {
            Self::Pause { span } => span.0,
            Self::Analyse { compared, .. } if !environment.analysis.asked(*compared).metrics.is_empty() => {
                // What was measured last must have been collected.
                environment.analysis.scrape_interval.0 * 2
            }
            _ => Duration::ZERO,
        }
    }

    /// What takes it back.
    fn undone_by(&self, from: Option<&str>) -> Option<String> {
        match self {
            Self::RollOut { .. } => Some(match from {
                Some(from) => format!("going back to {from}"),
                None => "bringing it to no replicas".to_owned(),
            }),
            Self::Launch { .. } => Some("taking it away again".to_owned()),
            Self::Weight { share, .. } if share.part == 0 => None,
            Self::Weight { .. } | Self::Split { .. } => {
                Some("sending all traffic to the stable side".to_owned())
            }
            Self::Flag { .. } => Some("setting the flag to what it was".to_owned()),
            Self::Scale { .. } => Some("bringing it to the number that it had".to_owned()),
            Self::Retire => Some("starting it again".to_owned()),
            _ => None,
        }
    }
}

fn counted(replicas: u32) -> String {
    if replicas == 1 {
        "1 replica".to_owned()
    } else {
        format!("{replicas} replicas")
    }
}

pub(crate) fn short(percent: f64) -> String {
    let text = format!("{percent:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One line of a plan, for people and programs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) what: String,
    /// What it changes, as a diff: `-` is so now, `+` will be.
    pub(crate) diff: Vec<String>,
    /// In seconds, at least.
    pub(crate) takes_s: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) undone_by: Option<String>,
}

/// What is so before an act, as far as acts change it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) stable: Option<(String, u32)>,
    pub(crate) candidate: Option<(String, u32)>,
    /// What the candidate gets, in percent.
    pub(crate) share: Option<f64>,
    pub(crate) flag: Option<u32>,
}

impl Standing {
    fn after(&self, act: &Act) -> Self {
        let mut after = self.clone();
        match act {
            Act::RollOut {
                version, replicas, ..
            } => {
                let replicas = after.stable.as_ref().map_or(*replicas, |(_, replicas)| *replicas);
                after.stable = Some((version.clone(), replicas));
            }
            Act::Undo { version, .. } => {
                if let Some((stable, _)) = &mut after.stable {
                    stable.clone_from(version);
                }
            }
            Act::Launch { version, replicas } => after.candidate = Some((version.clone(), *replicas)),
            Act::Scale { side, replicas } => {
                let side = match side {
                    Side::Stable => &mut after.stable,
                    Side::Candidate => &mut after.candidate,
                };
                if let Some((_, now)) = side {
                    *now = *replicas;
                }
            }
            Act::Weight { share, .. } => after.share = Some(share.percent()),
            Act::Split { split, .. } => {
                after.share = Some(split.share().percent());
                for (side, replicas) in [
                    (&mut after.stable, split.stable),
                    (&mut after.candidate, split.candidate),
                ] {
                    if let Some((_, now)) = side {
                        *now = replicas;
                    }
                }
            }
            Act::Flag { percent } => after.flag = Some(*percent),
            Act::Retire => after.candidate = None,
            _ => {}
        }
        after
    }

    fn diff(&self, after: &Self) -> Vec<String> {
        let side = |side: &Option<(String, u32)>| match side {
            Some((version, replicas)) => format!("{version}, {}", counted(*replicas)),
            None => "nothing".to_owned(),
        };
        let percent = |share: Option<f64>| format!("{} %", short(share.unwrap_or_default()));
        let flag = |flag: Option<u32>| format!("{} %", flag.unwrap_or_default());
        let pairs = [
            ("stable", side(&self.stable), side(&after.stable)),
            ("candidate", side(&self.candidate), side(&after.candidate)),
            ("candidate's traffic", percent(self.share), percent(after.share)),
            ("flag", flag(self.flag), flag(after.flag)),
        ];
        let changed = pairs.into_iter().filter(|(_, before, after)| before != after);
        changed
            .flat_map(|(what, before, after)| [format!("- {what}: {before}"), format!("+ {what}: {after}")])
            .collect()
    }
}

pub(crate) fn outline(acts: &[Act], now: &Standing, environment: &Environment) -> Vec<Line> {
    let from = now.stable.as_ref().map(|(version, _)| version.as_str());
    let mut standing = now.clone();
    let what = |act: &Act| match act {
        Act::Analyse { compared, .. } => format!(
            "{} by {}",
            act.what(),
            environment.analysis.basis(*compared, now.flag.is_some())
        ),
        act => act.what(),
    };
    let line = |act: &Act| {
        let after = standing.after(act);
        let diff = standing.diff(&after);
        standing = after;
        Line {
            what: what(act),
            undone_by: act.undone_by(from).filter(|_| !diff.is_empty()),
            diff,
            takes_s: act.takes(environment).as_secs(),
        }
    };
    acts.iter().map(line).collect()
}

/// The same for going back, which nothing takes back in turn.
pub(crate) fn outline_back(acts: &[Act], now: &Standing, environment: &Environment) -> Vec<Line> {
    let mut lines = outline(acts, now, environment);
    lines.iter_mut().for_each(|line| line.undone_by = None);
    lines
}

/// Names a plan: another plan has another name, and an approval of this one is none of that. How many replicas the stable
/// side has is not part of it where the plan leaves them as they are: an autoscaler changes them at any time.
pub(crate) fn hash(acts: &[Act], now: &Standing, environment: &Environment) -> String {
    let (mut acts, mut now) = (acts.to_vec(), now.clone());
    if !acts.iter().any(Act::scales_stable)
        && let Some((_, stands)) = &mut now.stable
    {
        *stands = 0;
        for act in &mut acts {
            if let Act::RollOut { replicas, .. } = act {
                *replicas = 0;
            }
        }
    }
    let text = serde_json::json!([acts, now, environment]).to_string();
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn environment() -> Environment {
        serde_json::from_value(json!({"target": "a", "workload": "b"})).unwrap()
    }

    fn standing() -> Standing {
        Standing {
            stable: Some(("v1".to_owned(), 4)),
            ..Standing::default()
        }
    }

    fn acts() -> Vec<Act> {
        let share = Share { part: 26, of: 256 };
        vec![
            Act::Launch {
                version: "v2".to_owned(),
                replicas: 1,
            },
            Act::Weight { percent: 10, share },
            Act::Pause {
                span: Span::seconds(300),
            },
            Act::RollOut {
                version: "v2".to_owned(),
                replicas: 4,
                pace: None,
            },
            Act::Retire,
        ]
    }

    #[test]
    fn a_plan_says_what_changes_how_long_it_takes_and_what_undoes_it() {
        let lines = outline(&acts(), &standing(), &environment());
        let of = |at: usize| {
            (
                lines[at].what.as_str(),
                lines[at].diff.join("\n"),
                lines[at].takes_s,
            )
        };
        assert_eq!(
            of(0),
            (
                "start 1 replica of v2 beside what serves",
                "- candidate: nothing\n+ candidate: v2, 1 replica".to_owned(),
                0
            )
        );
        assert_eq!(
            of(1),
            (
                "send 10.16 % of the traffic to the new version (asked: 10 %)",
                "- candidate's traffic: 0 %\n+ candidate's traffic: 10.16 %".to_owned(),
                0
            )
        );
        assert_eq!(of(2), ("wait 5m", String::new(), 300));
        assert_eq!(of(3).1, "- stable: v1, 4 replicas\n+ stable: v2, 4 replicas");
        assert_eq!(lines[3].undone_by.as_deref(), Some("going back to v1"));
    }

    #[test]
    fn another_plan_has_another_name() {
        let name = hash(&acts(), &standing(), &environment());
        assert_eq!(name, hash(&acts(), &standing(), &environment()));
        assert_eq!(name.len(), 12);
        assert_ne!(name, hash(&acts()[1..], &standing(), &environment()));
        let mut moved = standing();
        moved.stable = Some(("v0".to_owned(), 4));
        assert_ne!(name, hash(&acts(), &moved, &environment()));
        // An autoscaler's number is no part of a plan that leaves it alone.
        let mut scaled = standing();
        scaled.stable = Some(("v1".to_owned(), 10));
        assert_eq!(name, hash(&acts(), &scaled, &environment()));
        let mut sets = acts();
        sets.push(Act::Scale {
            side: Side::Stable,
            replicas: 4,
        });
        assert_ne!(
            hash(&sets, &standing(), &environment()),
            hash(&sets, &scaled, &environment())
        );
        let mut checked = environment();
        checked.watch = Span::seconds(60);
        assert_ne!(name, hash(&acts(), &standing(), &checked));
    }
}
