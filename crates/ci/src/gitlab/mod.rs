//! GitLab CI: `.gitlab-ci.yml`.
//!
//! Source of its words: docs.gitlab.com, "CI/CD YAML syntax reference" and "Predefined CI/CD variables".

mod read;
mod rules;
mod starts;
pub(crate) mod view;
mod words;
mod write;

pub use read::read;
pub use write::write;

pub const PATH: &str = ".gitlab-ci.yml";

/// Top-level keys that are no jobs.
pub(crate) const GLOBAL: &[&str] = &[
    "default",
    "include",
    "stages",
    "variables",
    "workflow",
    "spec",
    "image",
    "services",
    "before_script",
    "after_script",
    "cache",
    "pages:deploy",
];
