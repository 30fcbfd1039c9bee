//! HTTP: the tasks' API, webhooks, health, metrics and a small page.
//!
//! Times are RFC 3339 in UTC. Errors are `{"error": {"kind", "what", "field"?, "next"?}}`.

mod approve;
mod arrival;
mod auth;
mod config;
mod connections;
mod detail;
mod document;
mod error;
mod figures;
mod health;
mod input;
mod json;
mod list;
mod live;
mod many;
mod metrics;
mod origin;
mod page;
mod pause;
mod query;
mod queue;
mod report;
mod routes;
mod rules;
mod schedules;
mod server;
mod tasks;
mod token;
mod view;
mod webhook;

pub use approve::DecisionView;
pub use auth::Caller;
pub use config::Config;
pub use detail::{AttemptView, TaskDetail};
pub use error::{ApiError, ApiResult};
pub use input::{PAYLOAD_BYTES, PAYLOAD_DEPTH, made, new_task, read_task};
pub use metrics::{install as install_metrics, upkeep as metrics_upkeep};
pub use rules::{QueueView, RuleView};
pub use schedules::{ScheduleChangeView, changes as schedule_changes, view as schedule_view};
pub use server::{Api, serve};
pub use token::{id as token_id, mint as mint_token};
pub use view::{EventView, StepView, TaskView, asks_for, is_over, shown_state};
