//! In-memory stand-ins that behave as the conformance suites demand.

mod faults;
mod forge;
mod memory;
mod tickets;

pub use faults::{Fault, Faults};
pub use forge::{FakeForge, ForgeOp, Retried};
pub use memory::{FakeBudget, FakeFlakes};
pub use tickets::{FakeTickets, TicketEffect, TicketOp};
