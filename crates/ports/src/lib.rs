//! Small capability traits: what handlers ask of the outside world and what they remember.
//!
//! Every port has a fake in [`fake`] and a suite in [`conformance`] that the fake and every real adapter pass.
//! A port returns [`domain::Error`]: its kind tells the caller whether trying again can help and whether the
//! effect may have happened.

pub mod conformance;
pub mod fake;

mod cancels;
mod deployments;
mod environments;
mod flags;
mod fleet;
mod forge;
mod memory;
mod metrics;
mod portion;
mod probe;
mod repos;
mod tickets;
mod traffic;

pub use cancels::{Cancels, PAUSE_CHANGED, Paused};
pub use deployments::{
    Deployment, DeploymentKind, DeploymentLog, DeploymentOutcome, Failure, LogEntry, NewDeployment,
};
pub use environments::{Commit, Environments, NewRecord, RecordRef, RecordStatus};
pub use flags::{Flag, FlagRef, FlagStore};
pub use fleet::{Fleet, Group, Launch, Mark, Pace, Revision, RevisionId, RollOut, Side, WorkloadRef};
pub use forge::{Forge, Job, JobRef, JobStatus, LogStream, NewPipeline, NewRevert, Pipeline, Revert};
pub use memory::{BudgetLedger, FlakeHistory, FlakeVerdict, Spend};
pub use metrics::{MetricQuery, MetricQuestion, Sample, Series, Window};
pub use portion::Portion;
pub use probe::{Check, Probe, Seen};
pub use repos::Repos;
pub use tickets::{Note, NoteId, Ticket, TicketLimits, TicketState, Tickets};
pub use traffic::{Granularity, RouteRef, Share, Traffic, TrafficRouter};
