//! The built binary as processes over a real Postgres, as it is run in service.

mod create_tasks;
mod dev;
mod dora;
mod process;
mod queue;
mod repos;
mod rules;
mod schedules;
mod services;
mod shown;
mod tokens;
mod watch;
