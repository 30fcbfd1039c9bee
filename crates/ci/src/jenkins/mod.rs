//! Jenkins: a declarative `Jenkinsfile`.
//!
//! Source of its words: jenkins.io, "Pipeline Syntax" and "Using a Jenkinsfile".

pub(crate) mod groovy;
mod lines;
mod read;
mod write;

pub use read::read;
pub use write::write;

pub const PATH: &str = "Jenkinsfile";

/// Where a container's user has a folder of his own: the variable, and Jenkins' word for what it is set to.
const HOME: (&str, &str) = ("HOME", "WORKSPACE_TMP");
