//! Handlers for deployments and rollbacks, and the pure plans behind them.

mod act;
mod amount;
mod analysis;
mod asking;
mod carry;
mod course;
mod deploy;
mod gates;
mod instruction;
mod ledger;
mod look;
mod outside;
mod params;
mod plan;
mod postmortem;
mod progress;
mod ratio;
mod report;
mod rollback;
mod settings;
mod strategy;
mod target;
mod turn;
mod undoing;

pub use amount::Amount;
pub use deploy::Deploy;
pub use outside::{Outside, Target};
pub use params::{DeployParams, RollbackParams};
pub use rollback::Rollback;
pub use settings::{Environment, Environments, settings_schema};
pub use strategy::{Step, StepParam, Strategy, StrategyName};
