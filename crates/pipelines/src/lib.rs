//! Handlers for builds and pipelines, and the log diagnosis behind them.

pub mod diagnose;
