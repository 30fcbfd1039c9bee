//! What is wrong with a pipeline that is there: each finding with its rule, its place and how to mend it.
//!
//! The rules and where each comes from stand in docs/pipelines.md.

mod azure;
mod cloud_build;
mod facts;
mod general;
mod github;
mod gitlab;
mod graph;
mod jenkins;
mod possible;
mod secrets;

use serde::Serialize;

use crate::dialect::Dialect;
use crate::yaml::{self, Edit, Fault, Place};

/// Units of harm: an error breaks the pipeline or lets somebody in, a warning will some day, a hint could be better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
    Hint,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    pub rule: &'static str,
    pub severity: Severity,
    pub at: Place,
    pub what: String,
    /// For a person.
    pub fix: String,
    /// For a program: the change that mends it, where one alone is right.
    #[serde(skip)]
    pub edit: Option<Edit>,
}

impl Finding {
    fn new(
        rule: &'static str,
        severity: Severity,
        at: Place,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            severity,
            at,
            what: what.into(),
            fix: fix.into(),
            edit: None,
        }
    }

    fn error(rule: &'static str, at: Place, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(rule, Severity::Error, at, what, fix)
    }

    fn warning(rule: &'static str, at: Place, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(rule, Severity::Warning, at, what, fix)
    }

    fn edited(mut self, edit: Edit) -> Self {
        self.edit = Some(edit);
        self
    }
}

/// In the order of the lines. A file that cannot be read is a finding too.
pub fn lint(dialect: Dialect, bytes: &[u8]) -> Vec<Finding> {
    let mut findings = match found(dialect, bytes) {
        Ok(findings) => findings,
        Err(fault) => vec![Finding::error("unreadable", fault.at, fault.what, fault.next)],
    };
    findings.sort_by(|a, b| (a.at, a.severity, a.rule).cmp(&(b.at, b.severity, b.rule)));
    findings.dedup_by(|a, b| a.rule == b.rule && a.at == b.at && a.what == b.what);
    findings
}

fn found(dialect: Dialect, bytes: &[u8]) -> Result<Vec<Finding>, Fault> {
    let text = yaml::text(bytes)?;
    let mut findings = secrets::find(text);
    let facts = match dialect {
        Dialect::Jenkins => jenkins::facts(text, &mut findings)?,
        dialect => {
            let documents = yaml::parse(text)?;
            let Some(root) = documents.last().filter(|root| root.is_map()) else {
                let at = documents
                    .last()
                    .map_or(Place { line: 1, column: 1 }, |root| root.at);
                return Err(Fault::new(
                    at,
                    "no map at its top",
                    "A pipeline is a map of jobs or of words that lead to them",
                ));
            };
            for key in documents.iter().flat_map(|document| document.doubled_keys()) {
                let name = key.as_str().unwrap_or_default();
                findings.push(Finding::error(
                    "duplicate-key",
                    key.at,
                    format!("`{name}` stands twice in the same map: the first one counts for nothing"),
                    "Put both into one, or give one another name",
                ));
            }
            match dialect {
                Dialect::Gitlab => gitlab::facts(root, &mut findings),
                Dialect::Github => github::facts(root, &mut findings),
                Dialect::Azure => azure::facts(root, &mut findings),
                _ => cloud_build::facts(root, &mut findings),
            }
        }
    };
    general::check(dialect, &facts, &mut findings);
    graph::check(&facts, &mut findings);
    if let Ok(read) = dialect.read(text) {
        possible::check(dialect, &read.pipeline, &facts, &mut findings);
    }
    Ok(findings)
}
