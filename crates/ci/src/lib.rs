//! Pipelines as files: one model, five dialects.
//!
//! [`generate`] looks at a repository's tree and writes a pipeline for it, [`lint`] says what is wrong with one that
//! is there, [`convert`] carries one from a system to another, and [`yaml`] changes a file and leaves every byte
//! outside of the change as it is. Nothing here reads a file, a clock or the network: callers hand texts in.

pub mod azure;
pub mod cloud_build;
pub mod condition;
mod convert;
pub mod detect;
mod dialect;
pub mod facts;
mod generate;
pub mod github;
pub mod gitlab;
pub mod jenkins;
pub mod lint;
pub mod model;
pub mod pins;
mod shell;
pub mod tree;
pub mod yaml;

pub use convert::{Converted, convert};
pub use dialect::Dialect;
pub use generate::{CustomStage, Generated, Options, generate};
