//! The draft of a post-mortem: what is known, in the order in which it happened, and what is left to be found out.

use chrono::{DateTime, Utc};
use ports::Deployment;

use crate::report::capital;
use crate::revert::Opened;

pub(crate) struct Facts<'a> {
    pub(crate) workload: &'a str,
    pub(crate) environment: &'a str,
    /// The deployment that was rolled back, where the log knows it.
    pub(crate) bad: Option<&'a Deployment>,
    pub(crate) bad_version: Option<&'a str>,
    pub(crate) target: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) asked_at: DateTime<Utc>,
    pub(crate) recovered_at: DateTime<Utc>,
    /// What became of taking the code back, where that was wished for.
    pub(crate) revert: Option<&'a Opened>,
}

pub(crate) fn draft(facts: &Facts) -> String {
    let bad = facts.bad_version.unwrap_or("the version before");
    let mut text = format!(
        "What happened\n{bad} was rolled back from {} in {} to {}: {}\n\nTimeline (UTC)\n",
        facts.workload, facts.environment, facts.target, facts.reason
    );
    for (at, what) in timeline(facts) {
        text.push_str(&format!("{}  {what}\n", at.format("%Y-%m-%d %H:%M:%S")));
    }
    if let Some(revert) = facts.revert {
        text.push_str("\nFollow-ups\n");
        text.push_str(&match revert {
            Opened::At(revert) => format!(
                "- Decide about the merge request that takes the code back: {}\n",
                revert.url
            ),
            Opened::Not(why) => format!("- Take the code back by hand, if it is at fault: {why}\n"),
        });
    }
    text.push_str("\nTo be found out\n");
    for question in [
        format!("What in {bad} caused it? Compare it with {}", facts.target),
        "How many users met it, and for how long?".to_owned(),
        "Which check would have found it before it went out? Add it to the pipeline or to the environment's analysis"
            .to_owned(),
    ] {
        text.push_str(&format!("- {question}\n"));
    }
    text
}

fn timeline(facts: &Facts) -> Vec<(DateTime<Utc>, String)> {
    let mut events = Vec::new();
    if let Some(bad) = facts.bad {
        let what = &bad.what;
        let from = what.sha.as_deref().map_or_else(String::new, |sha| {
            format!(" from commit {}", sha.chars().take(12).collect::<String>())
        });
        events.push((
            bad.asked_at,
            format!(
                "{} was to be deployed{from} (task {})",
                what.version, what.task_id
            ),
        ));
        events.extend(
            bad.started_at
                .map(|at| (at, format!("its deployment began ({})", what.strategy))),
        );
        if let (Some(at), Some(outcome)) = (bad.ended_at, bad.outcome) {
            let outcome = outcome.as_str().replace('_', " ");
            let why = bad
                .cause
                .as_ref()
                .map_or_else(String::new, |cause| format!(": {cause}"));
            events.push((at, format!("it ended as {outcome}{why}")));
        }
        for failure in &bad.failures {
            events.push((failure.began_at, capital(&failure.cause)));
        }
    }
    events.push((facts.asked_at, "the rollback was asked for".to_owned()));
    events.push((
        facts.recovered_at,
        format!("{} serves again and is well", facts.target),
    ));
    events.sort_by_key(|(at, _)| *at);
    events
}
