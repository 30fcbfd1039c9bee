//! The worker over a real Postgres.

mod common;
mod ends;
mod limits;
mod pooler;
