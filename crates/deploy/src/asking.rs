//! Questions to people: what is told with each, and what their answers mean.

use std::time::Duration;

use domain::{Approval, Error, Report, Span, Verdict};
use durable::{Stop, TaskCx, Waited};

use crate::act::Act;
use crate::plan::Place;
use crate::report;
use crate::turn::{NEWER, Turn};

/// Who is asked, and what ends the question unanswered.
pub(crate) struct Asker<'a> {
    pub(crate) cx: &'a TaskCx,
    pub(crate) place: &'a Place,
    /// None where nothing goes before it: what is being undone is undone.
    pub(crate) turn: Option<Turn<'a>>,
}

impl Asker<'_> {
    async fn answer(&self, what: &str, told: &Report) -> Result<Option<Approval>, Stop> {
        let approvers = &self.place.environment.approval.approvers;
        answer(self.cx, approvers, self.turn, what, None, told).await
    }
}

/// Asks until somebody answers who may. None when nobody did in time.
async fn answer(
    cx: &TaskCx,
    approvers: &[String],
    turn: Option<Turn<'_>>,
    what: &str,
    within: Option<Duration>,
    told: &Report,
) -> Result<Option<Approval>, Stop> {
    let mut why_again = String::new();
    for asked in 0_u32.. {
        let what = match asked {
            0 => what.to_owned(),
            again => format!("{what}, asked again ({again})"),
        };
        let mut told = told.clone();
        if asked > 0 {
            told = told.fact("Asked again", &why_again);
        }
        told = told.next_step(format!("Approve or reject {what:?}"));
        if !approvers.is_empty() {
            told.who = Some(approvers.join(", "));
        }
        cx.tell(("asked", &what), &told).await?;
        let answer = match turn {
            None => cx.wait_for_approval(&what, within).await?,
            Some(turn) => match cx.wait_for_approval_or(&what, within, &[NEWER]).await? {
                Waited::Got(answer) => Some(answer),
                Waited::TimedOut => None,
                Waited::Interrupted(_) => {
                    turn.still_ours(&format!("asked {what}")).await?;
                    "a newer deployment was asked for, and does not go before this one"
                        .clone_into(&mut why_again);
                    continue;
                }
            },
        };
        let may = |answer: &Approval| approvers.is_empty() || approvers.contains(&answer.by);
        if answer.as_ref().is_none_or(may) {
            return Ok(answer);
        }
        why_again = format!("only {} may answer", approvers.join(", "));
    }
    Ok(None)
}

/// Whether what is planned may be carried out.
pub(crate) struct ForThePlan<'a> {
    pub(crate) cx: &'a TaskCx,
    pub(crate) turn: Option<Turn<'a>>,
    pub(crate) approvers: Vec<String>,
    pub(crate) within: Option<Span>,
    /// How often this very plan was asked about before: it had changed in between, so that the earlier answer lapsed.
    pub(crate) asked_before: usize,
}

impl ForThePlan<'_> {
    /// The question names the plan: another plan is another question.
    pub(crate) async fn ask(&self, hash: &str, of: &str, told: &Report) -> Result<Approval, Stop> {
        let mut what = format!("plan {hash} ({of})");
        if self.asked_before > 0 {
            what.push_str(&format!(", once more ({})", self.asked_before));
        }
        let within = self.within.map(|within| within.0);
        match answer(self.cx, &self.approvers, self.turn, &what, within, told).await? {
            Some(answer) if answer.is_approved() => Ok(answer),
            Some(answer) => Err(Stop::Fail(Error::rejected(said_no(&what, &answer)))),
            None => {
                let within = self.within.unwrap_or(Span(Duration::ZERO));
                Err(Stop::Fail(
                    Error::rejected(format!("nobody approved {what} within {within}"))
                        .next("Create the task again when somebody can answer"),
                ))
            }
        }
    }
}

/// A step that waits for a person's word.
pub(crate) async fn to_go_on(
    asker: &Asker<'_>,
    tag: &str,
    question: &str,
    reached: &str,
) -> Result<(), Stop> {
    let told = report::question(
        asker.place,
        Verdict::NeedsApproval,
        &format!("{question}? So far: {reached}"),
    );
    let what = format!("{question} ({}, step {tag})", asker.place.label());
    yes_or_fail(asker, &what, &told).await
}

