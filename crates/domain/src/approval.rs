use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A person's answer to a task that asked for approval: the value of the signal `approval/WHAT`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    pub decision: Decision,
    /// Who decided: the name of a token, or of a user at the command line.
    pub by: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    pub at: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Approved,
    Rejected,
}

impl Decision {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::Rejected => "rejected",
        }
    }
}

const PREFIX: &str = "approval/";
const UNDOING: &str = "approval/unwind:";

impl Approval {
    /// The name of the signal, and of the step that waits for it, by which `what` is asked for.
    pub fn signal(what: &str) -> String {
        format!("{PREFIX}{what}")
    }

    /// The same while a task is undone: an answer to the run's question of that name is none to this one.
    pub fn signal_of_unwind(what: &str) -> String {
        format!("{UNDOING}{what}")
    }

    /// What a signal of that name approves; none where it is no approval's.
    pub fn what(signal: &str) -> Option<&str> {
        signal
            .strip_prefix(UNDOING)
            .or_else(|| signal.strip_prefix(PREFIX))
    }

    pub fn is_approved(&self) -> bool {
        self.decision == Decision::Approved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_names_what_it_approves() {
        assert_eq!(
            Approval::what(&Approval::signal("production")),
            Some("production")
        );
        let undoing = Approval::signal_of_unwind("production");
        assert_ne!(undoing, Approval::signal("production"));
        assert_eq!(Approval::what(&undoing), Some("production"));
        assert_eq!(Approval::what("callback"), None);
    }
}
