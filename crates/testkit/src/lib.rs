//! What tests stand on: fakes that speak the real protocols, a Postgres per test, the crash matrix. For tests only.

mod backend;
mod certificate;
pub mod cluster;
pub mod conformance;
mod faulty;
pub mod github;
pub mod gitlab;
mod haproxy;
mod kept;
mod machine;
pub mod matrix;
mod on_postgres;
mod own_ports;
pub mod peer;
pub mod postgres;
mod prometheus;
pub mod property;
mod registry;
mod runner;
pub mod scripted;
mod signal;
mod systemd;

pub use backend::{Backend, Seen};
pub use certificate::Certificate;
pub use faulty::{Call, Fault, Plan, Point, Side};
pub use haproxy::Haproxy;
pub use kept::{end_kept, kept_processes};
pub use machine::Machine;
pub use matrix::{Finding, Findings, Matrix};
pub use on_postgres::OnPostgres;
pub use own_ports::Ports;
pub use prometheus::{Prometheus, PrometheusSetup};
pub use registry::Registry;
pub use runner::{Ending, Scene, run};
pub use signal::signal;
pub use systemd::Systemd;
