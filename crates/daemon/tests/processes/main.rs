//! The built binary as processes over a real Postgres, as it is run in service.

mod dev;
mod process;
mod queue;
mod repos;
mod schedules;
mod services;
mod tokens;
