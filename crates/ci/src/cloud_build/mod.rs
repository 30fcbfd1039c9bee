//! Google Cloud Build: `cloudbuild.yaml`.
//!
//! Source of its words: cloud.google.com/build, "Build configuration file schema", "Substituting variable values",
//! "Configure build step order", "Gate builds on approval".

mod read;
mod write;

pub use read::read;
pub use write::write;

pub const PATH: &str = "cloudbuild.yaml";
