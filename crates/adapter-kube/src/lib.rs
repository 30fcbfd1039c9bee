//! Kubernetes behind the ports: Deployments are what runs, and what parts their traffic is whatever the cluster has for
//! it: Services, Gateway API, Istio, ingress-nginx. Feature flags stand in a ConfigMap that flagd reads.
//!
//! The two sides of a workload are told apart by a label of their pods (`longshore/side`). Whatever selects it reaches
//! one side, whatever does not reaches both: docs/kubernetes.md.
//!
//! Nothing here chooses a strategy or tries a task again.

mod check;
mod config;
mod connection;
mod digest;
mod flags;
mod fleet;
mod image;
mod names;
mod refusal;
mod registry;
mod router;

pub use check::Checked;
pub use config::KubeConfig;
pub use connection::Connection;
pub use flags::KubeFlags;
pub use fleet::KubeFleet;
pub use registry::{Registries, RegistryConfig};
pub use router::KubeRouter;
