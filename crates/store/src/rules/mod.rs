//! Limits on how many tasks run at once across all workers, and pauses: of a type, a repository or everything.

mod held;
mod rooms;
mod running;
mod scope;
mod set;
mod table;

pub use held::{HeldBack, HeldBy};
pub(crate) use rooms::Rooms;
pub(crate) use running::{Running, running};
pub use scope::Scope;
pub use set::RuleChange;
pub(crate) use table::Stored;
pub use table::{Pause, Queue, QueueRule, Resting};
