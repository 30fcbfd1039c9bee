//! A task as callers and readers see it.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::TaskStatus;
use serde::Serialize;
use serde_json::Value;
use store::{StepRow, TaskEvent, TaskRow};
use utoipa::ToSchema;

/// One task in JSON. The contract's columns keep their names; times are RFC 3339 in UTC.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    pub id: String,
    pub repo_id: Option<String>,
    pub task_type: String,
    /// 1 to 10; 10 is taken first.
    pub priority: i64,
    /// As its creator wrote it, but for secrets.
    pub payload: Value,
    /// As in the table: `pending`, `claimed`, `in_progress`, `waiting`, `completed`, `failed`, `cancelled`.
    pub status: String,
    /// As people say it: also `held` and `cancelling`, which the table spells with two columns.
    pub state: String,
    pub assigned_to: Option<String>,
    pub created_by: Option<String>,
    /// RFC 3339 in UTC, as all times here.
    pub created_at: String,
    pub claimed_at: Option<String>,
    pub completed_at: Option<String>,
    /// The report, where a handler of ours wrote it; another program's result is shown as it is, but for secrets.
    pub result: Option<Value>,
    pub error: Option<String>,
    pub parent_task_id: Option<String>,
    /// How often a worker took it.
    pub attempt: i64,
    /// The worker that runs it now.
    pub worker_id: Option<String>,
    /// What a parked task waits for, or what holds it or a pending one back, in words.
    pub waits_for: Option<String>,
    /// What keeps a pending task from being started, `paused` or `limit`, or a parked one that is due from going on, `limit`;
    /// `waits_for` says more.
    pub held_back: Option<&'static str>,
    /// In a list: the payload or details of the result are large and left out; the task by itself has them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub omitted: bool,
}

impl From<&TaskRow> for TaskView {
    fn from(row: &TaskRow) -> Self {
        let time = |at: Option<DateTime<Utc>>| at.map(rfc3339);
        Self {
            id: row.id.to_string(),
            repo_id: row.repo_id.clone(),
            task_type: row.task_type.clone(),
            priority: row.priority.into(),
            payload: clean_json(row.payload.as_ref()).unwrap_or(Value::Null),
            status: row.status.as_str().to_owned(),
            state: shown_state(row).to_owned(),
            assigned_to: row.assigned_to.clone(),
            created_by: row.created_by.clone(),
            created_at: rfc3339(row.created_at),
            claimed_at: time(row.claimed_at),
            completed_at: time(row.completed_at),
            result: clean_json(row.result.as_ref()),
            error: row.error.as_deref().map(clean),
            parent_task_id: row.parent_task_id.as_ref().map(ToString::to_string),
            attempt: row.attempt,
            worker_id: row.worker_id.clone(),
            waits_for: waits_for(row),
            held_back: row.held_back.as_ref().map(|held| held.by.as_str()),
            omitted: row.omitted,
        }
    }
}

/// One line of a task's history.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct EventView {
    /// Rises with time.
    pub id: i64,
    pub at: String,
    /// `told`, `parked`, `retried`, `held`, `completed`, `failed`, `cancelled`, `cancel asked`, `approved`…
    pub kind: String,
    pub attempt: i64,
    /// None where a person did it, or the API.
    pub worker_id: Option<String>,
    pub summary: String,
}

impl From<&TaskEvent> for EventView {
    fn from(event: &TaskEvent) -> Self {
        Self {
            id: event.id,
            at: rfc3339(event.at),
            kind: event.kind.clone(),
            attempt: event.attempt,
            worker_id: event.worker_id.clone(),
            summary: clean(&event.summary),
        }
    }
}

/// One step of a task, as its journal has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Step)]
pub struct StepView {
    /// `run`, `unwind` or a branch of theirs, such as `run/canary`.
    pub scope: String,
    /// Its name, unique within its scope.
    pub key: String,
    /// `step`, `effect`, `sleep`, `signal`, `lock`, `unlock`, `spawn`, `child` or `tell`.
    pub kind: String,
    /// The attempt that did it, or began it.
    pub attempt: i64,
    pub started_at: String,
    /// None while it was begun and is not known to be done.
    pub done_at: Option<String>,
    /// When a sleep or a limited wait is over.
    pub deadline: Option<String>,
    /// Why it failed for good, where it did.
    pub error: Option<String>,
}

impl From<&StepRow> for StepView {
    fn from(step: &StepRow) -> Self {
        Self {
            scope: step.scope.clone(),
            key: step.key.clone(),
            kind: step.kind.clone(),
            attempt: step.attempt,
            started_at: rfc3339(step.started_at),
            done_at: step.done_at.map(rfc3339),
            deadline: step.deadline.map(rfc3339),
            error: step.error.as_deref().map(clean),
        }
    }
}

/// Whether nothing more will happen to the task.
pub fn is_over(row: &TaskRow) -> bool {
    row.status.is_terminal() && shown_state(row) != "cancelling"
}

/// What an ended task still asks of people, where its report says so: a task can be done and its build still red.
pub fn asks_for(row: &TaskRow) -> Option<&'static str> {
    match row.result.as_ref()?["verdict"].as_str()? {
        "action_needed" => Some("action needed"),
        "needs_approval" => Some("approval needed"),
        _ => None,
    }
}

/// The state in one word.
pub fn shown_state(row: &TaskRow) -> &'static str {
    let held = row.wait.as_ref().is_some_and(|wait| wait.get("held").is_some());
    match row.status {
        TaskStatus::Waiting if held => "held",
        TaskStatus::Cancelled if row.worker_id.is_some() || row.wait.is_some() => "cancelling",
        status => status.as_str(),
    }
}

pub fn waits_for(row: &TaskRow) -> Option<String> {
    if let Some(held) = &row.held_back {
        return Some(clean(&held.why));
    }
    let wait = row.wait.as_ref()?;
    let text = wait["held"].as_str().or(wait["why"].as_str())?;
    Some(clean(text))
}

/// Without secrets. What others wrote is cleaned where it is shown: who may look at a task need not know what it works with.
pub fn clean(text: &str) -> String {
    domain::redact(text).into_owned()
}

/// The same, of every text in it.
pub fn clean_json(value: Option<&Value>) -> Option<Value> {
    let mut value = value?.clone();
    domain::redact_json(&mut value);
    Some(value)
}

pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
