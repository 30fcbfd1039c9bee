//! Azure Pipelines: `azure-pipelines.yml`.
//!
//! Source of its words: learn.microsoft.com, "YAML schema reference for Azure Pipelines", "Expressions", "Predefined
//! variables".

mod expressions;
mod read;
mod write;

pub use read::read;
pub use write::write;

pub const PATH: &str = "azure-pipelines.yml";
