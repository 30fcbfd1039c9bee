//! All the SQL of the house, over one Postgres: the public tables and the schema `longshore`.
//!
//! Everything returns [`domain::Error`]; a lost connection or an exhausted pool is `Unavailable` and worth
//! another try, a refused value is `Invalid` and names the rule it broke.

pub mod cluster;
mod config;
mod error;
mod migrate;
mod pool;

pub use config::{Config, Listen};
pub use migrate::schema_fingerprint;
pub use pool::Store;
