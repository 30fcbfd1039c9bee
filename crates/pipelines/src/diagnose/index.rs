//! Which patterns a line has to be shown to, by the literals it holds.
//!
//! The bytes of the whole log are searched once for each pattern's rarest literals. Of a line that holds one, each
//! pattern so proposed is asked for what else it demands before it is searched for: a pattern that was not used for
//! a while is not in the cache, and costs as much as the search of a hundred lines.

use std::collections::HashMap;

use super::literals::{Demands, Literal, Set};
use super::prefilter::Prefilter;
use super::start::Start;

pub(super) struct Index {
    keys: Prefilter,
    /// For each key, the patterns that it is a key of.
    keyed: Vec<Vec<u32>>,
    /// What each pattern demands beside its key.
    rest: Vec<Rest>,
}

struct Rest {
    start: Option<Start>,
    others: Vec<Vec<Needle>>,
}

/// A literal ready to be looked for in one line.
struct Needle {
    literal: Literal,
    finder: memchr::memmem::Finder<'static>,
}

impl Needle {
    fn new(literal: Literal) -> Needle {
        Needle {
            finder: memchr::memmem::Finder::new(&literal.text).into_owned(),
            literal,
        }
    }

    fn stands_in(&self, text: &[u8]) -> bool {
        if self.literal.any_case {
            let length = self.literal.text.len();
            let Some(first) = self.literal.text.first() else {
                return true;
            };
            memchr::memchr2_iter(*first, first.to_ascii_uppercase(), text)
                .filter_map(|at| text.get(at..at + length))
                .any(|part| self.literal.equals(part))
        } else {
            self.finder.find(text).is_some()
        }
    }
}

impl Index {
    /// A pattern is known by its place in `demands`.
    pub fn new(demands: Vec<Demands>) -> Index {
        let mut ids: HashMap<Literal, usize> = HashMap::new();
        let mut keys = Vec::new();
        let mut keyed: Vec<Vec<u32>> = Vec::new();
        let mut rest = Vec::new();
        let needles = |set: Set| set.into_iter().map(Needle::new).collect();
        for (demands, pattern) in demands.into_iter().zip(0..) {
            for literal in demands.key {
                let id = *ids.entry(literal.clone()).or_insert_with(|| {
                    keys.push(literal);
                    keyed.push(Vec::new());
                    keys.len() - 1
                });
                keyed[id].push(pattern);
            }
            rest.push(Rest {
                start: demands.start,
                others: demands.others.into_iter().map(needles).collect(),
            });
        }
        Index {
            keys: Prefilter::new(keys),
            keyed,
            rest,
        }
    }

    /// Calls `found` with a position in, and the number of, every key that stands in `bytes` at or behind `from`.
    pub fn keys(&self, bytes: &[u8], from: usize, mut found: impl FnMut(usize, u32)) {
        self.keys.all(bytes, from, |at, key| found(at.max(from), key));
    }

    /// How many places of `bytes` hold a key.
    pub fn count(&self, bytes: &[u8]) -> usize {
        let mut count = 0;
        self.keys.all(bytes, 0, |_, _| count += 1);
        count
    }

    /// Puts the patterns of which `text` holds a key into `patterns`, in order.
    pub fn proposed(&self, text: &[u8], patterns: &mut Vec<u32>) {
        patterns.clear();
        self.keys.all(text, 0, |_, key| {
            patterns.extend_from_slice(&self.keyed[key as usize]);
        });
        in_order(patterns);
    }

    /// Puts the patterns of these keys into `patterns`, in order.
    pub fn proposed_by(&self, keys: impl Iterator<Item = u32>, patterns: &mut Vec<u32>) {
        patterns.clear();
        for key in keys {
            patterns.extend_from_slice(&self.keyed[key as usize]);
        }
        in_order(patterns);
    }

    /// Whether a cleaned line that holds a key of the pattern has the rest too, so that a search may find it.
    pub fn admits(&self, pattern: u32, text: &str) -> bool {
        let (rest, text) = (&self.rest[pattern as usize], text.as_bytes());
        rest.start.as_ref().is_none_or(|start| start.admits(text))
            && rest
                .others
                .iter()
                .all(|set| set.iter().any(|needle| needle.stands_in(text)))
    }
}

fn in_order(patterns: &mut Vec<u32>) {
    if patterns.len() > 1 {
        patterns.sort_unstable();
        patterns.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::super::literals::demands;
    use super::Index;

    #[test]
    fn a_pattern_is_proposed_by_its_key_and_admitted_by_the_rest() {
        let patterns = [
            r"cannot open \S+ for writing",
            r"cannot open \d+ (?:files|folders)",
            "(?i)Killed",
            r"^quokka \d+ (?i:broken)",
        ];
        let index = Index::new(patterns.iter().filter_map(|pattern| demands(pattern)).collect());
        let mut proposed = Vec::new();
        for (line, expected) in [
            ("cannot open a for writing: KILLED", &[0, 2][..]),
            ("cannot open b folders", &[1]),
            ("cannot open it", &[]),
            ("for writing", &[]),
            ("quokka 3 Broken", &[3]),
            ("a quokka 3 Broken", &[]),
            ("quokka 3 mended", &[]),
        ] {
            index.proposed(line.as_bytes(), &mut proposed);
            proposed.retain(|pattern| index.admits(*pattern, line));
            assert_eq!(proposed, expected, "{line}");
        }
    }
}
