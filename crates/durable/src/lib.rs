//! The handler SDK: ordinary async code whose every outside effect is a named, journaled step.
//!
//! A finished step is a row. When a worker dies, another runs the same handler from the top: finished steps
//! return their recorded results at once, and the work goes on where it stopped. A wait (a time, a signal, a
//! lock, a child task) parks the task, and the slot is free.
//!
//! [`Handler`] is what to write, [`TaskCx`] is what it is handed, [`drive`] runs one attempt over any
//! [`Journal`]; [`memory`] is a journal for tests.

mod cx;
mod drive;
mod effect;
mod handler;
mod join;
mod journal;
mod key;
pub mod memory;
mod panics;
mod params;
mod scope;
mod step;
mod stop;
mod waits;

pub use cx::{CancelFlag, TaskCx};
pub use drive::{Attempt, Limits, Outcome, drive, take_up_cancel};
pub use effect::{Effect, Reconcilable, Reconciled};
pub use handler::{AnyHandler, Handler};
pub use join::join_all;
pub use journal::{
    ChildOutcome, Heard, Journal, JournalError, Lease, LockPlace, LockState, Record, Recorded, SignalState,
    StepKind, StepRef, TimerState,
};
pub use key::StepKey;
pub use panics::catch;
pub use params::from_payload;
pub use stop::{Cause, Stop, Wake};
pub use waits::Waited;
