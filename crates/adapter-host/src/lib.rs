//! Plain hosts behind the ports: HAProxy parts the traffic, and processes on this host are what runs.
//!
//! Of each workload a keeper keeps the processes: a process of its own, so that what runs outlives the worker. The fleet
//! writes down what is wished for and reads what the keeper writes down; nothing else passes between the two. Where systemd
//! runs, keepers and replicas are units of it. Feature flags stand in a file that flagd reads.
//!
//! Nothing here chooses a strategy or tries a task again.

mod begin;
mod config;
mod files;
mod flags;
mod fleet;
mod haproxy;
mod keeper;
mod logs;
mod status;
mod supervision;
mod systemd;
mod wishes;

pub use config::{HostConfig, KeeperCommand, Ready, Supervisor, WorkloadConfig};
pub use flags::FlagFile;
pub use fleet::HostFleet;
pub use haproxy::{Address, HaproxyConfig, HaproxyRouter};
pub use keeper::keep;
pub use supervision::Supervision;
pub use systemd::runtime_dir;
