//! The worker over a real Postgres.

mod common;
mod ends;
mod interference;
mod limits;
mod pooler;
mod raw;
mod surroundings;
