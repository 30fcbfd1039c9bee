//! Prometheus and what speaks its HTTP API behind the metrics port, and HTTP and TCP checks behind the probe port.
//!
//! [`Metrics`] picks the store by the name in a question; [`Probes`] looks from where this process runs. Nothing is
//! asked before the first call, nothing is asked twice, and no error or log line holds a credential.

mod broken;
mod config;
mod door;
mod metrics;
mod probe;

pub use config::{Config, ProbeConfig, StoreConfig};
pub use metrics::Metrics;
pub use probe::Probes;
