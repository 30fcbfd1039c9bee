use std::fmt;

use chrono::{DateTime, Utc};
use domain::{Error, Report, TaskId};
use serde::{Deserialize, Serialize};

/// Why a handler stopped before its end. Never an `Ok` for a failure, never an error for a wait.
#[derive(Clone, Debug, PartialEq)]
pub enum Stop {
    /// Nothing to do until something happens: free the slot, wake me then.
    Park(Wake),
    /// Something outside was not to be had; try again later, as often as the task's attempts allow.
    Retry(Error),
    /// It cannot succeed. What was done is unwound.
    Fail(Error),
    /// A person must look before it goes on; the reason says at what.
    Hold(String),
    /// Somebody cancelled the task.
    Cancelled,
    /// Another worker has the task, or may have it. Nothing more is written.
    LeaseLost,
}

/// A permanent error stops for good, a transient one until later.
impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        if error.is_transient() {
            Stop::Retry(error)
        } else {
            Stop::Fail(error)
        }
    }
}

/// When a parked task is to be run again: at the first of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wake {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<DateTime<Utc>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<TaskId>,
    /// What people read: `until 12:40`, `behind task 41 on deploy:app/staging`.
    pub why: String,
    /// The ticket is not told of it: it stands in the task's history alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub quiet: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Wake {
    /// At whichever of the two comes first.
    #[must_use]
    pub fn or(mut self, other: Wake) -> Wake {
        self.at = match (self.at, other.at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.signals.extend(other.signals);
        self.locks.extend(other.locks);
        self.children.extend(other.children);
        self.quiet &= other.quiet;
        if self.why != other.why && !other.why.is_empty() {
            self.why = if self.why.is_empty() {
                other.why
            } else {
                format!("{}; {}", self.why, other.why)
            };
        }
        self
    }
}

/// Why a task is being unwound. Journaled, so that every attempt unwinds for the same cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "snake_case")]
pub enum Cause {
    Failure { error: Error },
    Panic { error: Error },
    Deadline { error: Error },
    Cancelled,
}

impl Cause {
    /// The error to show, absent for a cancel.
    pub fn error(&self) -> Option<&Error> {
        match self {
            Cause::Failure { error } | Cause::Panic { error } | Cause::Deadline { error } => Some(error),
            Cause::Cancelled => None,
        }
    }

    /// A report that tells this cause and nothing else, for handlers that have nothing to undo.
    pub fn report(&self) -> Report {
        match self.error() {
            Some(error) => Report::failed(error),
            None => Report::new(domain::Verdict::Cancelled, "Cancelled before it was done"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error() {
            Some(error) => error.fmt(f),
            None => f.write_str("cancelled"),
        }
    }
}
