//! Questions to people: what is told with each, and what their answers mean.

use std::time::Duration;

use domain::{Approval, Error, Report, Verdict};
use durable::{Stop, TaskCx};

use crate::act::Act;
use crate::plan::{Place, Plan};
use crate::report;

/// Asks until somebody answers who may. None when nobody did in time.
async fn answer(
    cx: &TaskCx,
    place: &Place,
    what: &str,
    within: Option<Duration>,
    told: &Report,
) -> Result<Option<Approval>, Stop> {
    let approvers = &place.environment.approval.approvers;
    for asked in 0_u32.. {
        let what = match asked {
            0 => what.to_owned(),
            again => format!("{what}, asked again ({again})"),
        };
        let mut told = told.clone();
        if asked > 0 {
            told = told.fact("Asked again", format!("only {} may answer", approvers.join(", ")));
        }
        told = told.next_step(format!("Approve or reject {what:?}"));
        if !approvers.is_empty() {
            told.who = Some(approvers.join(", "));
        }
        cx.tell(("asked", &what), &told).await?;
        let answer = cx.wait_for_approval(&what, within).await?;
        let may = |answer: &Approval| approvers.is_empty() || approvers.contains(&answer.by);
        if answer.as_ref().is_none_or(may) {
            return Ok(answer);
        }
    }
    Ok(None)
}

/// Whether the plan may be carried out. The question names the plan: another plan is another question.
pub(crate) async fn for_the_plan(
    cx: &TaskCx,
    place: &Place,
    plan: &Plan,
    asked_before: usize,
    told: &Report,
) -> Result<Approval, Stop> {
    let mut what = format!("plan {} ({} to {})", plan.hash, plan.version, place.name);
    if asked_before > 0 {
        // It had changed in between, so that the earlier answer lapsed.
        what.push_str(&format!(", once more ({asked_before})"));
    }
    let within = place.environment.approval.within;
    match answer(cx, place, &what, Some(within.0), told).await? {
        Some(answer) if answer.is_approved() => Ok(answer),
        Some(answer) => Err(Stop::Fail(Error::rejected(said_no(&what, &answer)))),
        None => Err(Stop::Fail(
            Error::rejected(format!("nobody approved {what} within {within}"))
                .next("Create the task again when somebody can answer"),
        )),
    }
}

/// A step that waits for a person's word.
pub(crate) async fn to_go_on(
    cx: &TaskCx,
    place: &Place,
    tag: &str,
    question: &str,
    reached: &str,
) -> Result<(), Stop> {
    let told = report::question(
        place,
        Verdict::NeedsApproval,
        &format!("{question}? So far: {reached}"),
    );
    yes_or_fail(
        cx,
        place,
        &format!("{question} ({}, step {tag})", place.name),
        &told,
    )
    .await
}

pub(crate) async fn without_a_verdict(
    cx: &TaskCx,
    place: &Place,
    tag: &str,
    why: &str,
    reached: &str,
) -> Result<(), Stop> {
    let told = report::question(
        place,
        Verdict::NeedsApproval,
        &format!("It cannot be judged by itself: {why}. So far: {reached}"),
    );
    let what = format!("going on without a verdict ({}, step {tag})", place.name);
    yes_or_fail(cx, place, &what, &told).await
}

async fn yes_or_fail(cx: &TaskCx, place: &Place, what: &str, told: &Report) -> Result<(), Stop> {
    match answer(cx, place, what, None, told).await? {
        Some(answer) if answer.is_approved() => Ok(()),
        Some(answer) => Err(Stop::Fail(Error::rejected(said_no(what, &answer)))),
        None => Err(Stop::Fail(Error::rejected(format!("nobody answered: {what}")))),
    }
}

/// Somebody else changed what this task works on: nothing more is done until a person says so. A no leaves everything
/// as it is.
pub(crate) async fn after_a_change_by_hand(
    cx: &TaskCx,
    place: &Place,
    tag: &str,
    act: &Act,
    error: &Error,
) -> Result<(), Stop> {
    let told = report::question(
        place,
        Verdict::Held,
        &format!("Held before it could {}: {}", act.what(), error.what),
    )
    .why("Going on would overwrite what somebody did by hand.")
    .next_step("Approve to go on from what is there now; reject to leave everything as it is");
    let what = format!("going on after a change by hand ({}, step {tag})", place.name);
    match answer(cx, place, &what, None, &told).await? {
        Some(answer) if answer.is_approved() => Ok(()),
        Some(answer) => Err(Stop::Fail(error.clone().context(said_no(&what, &answer)))),
        None => Err(Stop::Fail(error.clone())),
    }
}

/// Going back failed, or cannot be done safely. A yes looks anew and tries again; a no leaves everything as it is.
pub(crate) async fn to_undo_again(cx: &TaskCx, place: &Place, round: u32, why: &str) -> Result<bool, Stop> {
    let told = report::question(place, Verdict::Held, &format!("Held, not rolled back: {why}"))
        .why("Falling back to something that is not well would make it worse.")
        .next_step("Bring the stable side in order, then approve: it is looked at anew and rolled back")
        .next_step("Reject to leave everything as it is");
    let what = format!("rolling back again ({}, try {})", place.name, round + 1);
    let answer = answer(cx, place, &what, None, &told).await?;
    Ok(answer.is_some_and(|answer| answer.is_approved()))
}

fn said_no(what: &str, answer: &Approval) -> String {
    let why = answer
        .comment
        .as_ref()
        .map_or_else(String::new, |why| format!(": {why}"));
    format!("{} rejected {what}{why}", answer.by)
}
