use std::sync::LazyLock;

use regex::{Regex, RegexSet};

use super::Found;

/// The table of forms, read once. Data, because it is long, grows, and names services that code here must not know.
pub(super) static PATTERNS: LazyLock<Patterns> =
    LazyLock::new(|| Patterns::read(include_str!("patterns.txt")));

pub(super) struct Patterns {
    /// Which of them occur at all, in one pass; most texts hold none.
    any: Option<RegexSet>,
    each: Vec<(&'static str, Regex)>,
}

impl Patterns {
    /// A line that does not compile is left out here and fails the test that reads the table.
    fn read(table: &'static str) -> Self {
        let each: Vec<(&'static str, Regex)> = lines(table)
            .filter_map(|(kind, pattern)| Some((kind, compile(pattern).ok()?)))
            .collect();
        let any = RegexSet::new(each.iter().map(|(_, regex)| regex.as_str())).ok();
        Self { any, each }
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.each.iter().map(|(kind, _)| *kind)
    }

    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        let present: Vec<usize> = match &self.any {
            Some(any) => any.matches(text).into_iter().collect(),
            None => (0..self.each.len()).collect(),
        };
        for (kind, regex) in present.into_iter().filter_map(|i| self.each.get(i)) {
            for captures in regex.captures_iter(text) {
                if let Some(secret) = captures.get(1).or_else(|| captures.get(0)) {
                    found.push(Found {
                        at: secret.range(),
                        kind,
                    });
                }
            }
        }
    }
}

fn lines(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" = ").unwrap_or(("", line)))
}

fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    // An ASCII boundary keeps the search in the fast automaton on text that is not ASCII.
    Regex::new(&pattern.replace(r"\b", r"(?-u:\b)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_has_a_kind_and_compiles() {
        let table = include_str!("patterns.txt");
        for (kind, pattern) in lines(table) {
            assert!(!kind.is_empty(), "no kind: {pattern}");
            assert!(
                kind.bytes().all(|b| b.is_ascii_lowercase() || b == b' '),
                "a kind is lower-case words: {kind}"
            );
            compile(pattern).unwrap_or_else(|e| panic!("{kind}: {e}"));
        }
        assert_eq!(PATTERNS.each.len(), lines(table).count());
        assert!(
            PATTERNS.any.is_some(),
            "the set of all patterns is too large to compile"
        );
    }
}
