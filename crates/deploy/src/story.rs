//! What a task did and saw, as its own history has it: for people who ask afterwards. Nothing is decided by it.

use chrono::{DateTime, Utc};
use domain::Approval;
use durable::{Heard, Stop, TaskCx};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::act::Act;
use crate::analysis::{self, Judged, Seen};
use crate::carry::Written;
use crate::judge::{Decision, Outcome};
use crate::judging;
use crate::part::{self, Looked};
use crate::ready::Stood;

/// How many different words of a target are kept; the newest say most.
const WORDS: usize = 10;

/// The acts that change something, by the names of their steps.
const CHANGES: [&str; 7] = ["roll-out", "undo", "launch", "scale", "weight", "flag", "retire"];

#[derive(Debug, Default)]
pub(crate) struct Story {
    /// Each with when it was.
    pub(crate) events: Vec<(DateTime<Utc>, String)>,
    /// The same of taking it back.
    pub(crate) back: Vec<(DateTime<Utc>, String)>,
    /// The last judgement, or check, that was against the version, in its words.
    pub(crate) against: Option<String>,
    /// What was found against it: the metrics and checks.
    pub(crate) found_by: Vec<String>,
    /// What the target itself said.
    pub(crate) words: Vec<String>,
    /// The most that users got of the version, in percent.
    pub(crate) most: Option<f64>,
    /// What comes now is no more about the version.
    goes_back: bool,
}

type History = [(String, Value)];

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}

/// An answer of a person, with what was asked.
fn answer<'a>(key: &'a str, value: &Value) -> Option<(&'a str, Approval)> {
    let what = Approval::what(key)?;
    if let Some(plain) = read::<Approval>(value) {
        return Some((what, plain));
    }
    let heard = read::<Heard>(value).filter(|heard| heard.signal == key)?;
    Some((what, read(&heard.value)?))
}

/// The place in the plan that a step's tag begins with.
fn place(tag: &str) -> Option<usize> {
    tag.split(['.', '-']).next()?.parse().ok()
}

/// How much of the traffic, or of a flag's users, has the version after it.
fn share(act: &Act) -> Option<f64> {
    match act {
        Act::Weight { share, .. } => Some(share.percent()),
        Act::Split { split, .. } => Some(split.share().percent()),
        Act::Flag { percent } => Some(f64::from(*percent)),
        Act::RollOut { .. } => Some(100.0),
        _ => None,
    }
}

impl Story {
    /// `acts` are those of the plan that went forward; none where all that is done is to go back.
    pub(crate) fn of(history: &History, acts: &[Act]) -> Self {
        let mut story = Self::default();
        for (key, value) in history {
            story.tell(key, value, acts);
        }
        story
    }

    fn tell(&mut self, key: &str, value: &Value, acts: &[Act]) {
        if let Some((what, answer)) = answer(key, value) {
            let comment = answer.comment.as_ref();
            let why = comment.map_or_else(String::new, |why| format!(": {why}"));
            let word = answer.decision.as_str();
            self.push(answer.at, format!("{} {word} {what}{why}", answer.by));
            return;
        }
        let (kind, of) = key.split_once('/').unwrap_or((key, ""));
        match kind {
            // The first steps of taking a deployment back.
            "blame" | "look-back" => self.goes_back = true,
            kind if CHANGES.contains(&kind) => {
                let Some(written) = read::<Written>(value) else {
                    return;
                };
                let act = place(of).and_then(|place| acts.get(place));
                if let Some(share) = act.filter(|_| !self.goes_back).and_then(share) {
                    self.most = Some(self.most.map_or(share, |most| most.max(share)));
                }
                // An older program wrote down only which kind it was.
                self.push(written.at, written.what.unwrap_or_else(|| kind.to_owned()));
            }
            "judge" => {
                if let Some(looked) = read::<judging::Looked>(value) {
                    self.judged(&looked);
                }
            }
            "smoke" | "health" => self.checked(kind, &read::<Vec<Seen>>(value).unwrap_or_default()),
            "progress" => {
                let group = read::<Stood>(value).and_then(|stood| stood.group);
                for said in group.into_iter().flat_map(|group| group.trouble) {
                    if !self.words.contains(&said) {
                        self.words.push(said);
                    }
                }
                let old = self.words.len().saturating_sub(WORDS);
                self.words.drain(..old);
            }
            "paused" => self.at(value, "a person paused it"),
            "goes-on" => self.at(value, "it went on"),
            _ => {}
        }
    }

