//! The API over real HTTP and a real Postgres.

mod approvals;
mod asker;
mod faults;
mod live;
mod many;
mod openapi;
mod page;
mod queue;
mod rules;
mod schedules;
mod served;
mod tasks;
mod tokens;
mod webhook;
mod webhook_alertmanager;
mod webhook_github;
