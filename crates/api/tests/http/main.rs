//! The API over real HTTP and a real Postgres.

mod openapi;
mod page;
mod schedules;
mod served;
mod tasks;
mod tokens;
mod webhook;
