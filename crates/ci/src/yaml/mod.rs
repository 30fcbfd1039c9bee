//! YAML with the place of every value: read within bounds, edited to the byte, written as a person would.

mod edit;
mod meaning;
mod node;
mod read;
mod write;

use serde::Serialize;

pub use edit::{Edit, EditError, Step, apply, insert, path, remove, set};
pub use node::{Node, Value};
pub use read::{MOST_BYTES, MOST_DEPTH, MOST_NODES, parse, text};
pub use write::{Entry, Yaml, block, inline, list, map, plain};

/// Where something stands: both count from one, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// Bytes of a text, the end exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("line {}, column {}: {what}", at.line, at.column)]
pub struct Fault {
    pub at: Place,
    pub what: String,
    pub next: String,
}

impl Fault {
    pub fn new(at: Place, what: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            at,
            what: what.into(),
            next: next.into(),
        }
    }
}
