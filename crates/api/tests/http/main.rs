//! The API over real HTTP and a real Postgres.

mod approvals;
mod asker;
mod live;
mod openapi;
mod page;
mod queue;
mod schedules;
mod served;
mod tasks;
mod tokens;
mod webhook;
