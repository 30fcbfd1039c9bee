//! `longshore tasks list|show|cancel|retry`; `watch`, `dead` and changes by filter stand on their own.

use api::{StepView, TaskDetail, TaskView};
use domain::{Decision, Error, TaskId, TaskStatus};
use serde_json::json;
use store::{Bulk, State, Store, TaskFilter, TaskRow};

use super::repos::id_of;
use super::{bulk, dead, decide, watch};
use crate::cli::{ListTasks, TasksCommand};
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, Paint, cell, harmless, indented, moment, shown};
use crate::wiring::{self, As};

/// Longest headline in a list, in characters.
const HEADLINE: usize = 70;

/// Pages that are looked through for held tasks; after them the list says where it goes on.
const PAGES: usize = 100;

/// `who` is at the command line.
pub async fn run(command: TasksCommand, settings: &Settings, who: &str, out: Output) -> Outcome {
    let store = wiring::store(settings, As::Command).await?.by(who);
    let outcome = match command {
        TasksCommand::List(wanted) => list(&store, wanted, out).await,
        TasksCommand::Show { id } => show(&store, &TaskId::from(id), out).await,
        TasksCommand::Watch(wanted) => watch::run(&store, &wanted, out).await,
        TasksCommand::Approve(said) => decide::run(&store, Decision::Approved, &said, who, out).await,
        TasksCommand::Reject(said) => decide::run(&store, Decision::Rejected, &said, who, out).await,
        TasksCommand::Pause { id, reason } => {
            let id = TaskId::from(id);
            let paused = store.pause_task(&id, reason.as_deref()).await;
            told(
                paused,
                out,
                "is paused: it stops before more users get the new version, until `longshore tasks resume`",
            )
        }
        TasksCommand::Resume { id } => {
            let resumed = store.resume_task(&TaskId::from(id)).await;
            told(resumed, out, "goes on")
        }
        TasksCommand::Cancel(which) if !which.ids.is_empty() => {
            each(&which.ids, out, async |id| store.cancel_task(id).await).await
        }
        TasksCommand::Retry(which) if !which.ids.is_empty() => {
            each(&which.ids, out, async |id| store.retry_task(id).await).await
        }
        TasksCommand::Cancel(which) => bulk::run(&store, Bulk::Cancel, &which, out).await,
        TasksCommand::Retry(which) => bulk::run(&store, Bulk::Retry, &which, out).await,
        TasksCommand::Dead(wanted) => dead::run(&store, wanted, out).await,
    };
    if matches!(outcome, Ok(Exit::Interrupted | Exit::Terminated)) {
        // Whoever asked for the end does not wait for a database that may answer nothing.
        return outcome;
    }
    store.close().await;
    outcome
}

fn told(changed: Result<TaskRow, Error>, out: Output, done: &str) -> Outcome {
    let view = TaskView::from(&changed?);
    out.answer(&view, |_| format!("{} {done}.", harmless(&view.id)))?;
    Ok(Exit::Done)
}

async fn list(store: &Store, wanted: ListTasks, out: Output) -> Outcome {
    let states = wanted.status;
    let mut filter = TaskFilter {
        status: statuses(&states),
        task_type: wanted.task_type,
        assigned_to: wanted.agent,
        repo_id: id_of(store, wanted.repo_id).await?,
        limit: wanted.limit,
    };
    let fits = |task: &TaskRow| {
        states.is_empty()
            || states.contains(&State::Status(task.status))
            || states.contains(&State::Held) && api::shown_state(task) == State::Held.as_str()
    };
    let (mut tasks, mut from) = (Vec::new(), wanted.before);
    for _ in 0..PAGES {
        let page = store.page(&filter, from.as_ref()).await?;
        tasks.extend(page.tasks.into_iter().filter(fits));
        from = page.next;
        filter.limit = wanted
            .limit
            .saturating_sub(u32::try_from(tasks.len()).unwrap_or(u32::MAX));
        if from.is_none() || filter.limit == 0 || !states.contains(&State::Held) {
            break;
        }
    }
    let next = from.map(|next| next.to_string());
    let stats = store.task_counts().await?;
    let views: Vec<TaskView> = tasks.iter().map(TaskView::from).collect();
    let value = json!({
        "tasks": views, "stats": stats.by_status, "stats_estimated": stats.estimated, "next": next
    });
    out.answer(&value, |out| {
        let more = next.as_ref().map_or_else(String::new, |next| {
            format!("{} --before {}", out.paint(Paint::Dim, "more:"), harmless(next))
        });
        if tasks.is_empty() && more.is_empty() {
            return "No such tasks.".to_owned();
        }
        if tasks.is_empty() {
            return format!("None so far.\n{more}");
        }
        let mut table = out.table(&["ID", "STATE", "TYPE", "PRIORITY", "FOR", "CREATED", "WHAT"], 6);
        for (task, view) in tasks.iter().zip(&views) {
            table.add_row([
                cell(&view.id).into(),
                out.status_cell(&state(task)),
                cell(&view.task_type).into(),
                out.number_cell(view.priority),
                cell(view.assigned_to.as_deref().unwrap_or("")).into(),
                moment(task.created_at).into(),
                headline(task).into(),
            ]);
        }
        format!("{}\n{more}", out.lines(table))
    })?;
    Ok(Exit::Done)
}

