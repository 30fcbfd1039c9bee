//! `longshore tasks list|show|cancel|retry`; `watch` stands on its own.

use api::TaskView;
use domain::{Error, TaskId};
use serde_json::json;
use store::{Store, TaskFilter, TaskRow};

use super::watch;
use crate::cli::{ListTasks, TasksCommand};
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, Paint, harmless, moment};
use crate::wiring::{self, As};

const EVENTS: u32 = 500;
/// Longest headline in a list, in characters.
const HEADLINE: usize = 70;

pub async fn run(command: TasksCommand, settings: &Settings, out: Output) -> Outcome {
    let store = wiring::store(settings, As::Command).await?;
    let outcome = match command {
        TasksCommand::List(wanted) => list(&store, wanted, out).await,
        TasksCommand::Show { id } => show(&store, &TaskId::from(id), out).await,
        TasksCommand::Watch(wanted) => watch::run(&store, &wanted, out).await,
        TasksCommand::Cancel { ids } => each(&ids, out, async |id| store.cancel_task(id).await).await,
        TasksCommand::Retry { ids } => each(&ids, out, async |id| store.retry_task(id).await).await,
    };
    store.close().await;
    outcome
}

async fn list(store: &Store, wanted: ListTasks, out: Output) -> Outcome {
    let filter = TaskFilter {
        status: wanted.status,
        task_type: wanted.task_type,
        assigned_to: wanted.agent,
        repo_id: wanted.repo_id,
        limit: wanted.limit,
    };
    let tasks = store.tasks(&filter).await?;
    let stats = store.task_counts().await?;
    let views: Vec<TaskView> = tasks.iter().map(TaskView::from).collect();
    out.answer(&json!({ "tasks": views, "stats": stats }), |out| {
        if tasks.is_empty() {
            return "No such tasks.".to_owned();
        }
        let mut table = out.table(&["ID", "STATE", "TYPE", "PRIORITY", "FOR", "CREATED", "WHAT"]);
        for (task, view) in tasks.iter().zip(&views) {
            table.add_row([
                harmless(&view.id).into(),
                out.status_cell(&state(task)),
                harmless(&view.task_type).into(),
                out.number_cell(view.priority),
                harmless(view.assigned_to.as_deref().unwrap_or("")).into(),
                moment(task.created_at).into(),
                headline(task).into(),
            ]);
        }
        table.trim_fmt()
    })?;
    Ok(Exit::Done)
}

/// The state, and what an ended task still asks of people.
fn state(task: &TaskRow) -> String {
    match api::asks_for(task) {
        Some(asked) => format!("{} ({asked})", api::shown_state(task)),
        None => api::shown_state(task).to_owned(),
    }
}

/// What a task came to, or else what it asks.
pub fn headline(task: &TaskRow) -> String {
    let result = task.result.as_ref().and_then(|result| result["summary"].as_str());
    let asked = task
        .payload
        .as_ref()
        .and_then(|payload| payload["instruction"].as_str());
    let text = task.error.as_deref().or(result).or(asked).unwrap_or("");
    let line = harmless(text.lines().next().unwrap_or(""));
    match line.char_indices().nth(HEADLINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

async fn show(store: &Store, id: &TaskId, out: Output) -> Outcome {
    let task = store.task(id).await?;
    let events = store.events(id, EVENTS).await?;
    let steps = store.steps(id).await?;
    let view = TaskView::from(&task);
    let steps_json: Vec<_> = steps
        .iter()
        .map(|step| json!({ "scope": step.scope, "key": step.key, "kind": step.kind, "started_at": step.started_at, "done_at": step.done_at }))
        .collect();
    out.answer(
        &json!({ "task": view, "steps": steps_json, "events": events }),
        |out| {
            let mut text = format!(
                "{} {}\n",
                out.paint(Paint::Bold, &harmless(&view.task_type)),
                harmless(&view.id)
            );
            let mut fact = |name: &str, value: Option<&str>| {
                if let Some(value) = value.filter(|value| !value.is_empty()) {
                    text.push_str(&format!("{:<12} {}\n", format!("{name}:"), harmless(value)));
                }
            };
            fact("State", Some(&state(&task)));
            fact("Waits for", view.waits_for.as_deref());
            fact("Priority", Some(&view.priority.to_string()));
            fact("For", view.assigned_to.as_deref());
            fact("By", view.created_by.as_deref());
            fact("Repository", view.repo_id.as_deref());
            fact("Part of", view.parent_task_id.as_deref());
            fact("Created", Some(&moment(task.created_at)));
            fact("Ended", task.completed_at.map(moment).as_deref());
            fact("Attempt", Some(&view.attempt.to_string()));
            fact("Worker", view.worker_id.as_deref());
            fact("Error", view.error.as_deref());
            if let Some(summary) = view.result.as_ref().and_then(|result| result["summary"].as_str()) {
                fact("Result", Some(summary));
            }
            let result = view.result.as_ref().unwrap_or(&serde_json::Value::Null);
            fact("Why", result["why"].as_str());
            // An error ends with its own advice.
            let advice = result["next_steps"].as_array().filter(|_| view.error.is_none());
            for step in advice.into_iter().flatten() {
                fact("To do", step.as_str());
            }
            fact(
                "Comment",
                result["ticket"]["url"]
                    .as_str()
                    .or(result["ticket"]["error"].as_str()),
            );
            if !steps.is_empty() {
                text.push_str("\nSteps\n");
            }
            for step in &steps {
                let done = if step.done_at.is_some() { "done " } else { "begun" };
                text.push_str(&format!(
                    "  {} {done} {}\n",
                    moment(step.started_at),
                    harmless(&step.key)
                ));
            }
            if !events.is_empty() {
                text.push_str("\nHistory\n");
            }
            for event in &events {
                text.push_str(&format!(
                    "  {} {}: {}\n",
                    moment(event.at),
                    event.kind,
                    harmless(&event.summary)
                ));
            }
            text
        },
    )?;
    Ok(Exit::Done)
}

/// Does the same to several tasks; goes on after one that cannot be, and then says no.
async fn each(
    ids: &[String],
    out: Output,
    change: impl AsyncFn(&TaskId) -> Result<TaskRow, Error>,
) -> Outcome {
    let mut last = None;
    for id in ids {
        match change(&TaskId::from(id.as_str())).await {
            Ok(task) => {
                let view = TaskView::from(&task);
                out.answer(&view, |_| format!("{} is {}.", harmless(&view.id), view.state))?;
            }
            Err(error) if ids.len() == 1 || error.is_transient() => return Err(error.into()),
            Err(error) => {
                out.error(&error);
                last = Some(Exit::of(&error));
            }
        }
    }
    Ok::<_, Failure>(last.unwrap_or(Exit::Done))
}
