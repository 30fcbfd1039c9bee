//! Small capability traits: what handlers ask of the outside world and what they remember.
//!
//! Every port has a fake in [`fake`] and a suite in [`conformance`] that the fake and every real adapter pass.
//! A port returns [`domain::Error`]: its kind tells the caller whether trying again can help and whether the
//! effect may have happened.

pub mod conformance;
pub mod fake;

mod forge;
mod memory;
mod tickets;

pub use forge::{Forge, Job, JobRef, JobStatus, LogStream, Pipeline};
pub use memory::{BudgetLedger, FlakeHistory, FlakeVerdict, Spend};
pub use tickets::{Note, NoteId, Ticket, TicketLimits, TicketState, Tickets};
