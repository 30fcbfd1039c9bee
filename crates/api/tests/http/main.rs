//! The API over real HTTP and a real Postgres.

mod page;
mod served;
mod tasks;
mod webhook;
