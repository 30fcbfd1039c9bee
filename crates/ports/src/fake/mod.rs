//! In-memory stand-ins that behave as the conformance suites demand.

mod cancels;
mod deployments;
mod environments;
mod faults;
mod flags;
mod fleet;
mod forge;
mod memory;
mod metrics;
mod probe;
mod repos;
mod tickets;
mod traffic;

pub use cancels::{CancelOp, FakeCancels};
pub use deployments::FakeDeployments;
pub use environments::{EnvironmentOp, FakeEnvironments};
pub use faults::{Fault, Faults};
pub use flags::{FakeFlags, FlagOp};
pub use fleet::{Behaviour, FakeFleet, FleetEffect, FleetOp};
pub use forge::{Begun, FakeForge, ForgeOp, Retried};
pub use memory::{FakeBudget, FakeFlakes};
pub use metrics::{FakeMetrics, MetricOp};
pub use probe::{Answer, FakeProbe, ProbeOp};
pub use repos::FakeRepos;
pub use tickets::{FakeTickets, TicketEffect, TicketOp};
pub use traffic::{FakeRouter, RouterOp};
