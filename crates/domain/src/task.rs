use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{Repo, TicketRef};

/// A task's id: text, a UUIDv7 where we choose it, whatever its creator wrote where not. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskId(Arc<str>);

impl TaskId {
    /// A new id that sorts by its time of making.
    pub fn generate() -> Self {
        Self(Uuid::now_v7().to_string().into())
    }
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for TaskId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}
impl From<&str> for TaskId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}
impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The states of a task, in the words that every program at the table shares; `waiting` is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    Pending,
    Claimed,
    InProgress,
    /// Parked between runs, or held for a person.
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl TaskStatus {
    pub const ALL: [TaskStatus; 7] = [
        Self::Pending,
        Self::Claimed,
        Self::InProgress,
        Self::Waiting,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Claimed => "claimed",
            Self::InProgress => "in_progress",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "unknown status {0:?}; known are pending, claimed, in_progress, waiting, completed, failed, cancelled"
)]
pub struct ParseStatusError(String);

impl FromStr for TaskStatus {
    type Err = ParseStatusError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == s)
            .ok_or_else(|| ParseStatusError(s.to_owned()))
    }
}

/// How urgent a task is: 1 to 10, 10 first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Priority(u8);

impl Priority {
    pub const DEFAULT: Priority = Priority(5);
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[derive(Debug, thiserror::Error)]
#[error("priority {0} is out of range: it goes from 1 to 10, and 10 is taken first")]
pub struct ParsePriorityError(i64);

impl TryFrom<i64> for Priority {
    type Error = ParsePriorityError;
    fn try_from(value: i64) -> Result<Self, Self::Error> {
        match u8::try_from(value) {
            Ok(small @ 1..=10) => Ok(Self(small)),
            _ => Err(ParsePriorityError(value)),
        }
    }
}
impl From<Priority> for i64 {
    fn from(priority: Priority) -> i64 {
        priority.0.into()
    }
}

/// A task to be made: by an orchestrator, a webhook, or a handler that spawns a follow-on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTask {
    pub task_type: String,
    /// Which agent is to do it; any that serves the type when absent.
    #[serde(default)]
    pub assigned_to: Option<String>,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default)]
    pub repo_id: Option<String>,
    #[serde(default)]
    pub parent: Option<TaskId>,
    #[serde(default)]
    pub created_by: Option<String>,
    /// Of the tasks with the same key at most one is unfinished at any time; making another answers with that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedupe_key: Option<String>,
    /// It is begun at this time at the earliest; at once when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<DateTime<Utc>>,
    pub payload: Value,
}

impl NewTask {
    pub fn new(task_type: impl Into<String>, payload: Value) -> Self {
        Self {
            task_type: task_type.into(),
            assigned_to: None,
            priority: Priority::DEFAULT,
            repo_id: None,
            parent: None,
            created_by: None,
            dedupe_key: None,
            run_at: None,
            payload,
        }
    }
    #[must_use]
    pub fn assigned_to(mut self, agent: impl Into<String>) -> Self {
        self.assigned_to = Some(agent.into());
        self
    }
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }
    #[must_use]
    pub fn dedupe_key(mut self, key: impl Into<String>) -> Self {
        self.dedupe_key = Some(key.into());
        self
    }
    #[must_use]
    pub fn repo(mut self, repo_id: Option<String>) -> Self {
        self.repo_id = repo_id;
        self
    }
}

/// What a handler is told of the task it runs. The same on every attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskInfo {
    pub id: TaskId,
    pub task_type: String,
    pub priority: Priority,
    pub payload: Value,
    pub created_by: Option<String>,
    pub assigned_to: Option<String>,
    pub parent: Option<TaskId>,
    pub repo: Option<Repo>,
    /// The task's own ticket, or the nearest ancestor's.
    pub ticket: Option<TicketRef>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_is_a_priority_and_eleven_is_told_why_not() {
        assert_eq!(Priority::try_from(10).map(Priority::get).ok(), Some(10));
        let error = Priority::try_from(11).unwrap_err();
        assert!(error.to_string().contains("1 to 10"), "{error}");
        assert!(serde_json::from_str::<Priority>("0").is_err());
    }

    #[test]
    fn every_status_reads_back() {
        for status in TaskStatus::ALL {
            assert_eq!(status.as_str().parse::<TaskStatus>().unwrap(), status);
        }
    }
}