    fn push(&mut self, at: DateTime<Utc>, what: String) {
        let events = match self.goes_back {
            true => &mut self.back,
            false => &mut self.events,
        };
        events.push((at, what));
    }

    fn at(&mut self, value: &Value, what: &str) {
        if let Some(at) = read(value) {
            self.push(at, what.to_owned());
        }
    }

    fn judged(&mut self, looked: &judging::Looked) {
        let judged = &looked.judged;
        let why = match (judged.why(), &judged.unjudged) {
            (why, Some(basis)) if why.is_empty() => format!("by {basis}"),
            (why, _) => why,
        };
        if let Some(at) = looked.at() {
            self.push(at, format!("judged: {}: {why}", judged.words()));
        }
        if judged.decision() == Decision::Proceed || self.goes_back {
            return;
        }
        self.against = Some(found(judged));
        let unwell = judged.seen.iter().filter(|seen| !seen.well);
        let failed = judged
            .judgement
            .iter()
            .flat_map(|judgement| &judgement.findings)
            .filter(|finding| finding.outcome == Outcome::Fail);
        self.found_by = unwell
            .map(|seen| seen.name.clone())
            .chain(failed.map(|finding| finding.metric.clone()))
            .collect();
    }

    fn checked(&mut self, kind: &str, seen: &[Seen]) {
        let unwell: Vec<&Seen> = seen.iter().filter(|seen| !seen.well).collect();
        let what: Vec<String> = unwell
            .iter()
            .map(|seen| format!("{}: {}", seen.name, seen.why))
            .collect();
        if what.is_empty() {
            return;
        }
        let what = format!("the {kind} check failed: {}", what.join("; "));
        let at = unwell.iter().find_map(|seen| seen.at);
        if let Some(at) = at {
            self.push(at, what.clone());
        }
        if self.goes_back {
            return;
        }
        self.against = Some(format!("  {what}\n"));
        self.found_by = unwell.iter().map(|seen| seen.name.clone()).collect();
    }
}

/// What was found at one look, a line each.
pub(crate) fn found(judged: &Judged) -> String {
    let mut text = String::new();
    for seen in &judged.seen {
        let well = if seen.well { "pass" } else { "fail" };
        text.push_str(&format!("  {}: {well} ({})\n", seen.name, seen.why));
    }
    if let Some(judgement) = &judged.judgement {
        for finding in &judgement.findings {
            let outcome = analysis::words(finding.outcome);
            text.push_str(&format!("  {}: {outcome} ({})\n", finding.metric, finding.why));
            if let Some(effect) = analysis::effect(&finding.evidence) {
                text.push_str(&format!("    {effect}\n"));
            }
        }
        for unanswered in &judged.unanswered {
            text.push_str(&format!("  {unanswered}\n"));
        }
        text.push_str(&format!("  {}\n", judgement.why));
    }
    if let Some(basis) = &judged.unjudged {
        text.push_str(&format!("  judged by {basis}\n"));
    }
    text
}

/// Who said yes to the plan of that name: the answer after which it was looked at anew.
fn approved_by(history: &History, hash: &str) -> Option<String> {
    let question = format!("plan {hash} (");
    let (mut answered, mut approved) = (None, None);
    for (key, value) in history {
        match answer(key, value) {
            Some((what, answer)) if what.starts_with(&question) => answered = Some(answer.by),
            None if key.starts_with("look/") => approved = answered.take().or(approved),
            _ => {}
        }
    }
    approved
}

/// What was found when the run looked last, before it began, and who said yes to that.
pub(crate) struct Agreement {
    pub(crate) looked: Vec<Looked>,
    pub(crate) approved_by: Option<String>,
}

/// None where it never came so far.
pub(crate) fn agreement(cx: &TaskCx) -> Result<Option<Agreement>, Stop> {
    Ok(last_look(cx)?.map(|looked| Agreement {
        approved_by: approved_by(&cx.history(), &part::hash(&looked)),
        looked,
    }))
}

fn last_look(cx: &TaskCx) -> Result<Option<Vec<Looked>>, Stop> {
    let mut last = cx.recorded::<Vec<Looked>>("look")?;
    for round in 1_u32.. {
        match cx.recorded(("look", round))? {
            Some(later) => last = Some(later),
            None => break,
        }
    }
    Ok(last)
}
