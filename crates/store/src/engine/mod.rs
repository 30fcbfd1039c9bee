//! What a worker needs of the table: claims, leases, the journal, and the writing of outcomes.

mod claim;
mod events;
mod fence;
mod journal;
mod lease;
mod locks;
mod maintenance;
mod repo;
mod retry;
mod settle;
mod signals;
mod spawn;
mod ticket;

pub use claim::{Claim, Claimed, Served};
pub use events::TaskEvent;
pub use journal::TaskJournal;
pub use lease::{Beat, WorkerRow};
pub use maintenance::Housekeeping;
pub use settle::{Settle, Settled};
