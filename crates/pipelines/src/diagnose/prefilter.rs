//! Finds the rules' literals in raw bytes at the speed of a cache-resident table look-up.
//!
//! Only even positions are looked at, so each literal is known by two fingerprints of four bytes, the rarest of those
//! at even and of those at odd distances from its start: one of the two stands at an even position wherever the literal
//! begins. Every fingerprint is put into one of eight classes, and two tables of 16 KB say, each by a hash of its own,
//! which classes a position's four folded bytes may belong to. Only where both name one class are literals compared. The
//! hashes are of 16 bits so that the compiler computes many together. A full automaton over thousands of literals does
//! not fit the first-level cache and was measured at a fifth of the speed that this had with every position.
//!
//! A literal of four bytes has one fingerprint only. Where it begins at an odd position it is known by its first three
//! bytes and any byte before them; such fingerprints have a class of their own.

use std::collections::HashMap;

use super::fingerprints::{Fingerprints, Hit, Known};
use super::literals::Literal;
use super::usual;

/// Bytes of a fingerprint; every literal has at least as many.
pub const GRAM: usize = 4;
/// Entries of a table.
const TABLE: usize = 1 << TABLE_BITS;
const TABLE_BITS: u32 = 14;
/// Sets the bit that tells upper case from lower in each of four bytes.
pub(super) const FOLD: u32 = 0x2020_2020;
/// Positions that are tested together.
const PLACES: usize = 16;
/// Bytes from one tested position to the next.
const STEP: usize = 2;
/// Bytes that all of these positions see.
const WINDOW: usize = STEP * PLACES + GRAM - STEP;
/// Bytes whose hits are gathered before the first is looked at.
const STRETCH: usize = 32 * STEP * PLACES;
/// The class of fingerprints of which the first byte may be any.
const OPEN: u8 = 1 << 7;
/// What is left of a fingerprint without its first byte.
const OPEN_MASK: u32 = 0xffff_ff00;

pub struct Prefilter {
    /// By the first hash, and by the second, one bit for each class.
    tables: Box<[[u8; TABLE]; 2]>,
    fingerprints: Fingerprints,
}

impl Prefilter {
    /// A literal is known by its place in `literals`. Those shorter than [`GRAM`] are never found; the rules' compiler
    /// refuses them.
    pub fn new(literals: Vec<Literal>) -> Prefilter {
        let (mut whole, mut open) = (Vec::with_capacity(2 * literals.len()), Vec::new());
        for (literal, id) in literals.into_iter().zip(0..) {
            let known = |start| Known::new(id, start, &literal);
            if literal.text.len() == GRAM {
                whole.push((folded(&literal.text, 0), known(0)));
                open.push((folded(&literal.text, 0) << 8, known(1)));
            } else if let Some(offsets) = usual::rarest_grams(&literal.text) {
                for offset in offsets {
                    whole.push((folded(&literal.text, offset), known(-(offset as isize))));
                }
            }
        }
        let tables = tables(
            whole.iter().map(|(gram, _)| *gram),
            open.iter().map(|(gram, _)| *gram),
        );
        // An open one is none of the others: its first byte lacks the bit of lower case.
        whole.extend(open);
        Prefilter {
            tables,
            fingerprints: Fingerprints::new(whole),
        }
    }

    /// Calls `found` with a position in, and the number of, each literal that stands in `bytes` and has its fingerprint at
    /// or behind `from`, or right before it; in the order of these fingerprints.
    #[inline(always)]
    pub fn all(&self, bytes: &[u8], from: usize, mut found: impl FnMut(usize, u32)) {
        let mut windows = [([0; PLACES], 0); STRETCH / (STEP * PLACES)];
        // A place may have both a whole fingerprint and an open one.
        let mut hits = vec![Hit::default(); 2 * STRETCH / STEP];
        let mut start = from - from % STEP;
        while start < bytes.len() {
            let end = bytes.len().min(start + STRETCH);
            // Which windows have hits cannot be foreseen: each is noted, and kept if it has.
            let (mut kept, mut at) = (0, start);
            while at < end {
                let noted = &mut windows[kept];
                noted.1 = at;
                let rest = &bytes[at..];
                let any = match rest.first_chunk() {
                    Some(window) => self.classes(window, &mut noted.0),
                    None => {
                        let mut window = [0; WINDOW];
                        window[..rest.len()].copy_from_slice(rest);
                        self.classes(&window, &mut noted.0)
                    }
                };
                kept += usize::from(any);
                at += STEP * PLACES;
            }
            let mut count = 0;
            for (classes, at) in &windows[..kept] {
                let mut places = u128::from_le_bytes(*classes);
                while places != 0 {
                    let place = places.trailing_zeros() as usize / 8;
                    let hit = at + STEP * place;
                    if hit + GRAM > bytes.len() {
                        break;
                    }
                    hits[count] = Hit::new(hit, OPEN_MASK);
                    count += usize::from(classes[place] & OPEN != 0);
                    hits[count] = Hit::new(hit, u32::MAX);
                    count += usize::from(classes[place] & !OPEN != 0);
                    places &= !(0xff << (8 * place));
                }
            }
            self.fingerprints.verify(&mut hits[..count], bytes, &mut found);
            start = end;
        }
    }

    /// Puts the classes that both hashes name at each place of a window, one bit for each, into `classes`. Says whether
    /// there are any.
    #[inline(always)]
    fn classes(&self, window: &[u8; WINDOW], classes: &mut [u8; PLACES]) -> bool {
        let (mut first, mut second) = ([0; PLACES], [0; PLACES]);
        for place in 0..PLACES {
            let pair = |at: usize| u16::from_le_bytes([window[at], window[at + 1]]) | FOLD as u16;
            [first[place], second[place]] = hashes(pair(STEP * place), pair(STEP * place + 2));
        }
        let mut any = 0;
        for (place, classes) in classes.iter_mut().enumerate() {
            *classes = self.tables[0][usize::from(first[place]) % TABLE]
                & self.tables[1][usize::from(second[place]) % TABLE];
            any |= *classes;
        }
        any != 0
    }
}

