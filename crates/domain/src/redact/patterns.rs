use std::sync::{LazyLock, OnceLock};

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::{Found, required};

/// The table of forms, read once. Data, because it is long, grows, and names services that code here must not know.
pub(super) static PATTERNS: LazyLock<Patterns> =
    LazyLock::new(|| Patterns::read(include_str!("patterns.txt")));

/// Letters outside of ASCII that match one of its own when case does not count: long s, and the sign of the kelvin.
pub(super) const FOLDED: [char; 2] = ['\u{17f}', '\u{212a}'];

pub(super) struct Patterns {
    each: Vec<Pattern>,
    /// Words of which a match holds one, and the pattern that each stands for: most texts hold none.
    words: Option<AhoCorasick>,
    of_word: Vec<usize>,
    /// Patterns for which no such words are known.
    always: Vec<usize>,
}

struct Pattern {
    kind: &'static str,
    text: String,
    /// When a text may match it first: all of them together are megabytes, and a worker meets few.
    regex: OnceLock<Option<Regex>>,
}

impl Pattern {
    fn new((kind, text): (&'static str, &str)) -> Self {
        Self {
            kind,
            // An ASCII boundary keeps the search in the fast automaton on text that is not ASCII.
            text: text.replace(r"\b", r"(?-u:\b)"),
            regex: OnceLock::new(),
        }
    }

    /// One that does not compile finds nothing here and fails the test that reads the table.
    fn find(&self, text: &str, found: &mut Vec<Found>) {
        let regex = self.regex.get_or_init(|| Regex::new(&self.text).ok());
        for captures in regex.iter().flat_map(|regex| regex.captures_iter(text)) {
            if let Some(secret) = captures.get(1).or_else(|| captures.get(0)) {
                found.push(Found {
                    at: secret.range(),
                    kind: self.kind,
                });
            }
        }
    }
}

impl Patterns {
    fn read(table: &'static str) -> Self {
        let each: Vec<Pattern> = lines(table).map(Pattern::new).collect();
        let (mut words, mut of_word, mut always) = (Vec::new(), Vec::new(), Vec::new());
        for (i, pattern) in each.iter().enumerate() {
            match required::of(&pattern.text) {
                Some(needed) => {
                    of_word.extend(needed.iter().map(|_| i));
                    words.extend(needed);
                }
                None => always.push(i),
            }
        }
        let words = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(words)
            .ok();
        Self {
            each,
            words,
            of_word,
            always,
        }
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.each.iter().map(|pattern| pattern.kind)
    }

    pub(super) fn find(&self, text: &str, found: &mut Vec<Found>) {
        for pattern in self.possible(text).into_iter().filter_map(|i| self.each.get(i)) {
            pattern.find(text, found);
        }
    }

    /// The patterns that can match, in order.
    fn possible(&self, text: &str) -> Vec<usize> {
        let Some(words) = self.words.as_ref().filter(|_| !text.contains(FOLDED)) else {
            return (0..self.each.len()).collect();
        };
        let mut possible = self.always.clone();
        possible.extend(
            words
                .find_overlapping_iter(text)
                .filter_map(|word| self.of_word.get(word.pattern().as_usize())),
        );
        possible.sort_unstable();
        possible.dedup();
        possible
    }
}

fn lines(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(" = ").unwrap_or(("", line)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_has_a_kind_and_compiles() {
        assert!(!PATTERNS.each.is_empty());
        for Pattern { kind, text, .. } in &PATTERNS.each {
            assert!(!kind.is_empty(), "no kind: {text}");
            assert!(
                kind.bytes().all(|b| b.is_ascii_lowercase() || b == b' '),
                "a kind is lower-case words: {kind}"
            );
            Regex::new(text).unwrap_or_else(|e| panic!("{kind}: {e}"));
        }
        assert!(PATTERNS.words.is_some());
        let always: Vec<&str> = PATTERNS
            .always
            .iter()
            .map(|i| PATTERNS.each[*i].text.as_str())
            .collect();
        assert!(
            always.len() <= 3,
            "patterns that are tried on every text: {always:#?}"
        );
    }

    #[test]
    fn letters_that_count_as_others_are_not_passed_over() {
        for text in [
            "pa\u{17f}\u{17f}word is: hunter2",
            "authorization: to\u{212a}en abcdef",
        ] {
            let mut found = Vec::new();
            PATTERNS.find(text, &mut found);
            assert_eq!(found.len(), 1, "{text}");
        }
    }
}
