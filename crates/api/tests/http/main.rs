//! The API over real HTTP and a real Postgres.

mod approvals;
mod asker;
mod faults;
mod live;
mod many;
mod openapi;
mod page;
mod pause;
mod queue;
mod refusals;
mod rules;
mod schedules;
mod secrets;
mod served;
mod slow;
mod tasks;
mod tokens;
mod webhook;
mod webhook_alertmanager;
mod webhook_github;
mod webhook_passed;
