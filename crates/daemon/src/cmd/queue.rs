//! `longshore queue list|limit|pause|resume`.

use api::QueueView;
use domain::Error;
use serde_json::json;
use store::{Queue, QueueRule, RuleChange, Scope, Store};

use super::repos::no_such_repo;
use super::worker::built_in_types;
use crate::cli::{QueueCommand, What};
use crate::config::{Settings, nearest};
use crate::exit::{Exit, Outcome};
use crate::output::{Output, cell, harmless, moment};
use crate::wiring::{self, As};

/// `who` is at the command line.
pub async fn run(command: QueueCommand, settings: &Settings, who: &str, out: Output) -> Outcome {
    let store = wiring::store(settings, As::Command).await?;
    let outcome = match &command {
        QueueCommand::List => list(&store, out).await,
        QueueCommand::Limit(limit) => {
            let change = RuleChange {
                max_running: Some(limit.most),
                by: who.to_owned(),
                ..RuleChange::default()
            };
            set(&store, &limit.what, &change, out).await
        }
        QueueCommand::Pause(pause) => {
            let change = RuleChange {
                paused: Some(true),
                reason: pause.reason.clone().map(Some),
                by: who.to_owned(),
                ..RuleChange::default()
            };
            set(&store, &pause.what, &change, out).await
        }
        QueueCommand::Resume(what) => {
            let change = RuleChange {
                paused: Some(false),
                by: who.to_owned(),
                ..RuleChange::default()
            };
            set(&store, what, &change, out).await
        }
    };
    store.close().await;
    outcome
}

async fn set(store: &Store, what: &What, change: &RuleChange, out: Output) -> Outcome {
    let (scope, label) = scope(store, what, change).await?;
    let rule = store.set_rule(&scope, change).await?;
    let note = match &scope {
        Scope::Type(name) => strange(&store.served_types().await?, name),
        _ => None,
    };
    let view = json!({ "rule": rule.as_ref().map(api::RuleView::from), "note": note });
    out.answer(&view, |_| {
        let said = sentence(&scope, &label, rule.as_ref());
        match &note {
            Some(note) => harmless(&format!("{said}\nNote: {note}")),
            None => harmless(&said),
        }
    })?;
    Ok(Exit::Done)
}

/// What is meant, and what people call it.
async fn scope(store: &Store, what: &What, change: &RuleChange) -> Result<(Scope, String), Error> {
    if let Some(name) = &what.task_type {
        return Ok((Scope::Type(name.clone()), format!("tasks of the type {name}")));
    }
    let Some(named) = &what.repo else {
        return Ok((Scope::All, "all tasks".to_owned()));
    };
    let of = |label: &str| format!("tasks of the repository {label}");
    if let Some(repo) = store.find_repo(named).await? {
        return Ok((Scope::Repo(repo.id.clone()), of(&repo.at.project)));
    }
    // The rule of one that is gone can be taken away by its id.
    let gives_way = change.max_running == Some(None) || change.paused == Some(false);
    let scope = Scope::Repo(named.clone());
    if gives_way && store.queue().await?.rules.iter().any(|rule| rule.scope == scope) {
        return Ok((scope, of(named)));
    }
    Err(no_such_repo(store, named).await?)
}

/// A rule or a task may come before its workers, so a type that nobody serves is no error.
pub fn strange(served: &[String], name: &str) -> Option<String> {
    if served.iter().any(|known| known == name) {
        return None;
    }
    let known = served.iter().map(String::as_str).chain(built_in_types());
    let near = nearest(name, known).filter(|near| *near != name);
    match near {
        // Where no worker runs, only a word that is nearly another is strange.
        None if served.is_empty() => None,
        Some(near) => Some(format!(
            "no worker that runs now serves the type {name}; did you mean {near}?"
        )),
        None => Some(format!("no worker that runs now serves the type {name}")),
    }
}

fn sentence(scope: &Scope, label: &str, rule: Option<&QueueRule>) -> String {
    let mut all = label.chars();
    let start: String = all
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .chain(all)
        .collect();
    let Some(rule) = rule else {
        return format!("{start} are neither limited nor paused.");
    };
    let limit = rule.max_running.map(|most| match scope {
        Scope::All => format!("At most {most} tasks run at once; {} run now.", rule.running),
        _ => format!("At most {most} {label} run at once; {} run now.", rule.running),
    });
    let pause = rule.paused.as_ref().map(|pause| {
        let by = pause.by.as_deref().unwrap_or("somebody");
        let reason = pause
            .reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(": {reason}"));
        format!(
            "{start} are paused since {} by {by}{reason}\nNone is started; {} that were begun go on to their end.",
            moment(pause.at),
            rule.running
        )
    });
    [limit, pause]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\n")
}

async fn list(store: &Store, out: Output) -> Outcome {
    let queue = store.queue().await?;
    out.answer(&QueueView::from(&queue), |out| table(&queue, out))?;
    Ok(Exit::Done)
}

fn table(queue: &Queue, out: &Output) -> String {
    if queue.rules.is_empty() && queue.resting.is_empty() {
        return "Nothing is limited or paused.".to_owned();
    }
    let mut table = out.table(
        &["WHAT", "NAME", "RUNNING", "AT MOST", "PAUSED", "BY", "REASON"],
        6,
    );
    for rule in &queue.rules {
        let pause = rule.paused.as_ref();
        table.add_row([
            rule.scope.kind().into(),
            cell(&rule.label).into(),
            out.number_cell(rule.running),
            out.number_cell(rule.max_running.map_or_else(String::new, |most| most.to_string())),
            pause.map(|pause| moment(pause.at)).unwrap_or_default().into(),
            cell(pause.and_then(|pause| pause.by.as_deref()).unwrap_or("")).into(),
            cell(pause.and_then(|pause| pause.reason.as_deref()).unwrap_or("")).into(),
        ]);
    }
    for repo in &queue.resting {
        table.add_row([
            "repo".to_owned(),
            cell(&repo.label),
            String::new(),
            String::new(),
            "yes".to_owned(),
            String::new(),
            format!("its row in repos says {}", repo.status),
        ]);
    }
    out.lines(table)
}
