//! What a worker needs of the table: claims, leases, the journal, and the writing of outcomes.

mod claim;
mod events;
mod fence;
mod fresh;
mod idle;
mod journal;
mod lease;
mod limited;
mod locks;
mod maintenance;
mod recorder;
mod refuse;
mod repo;
mod retry;
mod settle;
mod signals;
mod spawn;
mod steps;
mod taken;
mod ticket;

pub use claim::{Claim, Claimed, Served};
pub use events::TaskEvent;
pub use idle::IdleLook;
pub use lease::{Beat, LeaseClock, WorkerRow};
pub use maintenance::Housekeeping;
pub use recorder::Recorder;
pub use settle::{Settle, Settled};
pub use steps::TaskJournal;
pub use taken::Taken;
