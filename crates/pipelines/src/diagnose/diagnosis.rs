//! The answer.

use serde::{Deserialize, Serialize};

use super::class::{Class, Kind, Retry};

/// What the caller knows about the log's job.
#[derive(Debug, Clone, Default)]
pub struct Context {
    pub job: Option<String>,
    pub stage: Option<String>,
    /// The exit code that the job's host reports, if it does.
    pub exit_code: Option<i32>,
}

/// What a log says about its failure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    pub class: Class,
    /// 0 to 1: the share of answers of this certainty that are right.
    pub confidence: f64,
    /// The number of the deciding line in the log as given, from 1. A line ends at `\n`; progress output
    /// written over itself with `\r` is one line. Absent when no line says anything.
    pub line: Option<u64>,
    /// The deciding line and its neighbours, without escapes and timestamps, joined by `\n`.
    pub excerpt: String,
    /// The number of the excerpt's first line in the log as given.
    pub excerpt_start: Option<u64>,
    pub exit_code: Option<i32>,
    /// What happened, for a person.
    pub why: String,
    /// What to do next, for a person.
    pub advice: String,
    /// The rule that decided.
    pub rule: Option<String>,
    pub kind: Kind,
    pub retry: Retry,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub job: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<String>,
    /// How many lines the log has.
    pub lines: u64,
    /// The next best class, if another was in the running.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub runner_up: Option<Class>,
}

impl Diagnosis {
    /// Who has to act.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether running the same job again, now or later, may succeed without a change.
    pub fn retryable(&self) -> bool {
        self.retry != Retry::No
    }

    /// Whether the log explains its failure.
    pub fn cause_found(&self) -> bool {
        !matches!(self.class, Class::Unknown | Class::Success)
    }
}
