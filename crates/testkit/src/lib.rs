//! What tests stand on: fakes that speak the real protocols, a Postgres per test, the crash matrix. For tests only.

pub mod gitlab;
pub mod peer;
pub mod postgres;
