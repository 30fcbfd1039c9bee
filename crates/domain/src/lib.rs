//! The words of the house: task ids and states, errors people can act on, reports, tickets and repositories.
//! Pure data with serde; no I/O, no clock, no vendor.

mod approval;
mod deploy_from;
mod error;
mod idempotency;
mod nearest;
mod redact;
mod repo;
mod report;
mod role;
mod span;
mod task;
mod ticket;

pub use approval::{Approval, Decision};
pub use deploy_from::{Built, DeployFrom, ToDeploy, to_deploy};
pub use error::{Error, ErrorKind};
pub use idempotency::{Idem, Staged};
pub use nearest::nearest;
pub use redact::{Redactor, SHORTEST_LITERAL, redact, redact_json};
pub use repo::{Autonomy, Repo, RepoRef, RepoStatus};
pub use report::{Evidence, Fact, FollowOn, LabelChange, Report, Verdict};
pub use role::{ParseRoleError, Role};
pub use span::{ParseSpanError, Span};
pub use task::{NewTask, ParsePriorityError, ParseStatusError, Priority, TaskId, TaskInfo, TaskStatus};
pub use ticket::{TicketDelivery, TicketKind, TicketRef};

/// The type of every fallible call that a person may have to read about.
pub type Result<T, E = Error> = std::result::Result<T, E>;
