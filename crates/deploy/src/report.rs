//! What people and programs are told of a deployment; pure.

use domain::{Error, ErrorKind, Evidence, Report, Span, Verdict};
use durable::Cause;
use serde_json::json;

use crate::act::{Line, short};
use crate::analysis::Judged;
use crate::course::Kind;
use crate::gates::{self, Gate};
use crate::look::Look;
use crate::part::Looked;
use crate::plan::{Place, Plan};
use crate::revert::Opened;
use crate::{postmortem, story, unjudged};

/// What was decided where a version does not do well: to roll it back, to hold for a person, or to have it mended.
pub(crate) const DECISION: &str = "Decision";

fn report(place: &Place, version: &str, verdict: Verdict, summary: String) -> Report {
    let mut report = Report::new(verdict, summary);
    report.environment = Some(place.name.clone());
    report.version = Some(version.to_owned());
    report
}

fn whose(place: &Place) -> String {
    format!("{} in {}", place.environment.subject(), place.name)
}

/// The plan as people read it: what, and under it what changes.
fn written(lines: &[Line]) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let takes = match line.takes_s {
            0 => String::new(),
            seconds => format!(" [{}]", Span::seconds(seconds)),
        };
        text.push_str(&format!("{}. {}{takes}\n", number + 1, line.what));
        for change in &line.diff {
            text.push_str(&format!("   {change}\n"));
        }
        if let Some(undone_by) = &line.undone_by {
            text.push_str(&format!("   undone by {undone_by}\n"));
        }
    }
    text
}

fn evidence(title: impl Into<String>, text: String) -> Evidence {
    Evidence {
        title: title.into(),
        text,
        first_line: None,
        deciding_line: None,
        link: None,
    }
}

fn plan_evidence(place: &Place, plan: &Plan) -> Evidence {
    evidence(
        format!("Plan {}", plan.hash),
        written(&plan.lines(&place.environment)),
    )
}

fn kind_words(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Whole => None,
        Kind::First => {
            Some("it is the first deployment, so there is nothing to compare with or to go back to")
        }
        Kind::There => Some("it runs already, so it is only checked"),
        Kind::Resumed => Some("it was half out already, and goes on from there"),
    }
}

/// What was to be done, by what it is judged, and that it might be.
fn with_plan(mut report: Report, place: &Place, plan: &Plan, gates: &[Gate]) -> Report {
    report = report.fact("Strategy", &plan.how);
    if let Some(by) = unjudged::judged_by(place, plan) {
        report = report.fact("Judged by", by);
    }
    if let Some(from) = plan.from() {
        report = report.fact("Served before", from);
    }
    for gate in gates {
        let state = if gate.open { "open" } else { "shut" };
        report = report.fact(
            format!("Gate {}", gate.name),
            format!("{state}: {}", gate.evidence),
        );
    }
    if let Some(why) = kind_words(plan.kind) {
        report = report.why(capital(why) + ".");
    }
    report.evidence.push(plan_evidence(place, plan));
    report
}

/// This stands in every note, whatever the end.
pub(crate) fn with_agreed(
    report: Report,
    place: &Place,
    looked: &Looked,
    approved_by: Option<&str>,
) -> Report {
    let report = with_plan(report, place, &looked.plan, &looked.gates);
    match approved_by {
        Some(by) => report.fact("Approved by", by),
        None => report,
    }
}

pub(crate) fn planned(place: &Place, plan: &Plan, gates: &[Gate]) -> Report {
    let lines = plan.lines(&place.environment);
    let takes: u64 = lines.iter().map(|line| line.takes_s).sum();
    let mut summary = format!(
        "Nothing was touched: bringing {} to {} would take {} steps and at least {}",
        plan.version,
        whose(place),
        lines.len(),
        Span::seconds(takes)
    );
    let shut = gates::shut(gates);
    if let Some(shut) = &shut {
        summary.push_str(&format!(", but it would be refused now: {}", shut.what));
    }
    let verdict = match shut {
        Some(_) => Verdict::ActionNeeded,
        None => Verdict::Succeeded,
    };
    let mut report = with_plan(report(place, &plan.version, verdict, summary), place, plan, gates);
    report.next_steps.extend(shut.and_then(|shut| shut.next));
    report.data = json!({
        "dry_run": true, "plan": lines, "hash": plan.hash, "takes_s": takes, "kind": plan.kind,
        "from": plan.from(), "version": plan.version, "environment": place.name, "gates": gates,
        "needs_approval": place.needs_approval(),
    });
    if let Some(shut) = gates::shut(gates) {
        report.data["refused"] = json!(shut.what);
    }
    report
}

/// It could not be carried out as it stands.
pub(crate) fn unfit(place: &Place, plan: &Plan, why: &str) -> Report {
    let summary = format!(
        "Nothing was touched: bringing {} to {} would be held for a person: {why}",
        plan.version,
        whose(place)
    );
    let mut report = report(place, &plan.version, Verdict::ActionNeeded, summary);
    report.data = json!({
        "dry_run": true, "unfit": why, "from": plan.from(), "version": plan.version, "environment": place.name,
    });
    report
}

