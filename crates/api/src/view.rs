//! A task as callers and readers see it.

use chrono::{DateTime, SecondsFormat, Utc};
use domain::TaskStatus;
use serde::Serialize;
use serde_json::Value;
use store::TaskRow;

/// One task in JSON. The contract's columns keep their names; times are RFC 3339 in UTC.
#[derive(Clone, Debug, Serialize)]
pub struct TaskView {
    pub id: String,
    pub repo_id: Option<String>,
    pub task_type: String,
    pub priority: i64,
    pub payload: Value,
    /// As in the table.
    pub status: String,
    /// As people say it: also `held` and `cancelling`, which the table spells with two columns.
    pub state: String,
    pub assigned_to: Option<String>,
    pub created_by: Option<String>,
    pub created_at: String,
    pub claimed_at: Option<String>,
    pub completed_at: Option<String>,
    pub result: Option<Value>,
    pub error: Option<String>,
    pub parent_task_id: Option<String>,
    pub attempt: i64,
    pub worker_id: Option<String>,
    /// What a parked task waits for, in words.
    pub waits_for: Option<String>,
}

impl From<&TaskRow> for TaskView {
    fn from(row: &TaskRow) -> Self {
        let time = |at: Option<DateTime<Utc>>| at.map(rfc3339);
        Self {
            id: row.id.to_string(),
            repo_id: row.repo_id.clone(),
            task_type: row.task_type.clone(),
            priority: row.priority.into(),
            payload: row.payload.clone().unwrap_or(Value::Null),
            status: row.status.as_str().to_owned(),
            state: shown_state(row).to_owned(),
            assigned_to: row.assigned_to.clone(),
            created_by: row.created_by.clone(),
            created_at: rfc3339(row.created_at),
            claimed_at: time(row.claimed_at),
            completed_at: time(row.completed_at),
            result: row.result.clone(),
            error: row.error.clone(),
            parent_task_id: row.parent_task_id.as_ref().map(ToString::to_string),
            attempt: row.attempt,
            worker_id: row.worker_id.clone(),
            waits_for: waits_for(row),
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
    let wait = row.wait.as_ref()?;
    let text = wait["held"].as_str().or(wait["why"].as_str())?;
    Some(text.to_owned())
}

pub fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
