//! Handlers for builds and pipelines, and the log diagnosis behind them.

pub mod diagnose;
mod fix_build;

pub use fix_build::{Config as FixBuildConfig, FixBuild, JobParam, Params as FixBuildParams, PipelineParam};