/// The question whether the plan may be carried out.
pub(crate) fn to_approve(place: &Place, plan: &Plan, gates: &[Gate]) -> Report {
    let summary = format!("{} waits for approval to go to {}", plan.version, whose(place));
    with_plan(
        report(place, &plan.version, Verdict::NeedsApproval, summary),
        place,
        plan,
        gates,
    )
}

pub(crate) fn question(place: &Place, verdict: Verdict, summary: &str) -> Report {
    let mut report = Report::new(verdict, format!("{}: {summary}", whose(place)));
    report.environment = Some(place.name.clone());
    report
}

/// What is told at the end beside the verdict.
#[derive(Default)]
pub(crate) struct Told<'a> {
    pub(crate) gates: &'a [Gate],
    pub(crate) judged: &'a [(String, Judged)],
    pub(crate) approved_by: Option<String>,
    /// Why the forge has no record of it, if it has none.
    pub(crate) unrecorded: Option<String>,
    pub(crate) record_url: Option<String>,
}

pub(crate) fn done(place: &Place, plan: &Plan, told: &Told) -> Report {
    let summary = match plan.kind {
        Kind::There => format!("{} runs already as {} and is well", plan.version, whose(place)),
        _ => format!("{} is live as {} ({})", plan.version, whose(place), plan.how),
    };
    let mut report = with_plan(
        report(place, &plan.version, Verdict::Succeeded, summary),
        place,
        plan,
        told.gates,
    );
    report = beside(report, told);
    report.data = json!({
        "outcome": "succeeded", "kind": plan.kind, "version": plan.version, "environment": place.name,
        "from": plan.from(), "plan_hash": plan.hash, "judged": told.judged,
    });
    report
}

fn beside(mut report: Report, told: &Told) -> Report {
    if let Some(by) = &told.approved_by {
        report = report.fact("Approved by", by);
    }
    if let Some(url) = &told.record_url {
        report = report.linked_fact("Deployment", "at the forge", url);
    }
    if let Some(why) = &told.unrecorded {
        report = report.fact("Not recorded at the forge", why);
    }
    let mut text = String::new();
    for (reached, judged) in told.judged {
        text.push_str(&format!("{reached}: {}\n", judged.words()));
        text.push_str(&story::found(judged));
    }
    if !text.is_empty() {
        report.evidence.insert(0, evidence("Judgements", text));
    }
    report
}

/// What is done is not undone because the task was stopped afterwards.
pub(crate) fn over_already(report: Report, cause: &Cause) -> Report {
    let why = format!(
        "{}; it was over by then, so nothing was taken back",
        because(cause)
    );
    report.fact("Stopped afterwards", why)
}

/// How it was stopped, in the words of a sentence's end.
fn because(cause: &Cause) -> String {
    cause
        .error()
        .map_or_else(|| "it was cancelled".to_owned(), told_once)
}

/// What happened and why, without what to do next: that stands for itself.
pub(crate) fn told_once(error: &Error) -> String {
    let mut words = error.what.clone();
    for cause in &error.causes {
        words.push_str(": ");
        words.push_str(cause);
    }
    words
}

pub(crate) fn untouched(place: &Place, version: &str, cause: &Cause) -> Report {
    let verdict = if *cause == Cause::Cancelled {
        Verdict::Cancelled
    } else {
        Verdict::Failed
    };
    let summary = format!(
        "{version} did not go to {}, and nothing was touched: {}",
        whose(place),
        because(cause)
    );
    let mut told = report(place, version, verdict, summary);
    told.next_steps
        .extend(cause.error().and_then(|error| error.next.clone()));
    told.data = json!({"outcome": "not_begun", "version": version, "environment": place.name});
    told
}