pub(crate) async fn without_a_verdict(
    asker: &Asker<'_>,
    tag: &str,
    why: &str,
    reached: &str,
) -> Result<(), Stop> {
    let told = report::question(
        asker.place,
        Verdict::NeedsApproval,
        &format!("It cannot be judged by itself: {why}. So far: {reached}"),
    );
    let what = format!("going on without a verdict ({}, step {tag})", asker.place.label());
    yes_or_fail(asker, &what, &told).await
}

async fn yes_or_fail(asker: &Asker<'_>, what: &str, told: &Report) -> Result<(), Stop> {
    match asker.answer(what, told).await? {
        Some(answer) if answer.is_approved() => Ok(()),
        Some(answer) => Err(Stop::Fail(Error::rejected(said_no(what, &answer)))),
        None => Err(Stop::Fail(Error::rejected(format!("nobody answered: {what}")))),
    }
}

/// Somebody else changed what this task works on: nothing more is done until a person says so. A no leaves everything
/// as it is.
pub(crate) async fn after_a_change_by_hand(
    asker: &Asker<'_>,
    tag: &str,
    act: &Act,
    error: &Error,
) -> Result<(), Stop> {
    let told = report::question(
        asker.place,
        Verdict::Held,
        &format!("Held before it could {}: {}", act.what(), error.what),
    )
    .why("Going on would overwrite what somebody did by hand.")
    .next_step("Approve to go on from what is there now; reject to leave everything as it is");
    let what = format!(
        "going on after a change by hand ({}, step {tag})",
        asker.place.label()
    );
    match asker.answer(&what, &told).await? {
        Some(answer) if answer.is_approved() => Ok(()),
        Some(answer) => Err(Stop::Fail(error.clone().context(said_no(&what, &answer)))),
        None => Err(Stop::Fail(error.clone())),
    }
}

/// Going back failed, or cannot be done safely. A yes looks anew and tries again; a no leaves everything as it is.
pub(crate) async fn to_undo_again(cx: &TaskCx, place: &Place, round: u32, why: &str) -> Result<bool, Stop> {
    let asker = Asker {
        cx,
        place,
        turn: None,
    };
    let told = report::question(place, Verdict::Held, &format!("Held, not rolled back: {why}"))
        .fact(report::DECISION, "hold: a person decides")
        .why("Falling back to something that is not well would make it worse.")
        .next_step("Bring the stable side in order, then approve: it is looked at anew and rolled back")
        .next_step("Reject to leave everything as it is");
    let what = format!("rolling back again ({}, try {})", place.label(), round + 1);
    let answer = asker.answer(&what, &told).await?;
    Ok(answer.is_some_and(|answer| answer.is_approved()))
}

/// It went back, and what serves `again` is not well. A yes looks at it anew; a no leaves it so.
pub(crate) async fn to_verify_again(
    cx: &TaskCx,
    place: &Place,
    round: u32,
    again: &str,
    why: &str,
) -> Result<bool, Stop> {
    let asker = Asker {
        cx,
        place,
        turn: None,
    };
    let held = format!("Held: {again}, and is not well: {why}");
    let told = report::question(place, Verdict::Held, &held)
        .fact(report::DECISION, "hold: a person decides")
        .why("The failure is not over while what serves is not well.")
        .next_step("Bring what serves in order, then approve: it is looked at and measured anew")
        .next_step("Reject to leave it as it is");
    let what = format!(
        "looking again at what serves ({}, try {})",
        place.label(),
        round + 1
    );
    let answer = asker.answer(&what, &told).await?;
    Ok(answer.is_some_and(|answer| answer.is_approved()))
}

fn said_no(what: &str, answer: &Approval) -> String {
    let why = answer
        .comment
        .as_ref()
        .map_or_else(String::new, |why| format!(": {why}"));
    format!("{} rejected {what}{why}", answer.by)
}
