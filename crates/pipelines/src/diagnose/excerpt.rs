//! The lines around the deciding one, cleaned, with their real numbers.

use super::clean;
use super::form::Decoration;
use super::ledger::Hit;
use super::scanner::{LINES_AFTER, LINES_BEFORE};

/// Characters of one excerpt line; a longer one is cut.
const LINE_MAX: usize = 400;

/// Consecutive cleaned lines of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excerpt {
    /// The number of the first line, from 1.
    pub start: u64,
    pub lines: Vec<String>,
}

impl Excerpt {
    pub(super) fn around(hit: &Hit, decoration: &Decoration) -> Excerpt {
        let mut lines = Vec::new();
        // A piece of a very long line begins in the middle of it: what stands before is no line of its own.
        let before = match memchr::memrchr(b'\n', &hit.before) {
            Some(newline) => &hit.before[..newline],
            None => &[],
        };
        if !before.is_empty() || hit.before.starts_with(b"\n") {
            let all: Vec<&[u8]> = before.split(|byte| *byte == b'\n').collect();
            let near = &all[all.len().saturating_sub(LINES_BEFORE)..];
            lines.extend(near.iter().map(|line| shown(line, decoration)));
        }
        let start = hit.line.saturating_sub(lines.len() as u64).max(1);
        lines.push(clean::clip(hit.text.trim_end(), LINE_MAX));
        let after = match memchr::memchr(b'\n', &hit.after) {
            Some(newline) => &hit.after[newline + 1..],
            None => &[],
        };
        let after = after.strip_suffix(b"\n").unwrap_or(after);
        if !after.is_empty() {
            lines.extend(
                after
                    .split(|byte| *byte == b'\n')
                    .take(LINES_AFTER)
                    .map(|line| shown(line, decoration)),
            );
        }
        while lines.len() > 1
            && lines.last().is_some_and(String::is_empty)
            && start + lines.len() as u64 - 1 > hit.line
        {
            lines.pop();
        }
        Excerpt { start, lines }
    }
}

/// What a terminal would still show of a line, without the machinery's section marks.
fn shown(raw: &[u8], decoration: &Decoration) -> String {
    let mut stripped = String::new();
    let mut best = String::new();
    for segment in raw.split(|byte| *byte == b'\r') {
        clean::strip_escapes(segment, &mut stripped);
        let text = clean::skip_time(&stripped).trim_end();
        let machinery = decoration
            .section
            .iter()
            .any(|prefix| text.starts_with(prefix.as_str()));
        if !machinery && !text.is_empty() {
            best = clean::clip(text, LINE_MAX);
        }
    }
    best
}
