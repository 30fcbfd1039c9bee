//! Which patterns a line has to be shown to, by the literals it holds.
//!
//! Two searches: the bytes of the whole log are searched for each pattern's rarest literals; a line that holds one is
//! searched again, cleaned, for all that the patterns demand. Most of the patterns that the first search proposes
//! lack something else, and a search for a few literals costs less than one pattern that is not in the cache.

use std::collections::HashMap;

use super::literals::{Demands, Literal, Set};
use super::prefilter::Prefilter;

pub(super) struct Index {
    /// The rarest literals of each pattern.
    keys: Prefilter,
    /// These and the further ones.
    all: Prefilter,
    /// For each literal of `all`, the patterns of which it is a key.
    keyed: Vec<Vec<u32>>,
    /// For each pattern, the further sets of literals of which a line must hold one each.
    others: Vec<Vec<Vec<u32>>>,
}

/// What is found on one line; kept from line to line for its memory.
#[derive(Default)]
pub(super) struct Found {
    /// The patterns to show the line to, in order.
    pub patterns: Vec<u32>,
    literals: Vec<u32>,
    /// A bit for each literal of the index.
    present: Vec<u64>,
}

impl Found {
    fn holds(&self, literal: u32) -> bool {
        self.present[literal as usize / 64] >> (literal % 64) & 1 != 0
    }
}

impl Index {
    /// A pattern is known by its place in `demands`.
    pub fn new<'d>(demands: impl Iterator<Item = &'d Demands> + Clone) -> Index {
        let sets = |pattern: &'d Demands| std::iter::once(&pattern.key).chain(&pattern.others);
        let mut texts: Vec<&Literal> = demands.clone().flat_map(sets).flatten().collect();
        texts.sort();
        texts.dedup();
        let ids: HashMap<&Literal, u32> = texts.iter().zip(0..).map(|(text, id)| (*text, id)).collect();
        let numbered = |set: &Set| -> Vec<u32> { set.iter().map(|literal| ids[literal]).collect() };
        let mut keyed = vec![Vec::new(); texts.len()];
        let mut others = Vec::new();
        for (pattern, demands) in demands.enumerate() {
            for literal in numbered(&demands.key) {
                keyed[literal as usize].push(pattern as u32);
            }
            others.push(demands.others.iter().map(numbered).collect());
        }
        let keys = texts
            .iter()
            .zip(&keyed)
            .filter(|(_, patterns)| !patterns.is_empty());
        Index {
            keys: Prefilter::new(keys.map(|(text, _)| (*text).clone()).collect()),
            all: Prefilter::new(texts.into_iter().cloned().collect()),
            keyed,
            others,
        }
    }

    /// The position of a part of some key that stands wholly in `bytes`, at or behind `from`.
    pub fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        self.keys.find(bytes, from)
    }

    /// How many places of `bytes` hold a key.
    pub fn count(&self, bytes: &[u8]) -> usize {
        let mut count = 0;
        self.keys.all(bytes, |_| count += 1);
        count
    }

    /// Finds the patterns that may match a cleaned line.
    pub fn candidates(&self, text: &str, found: &mut Found) {
        found.patterns.clear();
        found.literals.clear();
        found.present.resize(self.keyed.len().div_ceil(64), 0);
        let Found {
            literals, present, ..
        } = found;
        self.all.all(text.as_bytes(), |literal| {
            let (word, bit) = (&mut present[literal as usize / 64], 1 << (literal % 64));
            if *word & bit == 0 {
                *word |= bit;
                literals.push(literal);
            }
        });
        let mut patterns = std::mem::take(&mut found.patterns);
        for literal in &found.literals {
            patterns.extend(self.keyed[*literal as usize].iter().filter(|pattern| {
                self.others[**pattern as usize]
                    .iter()
                    .all(|set| set.iter().any(|literal| found.holds(*literal)))
            }));
        }
        patterns.sort_unstable();
        patterns.dedup();
        found.patterns = patterns;
        for literal in &found.literals {
            found.present[*literal as usize / 64] = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::literals::demands;
    use super::{Found, Index};

    #[test]
    fn a_line_is_shown_to_the_patterns_of_which_it_holds_all_that_they_demand() {
        let patterns = [
            r"cannot open \S+ for writing",
            r"cannot open \d+ (?:files|folders)",
            "(?i)Killed",
        ];
        let demands: Vec<_> = patterns.iter().filter_map(|pattern| demands(pattern)).collect();
        let index = Index::new(demands.iter());
        let mut found = Found::default();
        for (line, expected) in [
            ("cannot open a for writing: KILLED", &[0, 2][..]),
            ("cannot open b folders", &[1]),
            ("cannot open it", &[]),
            ("for writing", &[]),
        ] {
            index.candidates(line, &mut found);
            assert_eq!(found.patterns, expected, "{line}");
        }
    }
}
