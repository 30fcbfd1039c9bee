//! The API over real HTTP and a real Postgres.

mod page;
mod schedules;
mod served;
mod tasks;
mod webhook;
