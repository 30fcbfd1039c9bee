//! The claim loop: takes tasks from the store, runs their handlers, keeps the lease alive, writes outcomes and
//! leaves in order.

mod background;
mod backoff;
mod claiming;
mod config;
mod cron;
mod finisher;
mod heartbeat;
mod registry;
mod retention;
mod run;
mod running;
mod worker;

pub use config::{Config, TypeLimits};
pub use registry::Registry;
pub use worker::Worker;
