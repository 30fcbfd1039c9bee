//! Prometheus, what speaks its HTTP API, and Loki behind the metrics port, and checks by HTTP, TCP and commands behind the probe
//! port.
//!
//! [`Metrics`] picks the store by the name in a question; [`Probes`] looks from where this process runs. Nothing is
//! asked before the first call, nothing is asked twice, and no error or log line holds a credential.

mod broken;
mod config;
mod door;
mod metrics;
mod probe;

pub use config::{CommandConfig, Config, ProbeConfig, StoreConfig, StoreKind};
pub use metrics::Metrics;
pub use probe::Probes;
