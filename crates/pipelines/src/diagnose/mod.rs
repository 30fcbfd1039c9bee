//! Why did this log's job fail? Text in, diagnosis out.
//!
//! Rules are data (`rules/*.toml`): each names a class, the patterns of the line that decides, what that means and
//! what to do, and carries the lines it is tested on. They compile into one pass ([`RuleSet`]); a [`Scanner`]
//! reads a log of any size in a few hundred kilobytes of memory; the verdict weighs what it found by how specific the
//! rule is, by how the step around the line ended and by how near to that end the line stands.

mod class;
mod clean;
mod command;
mod diagnosis;
mod escapes;
mod excerpt;
mod fingerprints;
mod form;
mod heard;
mod index;
mod lazy;
mod ledger;
mod literals;
mod prefilter;
pub mod render;
mod rules;
mod scanner;
mod start;
mod usual;
mod verdict;
mod wide;

use std::io::{ErrorKind, Read};

pub use class::{Class, Kind, Retry};
pub use diagnosis::{Context, Diagnosis};
pub use excerpt::Excerpt;
pub use form::{Decoration, Mark, MarkKind, Pick, Rule};
pub use rules::{RULES_VERSION, RuleError, RuleSet};
pub use scanner::Scanner;

/// Diagnoses a log that is already in memory.
pub fn diagnose_bytes(rules: &RuleSet, log: &[u8], context: &Context) -> Diagnosis {
    let mut scanner = Scanner::new(rules);
    scanner.feed(log);
    scanner.finish(context)
}

/// Diagnoses a log as it is read, in memory that does not grow with it. Fails only if reading does.
pub fn diagnose_reader(rules: &RuleSet, mut log: impl Read, context: &Context) -> std::io::Result<Diagnosis> {
    let mut scanner = Scanner::new(rules);
    let mut piece = vec![0; 64 * 1024];
    loop {
        match log.read(&mut piece) {
            Ok(0) => return Ok(scanner.finish(context)),
            Ok(length) => scanner.feed(&piece[..length]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
