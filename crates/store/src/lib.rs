//! All the SQL of the house, over one Postgres: the public tables and the schema `longshore`.
//!
//! Everything returns [`domain::Error`]; a lost connection or an exhausted pool is `Unavailable` and worth
//! another try, a refused value is `Invalid` and names the rule it broke.

pub mod cluster;
mod config;
mod desk;
mod engine;
mod error;
mod memory;
mod migrate;
pub mod outbox;
mod pool;

pub use config::{Config, Listen};
pub use desk::{Delivery, NewRepo, Received, StepRow, TaskFilter, TaskRow};
pub use engine::{
    Beat, Claim, Claimed, Housekeeping, Served, Settle, Settled, TaskEvent, TaskJournal, WorkerRow,
};
pub use migrate::schema_fingerprint;
pub use pool::Store;
