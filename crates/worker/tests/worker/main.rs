//! The worker over a real Postgres.

mod children;
mod common;
mod cron;
mod ends;
mod interference;
mod limits;
mod network;
mod old;
mod pooler;
mod raw;
mod rules;
mod surroundings;