/// The tables of whole fingerprints and of open ones. Each of the former gets the class in which it lets the fewest
/// fingerprints of usual logs through that are none of ours.
fn tables(whole: impl Iterator<Item = u32>, open: impl Iterator<Item = u32>) -> Box<[[u8; TABLE]; 2]> {
    let mut tables = Box::new([[0; TABLE]; 2]);
    for gram in open {
        for first in 0..=u8::MAX {
            let hashes = hashes_of(gram | u32::from(first) | FOLD);
            for (table, hash) in tables.iter_mut().zip(hashes) {
                table[usize::from(hash)] |= OPEN;
            }
        }
    }
    let usual: Vec<([u16; 2], u32)> = usual::fingerprints()
        .map(|(gram, share)| (hashes_of(gram), share))
        .collect();
    let mut sharing = [HashMap::new(), HashMap::new()];
    for (hashes, share) in &usual {
        for (table, sharing) in sharing.iter_mut().enumerate() {
            let with: &mut Vec<(u16, u32)> = sharing.entry(hashes[table]).or_default();
            with.push((hashes[1 - table], *share));
        }
    }
    let mut distinct: Vec<u32> = whole.collect();
    distinct.sort_unstable();
    distinct.dedup();
    for (gram, at) in distinct.into_iter().zip(0..) {
        let hashes = hashes_of(gram);
        let mut let_through = [0; OPEN.trailing_zeros() as usize];
        for (table, sharing) in sharing.iter().enumerate() {
            for (other, share) in sharing.get(&hashes[table]).into_iter().flatten() {
                for (class, let_through) in let_through.iter_mut().enumerate() {
                    if *other != hashes[1 - table]
                        && tables[1 - table][usize::from(*other)] & (1 << class) != 0
                    {
                        *let_through += share;
                    }
                }
            }
        }
        // Of equals the next one in turn, so that all classes are used alike.
        let class = (0..let_through.len())
            .map(|class| (class + at) % let_through.len())
            .min_by_key(|class| let_through[*class])
            .unwrap_or(0);
        for (table, hash) in tables.iter_mut().zip(hashes) {
            table[usize::from(hash)] |= 1 << class;
        }
    }
    tables
}

/// Four bytes with the case bit set. Some other characters fold together too; comparing literals tells them apart.
#[inline(always)]
pub(super) fn folded(bytes: &[u8], at: usize) -> u32 {
    match bytes[at..].first_chunk::<GRAM>() {
        Some(gram) => u32::from_le_bytes(*gram) | FOLD,
        None => 0,
    }
}

fn hashes_of(gram: u32) -> [u16; 2] {
    hashes(gram as u16, (gram >> 16) as u16)
}

/// Two numbers below [`TABLE`] of the lower and the upper half of four bytes, the second of them whatever the first byte.
#[inline(always)]
fn hashes(low: u16, high: u16) -> [u16; 2] {
    [
        (low.wrapping_mul(0x9E35) ^ high.wrapping_mul(0x79B1)) >> (16 - TABLE_BITS),
        (low >> 8)
            .wrapping_mul(0x6F4B)
            .wrapping_add(high.wrapping_mul(0xC2B3))
            >> (16 - TABLE_BITS),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Literal, Prefilter};

    /// Literals with a capital are taken as they are, the others in any case.
    fn prefilter(literals: &[&str]) -> Prefilter {
        let literal = |text: &&str| Literal {
            text: text.as_bytes().to_vec(),
            any_case: !text.bytes().any(|byte| byte.is_ascii_uppercase()),
        };
        Prefilter::new(literals.iter().map(literal).collect())
    }

    fn found(literals: &[&str], text: &str) -> Vec<u32> {
        let mut all = Vec::new();
        prefilter(literals).all(text.as_bytes(), 0, |_, id| all.push(id));
        all.sort_unstable();
        all
    }

    #[test]
    fn overlapping_literals_are_all_found_in_the_case_they_ask_for() {
        assert_eq!(
            found(
                &["error: could", "error", "killed", "Error", "ERROR"],
                "ERROR: Could not"
            ),
            [0, 1, 4]
        );
        assert_eq!(found(&["error"], "err or"), [0u32; 0]);
    }

    #[test]
    fn a_literal_at_either_end_is_found() {
        assert_eq!(found(&["killed", "oom-"], "killed by oom-"), [0, 1]);
        assert_eq!(found(&["killed"], "kil"), [0u32; 0]);
    }

    #[test]
    fn a_literal_is_found_once_wherever_it_stands() {
        let literals = prefilter(&["killed", "Oom-", "-9"]);
        for (id, text) in [(0, "KILLED"), (1, "Oom-")] {
            for before in 0..70 {
                for after in 0..40 {
                    let bytes = format!("{}{text}{}", "k".repeat(before), "x".repeat(after)).into_bytes();
                    let mut all = Vec::new();
                    literals.all(&bytes, 0, |at, id| all.push((at, id)));
                    let [(at, found)] = all[..] else {
                        panic!("{before} {after}: {all:?}");
                    };
                    assert_eq!(found, id);
                    assert!(
                        (before..before + text.len()).contains(&at),
                        "{before} {after}: {at}"
                    );
                    all.clear();
                    literals.all(&bytes, before + 4, |at, id| all.push((at, id)));
                    assert_eq!(all, [], "{before} {after}");
                }
            }
        }
    }
}
