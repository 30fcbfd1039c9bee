//! HTTP: the tasks' API, webhooks, health, metrics and a small page.
//!
//! Times are RFC 3339 in UTC. Errors are `{"error": {"kind", "what", "field"?, "next"?}}`.

mod auth;
mod config;
mod error;
mod figures;
mod health;
mod input;
mod metrics;
mod page;
mod report;
mod schedules;
mod server;
mod tasks;
mod view;
mod webhook;

pub use config::Config;
pub use error::{ApiError, ApiResult};
pub use input::{PAYLOAD_BYTES, PAYLOAD_DEPTH, made, new_task};
pub use metrics::{install as install_metrics, upkeep as metrics_upkeep};
pub use schedules::view as schedule_view;
pub use server::{Api, serve};
pub use view::{TaskView, asks_for, is_over, shown_state};
