//! In-memory stand-ins that behave as the conformance suites demand.

mod faults;
mod forge;
mod tickets;

pub use faults::{Fault, Faults};
pub use forge::{FakeForge, ForgeOp, Retried};
pub use tickets::{FakeTickets, TicketEffect, TicketOp};
