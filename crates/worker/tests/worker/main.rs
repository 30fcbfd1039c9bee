//! The worker over a real Postgres.

mod common;
mod cron;
mod ends;
mod interference;
mod limits;
mod network;
mod pooler;
mod raw;
mod surroundings;
