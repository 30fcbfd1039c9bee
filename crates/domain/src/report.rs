use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, TaskId};

/// What a handler answers: the verdict first, then what it rests on and what comes next.
///
/// All texts are plain text; whoever shows them (a ticket, a terminal) escapes them for its medium.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub verdict: Verdict,
    /// One sentence that stands alone: what happened, to what.
    pub summary: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Who must act now; nobody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<Evidence>,
    /// How the evidence leads to the verdict, in a sentence or two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_steps: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ons: Vec<FollowOn>,
    #[serde(default, skip_serializing_if = "LabelChange::is_empty")]
    pub labels: LabelChange,
    /// The same answer for programs; its shape is the handler's own and documented with it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Under way; told while the task runs.
    Running,
    /// Parked until something happens that needs no person.
    Waiting,
    /// A person must decide before it goes on.
    NeedsApproval,
    /// Stopped for a person: it cannot safely go on by itself.
    Held,
    /// The work is done, and what it found needs a person.
    ActionNeeded,
    Succeeded,
    RolledBack,
    Failed,
    Cancelled,
}

impl Verdict {
    /// Whether a person should be called to look, beyond an edit in place.
    pub fn is_moment(self) -> bool {
        !matches!(self, Verdict::Running | Verdict::Waiting)
    }
}

/// One line of what is known: `Job: unit-tests (stage test)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    pub label: String,
    pub value: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// An excerpt that a conclusion rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub title: String,
    pub text: String,
    /// Number of the excerpt's first line where it was taken from, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_line: Option<u64>,
    /// Number of the line that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deciding_line: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// A task that this one started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowOn {
    pub task_id: TaskId,
    pub task_type: String,
    pub agent: Option<String>,
    pub why: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelChange {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

impl LabelChange {
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }
}

impl Report {
    pub fn new(verdict: Verdict, summary: impl Into<String>) -> Self {
        Self {
            verdict,
            summary: summary.into(),
            environment: None,
            version: None,
            who: None,
            facts: Vec::new(),
            evidence: Vec::new(),
            why: None,
            next_steps: Vec::new(),
            follow_ons: Vec::new(),
            labels: LabelChange::default(),
            data: Value::Null,
        }
    }

    /// A failure told in the error's own words.
    pub fn failed(error: &Error) -> Self {
        let mut summary = error.what.clone();
        for cause in &error.causes {
            summary.push_str(": ");
            summary.push_str(cause);
        }
        let mut report = Self::new(Verdict::Failed, summary);
        report.next_steps.extend(error.next.clone());
        report
    }

    #[must_use]
    pub fn fact(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push(Fact {
            label: label.into(),
            value: value.into(),
            link: None,
        });
        self
    }

    #[must_use]
    pub fn linked_fact(
        mut self,
        label: impl Into<String>,
        value: impl Into<String>,
        link: impl Into<String>,
    ) -> Self {
        self.facts.push(Fact {
            label: label.into(),
            value: value.into(),
            link: Some(link.into()),
        });
        self
    }

    #[must_use]
    pub fn why(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    #[must_use]
    pub fn next_step(mut self, step: impl Into<String>) -> Self {
        self.next_steps.push(step.into());
        self
    }

    #[must_use]
    pub fn who(mut self, who: impl Into<String>) -> Self {
        self.who = Some(who.into());
        self
    }
}
