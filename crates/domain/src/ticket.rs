use serde::{Deserialize, Serialize};

use crate::RepoRef;

/// The ticket that people read about a task on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TicketRef {
    pub repo: RepoRef,
    pub kind: TicketKind,
    /// The number that people see in the project.
    pub iid: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketKind {
    #[default]
    Issue,
    MergeRequest,
}

/// What a task's result says of its comment: `result.ticket`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum TicketDelivery {
    Pending,
    Posted {
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    Failed {
        error: String,
    },
}
