//! Jenkins: a declarative `Jenkinsfile`.
//!
//! Source of its words: jenkins.io, "Pipeline Syntax" and "Using a Jenkinsfile".

pub(crate) mod groovy;
mod read;
mod write;

pub use read::read;
pub use write::write;

pub const PATH: &str = "Jenkinsfile";