/// What to look among: the held are those among the waiting that wait for a person.
fn statuses(states: &[State]) -> Vec<TaskStatus> {
    let mut all: Vec<TaskStatus> = Vec::new();
    for state in states {
        let status = match state {
            State::Status(status) => *status,
            State::Held => TaskStatus::Waiting,
        };
        if !all.contains(&status) {
            all.push(status);
        }
    }
    all
}

/// The state, and what an ended task still asks of people.
fn state(task: &TaskRow) -> String {
    match api::asks_for(task) {
        Some(asked) => format!("{} ({asked})", api::shown_state(task)),
        None => match &task.held_back {
            Some(held) => format!("{} ({})", api::shown_state(task), held.by.as_str()),
            None => api::shown_state(task).to_owned(),
        },
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
    let line = shown(text.lines().next().unwrap_or(""));
    match line.char_indices().nth(HEADLINE) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

async fn show(store: &Store, id: &TaskId, out: Output) -> Outcome {
    let (task, detail) = TaskDetail::read(store, id).await?;
    let view = &detail.task;
    out.answer(&detail, |out| {
        let mut text = format!(
            "{} {}\n",
            out.paint(Paint::Bold, &cell(&view.task_type)),
            cell(&view.id)
        );
        let mut fact = |name: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                text.push_str(&format!("{:<12} {}\n", format!("{name}:"), indented(value, 13)));
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
        if detail.attempts.len() > 1 {
            text.push_str("\nAttempts\n");
            for attempt in &detail.attempts {
                text.push_str(&format!(
                    "  {:>3}  {}  {} steps, {}\n",
                    attempt.attempt,
                    clock(&attempt.from),
                    attempt.steps,
                    attempt.ended.as_deref().unwrap_or("runs"),
                ));
            }
        }
        if !detail.steps.is_empty() {
            text.push_str("\nSteps\n");
        }
        for step in &detail.steps {
            text.push_str(&step_line(step, out));
        }
        if !detail.events.is_empty() {
            text.push_str("\nHistory\n");
        }
        for event in &detail.events {
            text.push_str(&format!(
                "  {}  {}: {}\n",
                clock(&event.at),
                cell(&event.kind),
                indented(&event.summary, 4)
            ));
        }
        text
    })?;
    Ok(Exit::Done)
}

/// RFC 3339 as people read it in a column.
fn clock(at: &str) -> String {
    at.replacen('T', " ", 1)
}

fn step_line(step: &StepView, out: &Output) -> String {
    let (paint, word) = match (&step.error, &step.done_at) {
        (Some(_), _) => (Paint::Bad, "failed"),
        (None, Some(_)) => (Paint::Good, "done"),
        (None, None) => (Paint::Attention, "begun"),
    };
    let scope = match step.scope.as_str() {
        "run" => String::new(),
        scope => format!("{scope}: "),
    };
    let key = cell(&format!("{scope}{}", step.key));
    let until = match (&step.done_at, &step.deadline) {
        (None, Some(deadline)) => format!(" until {deadline}"),
        _ => String::new(),
    };
    let why = step
        .error
        .as_ref()
        .map_or_else(String::new, |error| format!(": {}", indented(error, 4)));
    let word = out.paint(paint, &format!("{word:<6}"));
    format!("  {}  {word}  {key}{until}{why}\n", clock(&step.started_at))
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
