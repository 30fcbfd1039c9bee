//! Handlers for deployments and rollbacks, and the pure plans behind them.

mod amount;
mod instruction;
mod params;
mod settings;
mod strategy;

pub use amount::Amount;
pub use params::{DeployParams, RollbackParams};
pub use settings::{Environment, Environments};
pub use strategy::{Step, StepParam, Strategy, StrategyName};
