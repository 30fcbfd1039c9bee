//! One suite a port: what every implementation, fake or real, must do.
//!
//! A suite is a set of plain async functions over a fixture trait, which sets up the far side's world, and a macro
//! that turns them into tests:
//!
//! ```text
//! ports::tickets_conformance!(MyWorld::start().await);
//! ```

mod breakage;
pub mod cancels;
pub mod deployments;
pub mod environments;
pub mod flags;
pub mod fleet;
pub mod forge;
pub mod forge_changes;
pub mod memory;
pub mod metrics;
pub mod probe;
pub mod repos;
mod scenes;
pub mod tickets;
pub mod traffic;

pub use breakage::Breakage;
pub use scenes::{Scene, play};
