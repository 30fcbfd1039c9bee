//! The draft of a post-mortem: what is known, in the order in which it happened, and what is left to be done.

use std::time::Duration;

use chrono::{DateTime, Utc};
use durable::{Stop, TaskCx};
use ports::Deployment;

use crate::act::short;
use crate::deploy::Deploy;
use crate::ledger::{self, LOOKED_THROUGH};
use crate::part::{Looked, Part};
use crate::plan;
use crate::report::capital;
use crate::revert::Opened;
use crate::story::Story;
use crate::{target, turn};

pub(crate) const TITLE: &str = "Post-mortem (draft)";
pub(crate) const COMPLETE: &str = "Complete the draft of the post-mortem with those who know what happened";

pub(crate) struct Facts<'a> {
    pub(crate) workload: &'a str,
    pub(crate) environment: &'a str,
    /// The deployment that was rolled back, where the log knows it.
    pub(crate) bad: Option<&'a Deployment>,
    pub(crate) bad_version: Option<&'a str>,
    /// What serves again; nothing where nothing ran before.
    pub(crate) target: Option<&'a str>,
    pub(crate) reason: &'a str,
    /// When a rollback was asked for; what takes itself back is not asked.
    pub(crate) asked_at: Option<DateTime<Utc>>,
    pub(crate) recovered_at: DateTime<Utc>,
    /// What this task itself did and saw.
    pub(crate) story: &'a Story,
    /// Where a person sees what changed between the two versions.
    pub(crate) changes: Option<&'a str>,
    /// A flag is switched off, and no code is taken back for it.
    pub(crate) only_flag: bool,
    /// What became of taking the code back, where that was wished for.
    pub(crate) revert: Option<&'a Opened>,
}

impl Facts<'_> {
    fn bad_name(&self) -> &str {
        self.bad_version.unwrap_or("the version before")
    }
}

fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

pub(crate) fn draft(facts: &Facts) -> String {
    let mut text = format!("What happened\n{}\n", what_happened(facts));
    text.push_str(&format!("\nImpact\n{}\n", impact(facts)));
    text.push_str(&format!("\nCause\n{}\n", cause(facts)));
    text.push_str("\nTimeline (UTC)\n");
    for (at, what) in timeline(facts) {
        text.push_str(&format!("{}  {what}\n", stamp(at)));
    }
    let evidence = evidence(facts);
    if !evidence.is_empty() {
        text.push_str(&format!("\nEvidence\n{evidence}"));
    }
    text.push_str("\nFollow-ups\n");
    for line in follow_ups(facts) {
        text.push_str(&format!("- {line}\n"));
    }
    text
}

fn what_happened(facts: &Facts) -> String {
    let (bad, at) = (facts.bad_name(), (facts.workload, facts.environment));
    let how = match facts.asked_at {
        Some(_) => "rolled back",
        None => "taken back",
    };
    let to = match (facts.target, facts.only_flag) {
        (_, true) => ", and the flag is as it was".to_owned(),
        (Some(target), _) => format!(" to {target}"),
        (None, _) => ", and nothing runs there, as before".to_owned(),
    };
    format!("{bad} was {how} from {} in {}{to}: {}", at.0, at.1, facts.reason)
}

/// Since when users may have got it, as long as it was this deployment that they got it from.
fn impact(facts: &Facts) -> String {
    let bad = facts.bad_name();
    let Some(known) = facts.bad else {
        return format!("Since when users had {bad} is not known: the log has no deployment of it.");
    };
    let Some(from) = known.reached_at else {
        return format!("No user got {bad}: it was taken back before any was sent to it.");
    };
    let lasted = (facts.recovered_at - from).to_std().unwrap_or(Duration::ZERO);
    let most = facts.story.most.map_or_else(String::new, |most| {
        let of = if facts.only_flag { "users" } else { "traffic" };
        format!(", at most {} % of the {of}", short(most))
    });
    format!(
        "Users may have got {bad} for {}, from {} to {}{most}. How many of them met it is to be found out.",
        turn::whole(lasted),
        stamp(from),
        stamp(facts.recovered_at)
    )
}

fn cause(facts: &Facts) -> String {
    let first = facts.bad.and_then(|bad| bad.failures.first());
    let told = first.map_or(facts.reason, |failure| failure.cause.as_str());
    format!(
        "{}. What in {} made it so is to be found out.",
        capital(told),
        facts.bad_name()
    )
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
        events.extend(
            bad.reached_at
                .map(|at| (at, "from here on users may have got it".to_owned())),
        );
    }
    events.extend(
        facts
            .asked_at
            .map(|at| (at, "the rollback was asked for".to_owned())),
    );
    events.extend(facts.story.events.iter().cloned());
    if let Some(bad) = facts.bad {
        // What it was blamed for stands for its end where both are the same.
        for failure in &bad.failures {
            events.push((failure.began_at, format!("it failed: {}", failure.cause)));
        }
    }
    // At one time, what it failed for comes before what was done about it.
    events.extend(facts.story.back.iter().cloned());
    if let Some(bad) = facts.bad {
        let blamed = |cause: &String| bad.failures.iter().any(|failure| failure.cause == *cause);
        if let (Some(at), Some(outcome)) = (bad.ended_at, bad.outcome) {
            let outcome = outcome.as_str().replace('_', " ");
            let why = bad.cause.as_ref().filter(|cause| !blamed(cause));
            let why = why.map_or_else(String::new, |cause| format!(": {cause}"));
            events.push((at, format!("it ended as {outcome}{why}")));
        }
    }
    events.push((
        facts.recovered_at,
        match (facts.target, facts.only_flag) {
            (_, true) => "the flag is as it was".to_owned(),
            (Some(target), _) => format!("{target} serves again"),
            (None, _) => "nothing runs there, as before".to_owned(),
        },
    ));
    events.sort_by_key(|(at, _)| *at);
    events
}