/// It was taken back.
pub(crate) fn undone(place: &Place, plan: &Plan, undone: &[Line], cause: &Cause, told: &Told) -> Report {
    let verdict = match cause {
        Cause::Cancelled => Verdict::Cancelled,
        _ if undone.is_empty() => Verdict::Failed,
        _ => Verdict::RolledBack,
    };
    let summary = match (undone.is_empty(), plan.from()) {
        (true, _) => format!(
            "{} did not do well in {}, and nothing had been changed: {}",
            plan.version,
            whose(place),
            because(cause)
        ),
        (false, Some(from)) => format!(
            "{} was taken back from {}, {from} serves again: {}",
            plan.version,
            whose(place),
            because(cause)
        ),
        (false, None) => format!(
            "{} was taken back from {}, nothing ran before, and nothing runs now: {}",
            plan.version,
            whose(place),
            because(cause)
        ),
    };
    let mut report = report(place, &plan.version, verdict, summary);
    if verdict == Verdict::RolledBack {
        let to = plan.from().map_or_else(
            || "rollback to nothing: nothing ran before that could serve".to_owned(),
            |from| format!("rollback to {from}: it served before, and can take the traffic"),
        );
        report = report.fact(DECISION, to);
    }
    report = beside(report, told);
    if !undone.is_empty() {
        report
            .evidence
            .push(evidence("How it was taken back", written(undone)));
    }
    report
        .next_steps
        .extend(cause.error().and_then(|error| error.next.clone()));
    report = report.next_step(match verdict {
        Verdict::Cancelled => "Deploy it again when it is wanted".to_owned(),
        _ => format!("Find out why {} failed before it is deployed again", plan.version),
    });
    report.data = json!({
        "outcome": if verdict == Verdict::Cancelled { "cancelled" } else { "rolled_back" },
        "version": plan.version, "environment": place.name, "serves": plan.from(), "cause": because(cause),
    });
    report
}

/// Whether it ended because somebody else changed what it works on.
pub(crate) fn is_by_hand(cause: &Cause) -> bool {
    cause
        .error()
        .is_some_and(|error| error.kind == ErrorKind::Conflict)
}

/// It is left as it is: nobody undoes what somebody else did, or a person said so.
pub(crate) fn left(place: &Place, plan: &Plan, stands: &str, why: &str, by_hand: bool) -> Report {
    let summary = format!(
        "{} is half out in {}, and was left so: {why}",
        plan.version,
        whose(place)
    );
    let held = match by_hand {
        true => "hold: nobody undoes what somebody else did".to_owned(),
        false => format!("hold: left as it is: {why}"),
    };
    let mut report = report(place, &plan.version, Verdict::Failed, summary)
        .fact(DECISION, held)
        .fact("Stands now", stands)
        .next_step(format!(
            "Deploy {} again to go on from there, or roll {} back",
            plan.version, place.name
        ));
    report.who = by_hand.then(|| "whoever changed it by hand".to_owned());
    report.data =
        json!({"outcome": "left", "version": plan.version, "environment": place.name, "cause": why});
    report
}

/// What serves, in a line.
pub(crate) fn stands(look: &Look) -> String {
    let standing = look.standing();
    let side = |side: &Option<(String, u32)>| match side {
        Some((version, replicas)) => format!("{version} ({replicas})"),
        None => "nothing".to_owned(),
    };
    match standing.flag {
        Some(percent) => format!("the flag is on for {percent} %"),
        None => format!(
            "stable {}, candidate {} with {} % of the traffic",
            side(&standing.stable),
            side(&standing.candidate),
            short(standing.share.unwrap_or_default())
        ),
    }
}

/// A rollback that was asked for is done.
pub(crate) fn rolled_back(
    place: &Place,
    plan: &Plan,
    lines: &[Line],
    reason: &str,
    draft: String,
    told: &Told,
) -> Report {
    let summary = match (lines.is_empty(), place.only_flag) {
        (_, true) => format!("The flag of {} is off: {reason}", whose(place)),
        (true, _) => format!(
            "{} serves {} already, and nothing beside it: {reason}",
            plan.version,
            whose(place)
        ),
        (false, _) => format!("{} was rolled back to {}: {reason}", whose(place), plan.version),
    };
    let mut report = beside(report(place, &plan.version, Verdict::RolledBack, summary), told);
    if !lines.is_empty() {
        report.evidence.push(evidence("How it went back", written(lines)));
    }
    report = with_draft(report, draft);
    report.data = json!({
        "outcome": "rolled_back", "version": plan.version, "environment": place.name, "from": plan.from(),
        "reason": reason, "changed": !lines.is_empty(),
    });
    report
}

pub(crate) fn with_draft(mut report: Report, draft: String) -> Report {
    report.evidence.push(evidence(postmortem::TITLE, draft));
    report.next_step(postmortem::COMPLETE)
}

pub(crate) fn with_revert(mut report: Report, revert: Option<&Opened>) -> Report {
    match revert {
        None => report,
        Some(Opened::At(revert)) => {
            report.data["revert"] = json!({"iid": revert.iid, "url": revert.url});
            report
                .linked_fact("Revert", format!("merge request {}", revert.iid), &revert.url)
                .next_step("Decide about the merge request that takes the code back")
        }
        Some(Opened::Not(why)) => report.fact("Code not taken back", why),
    }
}

/// There is no version to go back to.
pub(crate) fn nowhere(place: &Place, why: &str) -> Report {
    let mut report = Report::new(
        Verdict::ActionNeeded,
        format!("{} cannot be rolled back: {why}", whose(place)),
    )
    .next_step("Bring out a version that mends it, or name one: `rollback ENV to VERSION`");
    report.environment = Some(place.name.clone());
    report.data = json!({"outcome": "nowhere", "environment": place.name});
    report
}

pub(crate) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
