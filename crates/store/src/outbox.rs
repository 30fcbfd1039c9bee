//! Notes for tickets: put in with the result or step that they tell of, taken out by the drainer.

mod drain;
mod enqueue;
mod settle;
mod sweep;

pub use drain::{Due, Earlier, Outbox, Taken, Told};
pub use enqueue::enqueue;
pub use sweep::Sweep;

/// The channel that a drainer listens on; every [`enqueue`] notifies it when its transaction commits.
pub const CHANNEL: &str = "longshore_outbox";

/// A moment's number as Postgres keeps it.
fn number(moment: u32) -> i32 {
    i32::try_from(moment).unwrap_or(i32::MAX)
}