fn evidence(facts: &Facts) -> String {
    let story = facts.story;
    let mut text = String::new();
    if let Some(against) = &story.against {
        text.push_str(&format!("What was found against it:\n{against}"));
    }
    if !story.words.is_empty() {
        text.push_str("What the target said:\n");
        for said in &story.words {
            text.push_str(&format!("  {said}\n"));
        }
    }
    text
}

fn follow_ups(facts: &Facts) -> Vec<String> {
    let bad = facts.bad_name();
    let mut todo = Vec::new();
    todo.push(match (facts.target, facts.changes, facts.only_flag) {
        (_, _, true) => format!("Find what behind the flag caused it, before {bad} is turned on again"),
        (Some(target), Some(url), _) => {
            format!("Find the cause in what changed between {target} and {bad}: {url}")
        }
        (Some(target), None, _) => format!("Find the cause in what changed between {target} and {bad}"),
        (None, ..) => {
            format!("Find what in {bad} caused it: nothing ran before that it could be compared with")
        }
    });
    let found_by = match facts.story.found_by.as_slice() {
        [] => String::new(),
        names => format!(" (now it was {})", names.join(", ")),
    };
    todo.push(format!(
        "Add a test, a smoke check or a metric that finds it sooner, before users do{found_by}"
    ));
    match facts.revert {
        Some(Opened::At(revert)) => todo.push(format!(
            "Decide about the merge request that takes the code back: {}",
            revert.url
        )),
        Some(Opened::Not(why)) => {
            todo.push(format!("Take the code back by hand, if it is at fault: {why}"));
        }
        None if facts.only_flag => {}
        None => todo.push(format!(
            "Take the code of {bad} back, if it is at fault and is not mended soon"
        )),
    }
    todo.push("Find out how many users met it, and tell those who need to know".to_owned());
    todo
}

impl Deploy {
    /// The draft for what took itself back, at the very end: what serves waits for nothing of it.
    pub(crate) async fn post_mortem(
        &self,
        cx: &TaskCx,
        part: &Part,
        begun: &Looked,
        story: &Story,
        (reason, revert): (&str, Option<&Opened>),
    ) -> Result<String, Stop> {
        let (place, plan, id) = (&part.place, &begun.plan, &part.id(&cx.task().id));
        let (now, newest): (DateTime<Utc>, Vec<Deployment>) = cx
            .step("post-mortem", |_| async move {
                let log = &self.outside.log;
                let newest = log.newest(&place.repo_id, &place.name, LOOKED_THROUGH).await?;
                Ok((log.now().await?, target::of_place(place, newest)))
            })
            .await?;
        let bad = newest.iter().find(|known| known.what.id == *id);
        let recovered = bad
            .and_then(|bad| {
                bad.failures
                    .iter()
                    .find(|failure| failure.id == ledger::failure_id(id))
            })
            .and_then(|failure| failure.recovered_at);
        let changes = self.changes(cx, part, plan.from(), &newest).await?;
        let facts = Facts {
            workload: place.environment.subject(),
            environment: &place.name,
            bad,
            bad_version: Some(&part.version),
            target: plan.from(),
            reason,
            asked_at: None,
            recovered_at: recovered.unwrap_or(now),
            story,
            changes: changes.as_deref(),
            only_flag: place.only_flag,
            revert,
        };
        Ok(draft(&facts))
    }

    /// Where the difference between the two versions is shown, if the forge knows both.
    async fn changes(
        &self,
        cx: &TaskCx,
        part: &Part,
        from: Option<&str>,
        newest: &[Deployment],
    ) -> Result<Option<String>, Stop> {
        let (place, forge) = (&part.place, &self.outside);
        let (Some(from), Some(to)) = (from.filter(|_| !place.only_flag), &part.commit) else {
            return Ok(None);
        };
        let known = target::made_from(from, newest).map(|commit| commit.sha);
        let from = match known {
            Some(sha) => Some(sha),
            None => {
                let found = ledger::at_the_forge(cx, "compared-with", |_| {
                    plan::commit(forge, &place.repo, None, from)
                });
                found.await?.ok().flatten().map(|commit| commit.sha)
            }
        };
        Ok(from.and_then(|from| forge.environments.comparison(&place.repo, &from, &to.sha)))
    }
}
