//! Finds the rules' literals in raw bytes at the speed of a cache-resident table look-up.
//!
//! Each literal is known by its rarest four bytes. Every known four bytes are put into one of eight classes, and two
//! tables of 16 KB say, each by a hash of its own, which classes a position's four folded bytes may belong to. Only where
//! both name one class are literals compared. The hashes are of 16 bits so that the compiler computes many together. A full
//! automaton over thousands of literals does not fit the first-level cache and was measured at a fifth of this speed.

use std::ops::Range;

use super::literals::Literal;
use super::usual;

/// Bytes of a fingerprint; every literal has at least as many.
pub const GRAM: usize = 4;
/// Entries of a table.
const TABLE: usize = 1 << TABLE_BITS;
const TABLE_BITS: u32 = 14;
/// Sets the bit that tells upper case from lower in each of four bytes.
const FOLD: u32 = 0x2020_2020;
/// Positions that are tested before the first branch.
const STRIDE: usize = 16;

pub struct Prefilter {
    /// By the first hash, and by the second, one bit for each class.
    tables: Box<[[u8; TABLE]; 2]>,
    grams: Grams,
    known: Vec<Known>,
}

/// For each fingerprint, where its literals stand among the known ones. A place that is taken pushes a fingerprint on
/// to the next; at least three places in four are free, so that a look mostly ends with the first.
struct Grams {
    places: Vec<Place>,
    /// How far right a spread fingerprint goes to be a place's number.
    shift: u32,
}

/// Free if it ends at 0.
#[derive(Clone, Copy, Default)]
struct Place {
    gram: u32,
    first: u32,
    end: u32,
}

impl Grams {
    /// `sorted` are the fingerprints in order, as often as there are literals.
    fn new(sorted: impl ExactSizeIterator<Item = u32>) -> Grams {
        let bits = (sorted.len().max(1) * 4).next_power_of_two().trailing_zeros();
        let mut grams = Grams {
            places: vec![Place::default(); 1 << bits],
            shift: 32 - bits,
        };
        for (gram, at) in sorted.zip(0..) {
            let mut place = grams.home(gram);
            while grams.places[place].end != 0 && grams.places[place].gram != gram {
                place = (place + 1) & (grams.places.len() - 1);
            }
            let first = match grams.places[place] {
                Place { end: 0, .. } => at,
                taken => taken.first,
            };
            grams.places[place] = Place {
                gram,
                first,
                end: at + 1,
            };
        }
        grams
    }

    fn home(&self, gram: u32) -> usize {
        (gram.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }

    #[inline(always)]
    fn get(&self, gram: u32) -> Option<std::ops::Range<usize>> {
        let mut at = self.home(gram);
        loop {
            let place = self.places.get(at)?;
            if place.end == 0 {
                return None;
            }
            if place.gram == gram {
                return Some(place.first as usize..place.end as usize);
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }
}

struct Known {
    id: u32,
    /// How far into the literal its fingerprint lies.
    offset: u32,
    /// The literal's first bytes, so that most comparisons need not follow a pointer.
    head: Head,
    literal: Literal,
}

/// Up to eight bytes as a number.
struct Head {
    /// The bit of lower case in each byte, if case does not matter.
    fold: u64,
    /// The bits that the literal has.
    mask: u64,
    bytes: u64,
}

impl Head {
    fn of(literal: &Literal) -> Head {
        let (mut bytes, mut mask) = ([0; 8], [0; 8]);
        for (at, byte) in literal.text.iter().take(8).enumerate() {
            (bytes[at], mask[at]) = (*byte, 0xff);
        }
        let fold = if literal.any_case {
            u64::from(FOLD) << 32 | u64::from(FOLD)
        } else {
            0
        };
        let mask = u64::from_le_bytes(mask);
        Head {
            fold,
            mask,
            bytes: (u64::from_le_bytes(bytes) | fold) & mask,
        }
    }

    /// Whether the literal may stand at the start of `text`.
    #[inline(always)]
    fn admits(&self, text: &[u8]) -> bool {
        text.first_chunk()
            .is_none_or(|text| (u64::from_le_bytes(*text) | self.fold) & self.mask == self.bytes)
    }
}

impl Prefilter {
    /// A literal is known by its place in `literals`. Those shorter than [`GRAM`] are never found; the rules' compiler
    /// refuses them.
    pub fn new(literals: Vec<Literal>) -> Prefilter {
        let mut with_gram: Vec<(u32, Known)> = Vec::with_capacity(literals.len());
        for (id, literal) in literals.into_iter().enumerate() {
            let Some(offset) = usual::rarest_gram(&literal.text) else {
                continue;
            };
            let known = Known {
                id: id as u32,
                offset: offset as u32,
                head: Head::of(&literal),
                literal,
            };
            with_gram.push((folded(&known.literal.text, offset), known));
        }
        with_gram.sort_by_key(|(gram, known)| (*gram, known.id));
        let grams = Grams::new(with_gram.iter().map(|(gram, _)| *gram));
        let mut tables = Box::new([[0; TABLE]; 2]);
        let mut distinct: Vec<u32> = with_gram.iter().map(|(gram, _)| *gram).collect();
        distinct.dedup();
        for (at, gram) in distinct.into_iter().enumerate() {
            for (table, hash) in tables.iter_mut().zip(hashes(gram as u16, (gram >> 16) as u16)) {
                table[usize::from(hash)] |= 1 << (at % 8);
            }
        }
        Prefilter {
            tables,
            grams,
            known: with_gram.into_iter().map(|(_, known)| known).collect(),
        }
    }

    /// The position of a fingerprint of some literal that stands wholly in `bytes`, at or behind `from`.
    pub fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        self.scan(bytes, from..bytes.len(), |at| self.verify(bytes, at, |_| ()))
    }

    /// The numbers of the literals that stand in `bytes` and have their fingerprint in `range`, some of them
    /// more than once.
    pub fn all(&self, bytes: &[u8], range: Range<usize>, mut found: impl FnMut(u32)) {
        self.scan(bytes, range, |at| {
            self.verify(bytes, at, &mut found);
            false
        });
    }

    /// The first position in `range` whose four bytes may be a fingerprint and where `stop` says so.
    #[inline(always)]
    fn scan(&self, bytes: &[u8], range: Range<usize>, mut stop: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut at = range.start;
        while at < range.end
            && let Some(window) = bytes
                .get(at..)
                .and_then(<[u8]>::first_chunk::<{ STRIDE + GRAM - 1 }>)
        {
            let (mut first, mut second) = ([0; STRIDE], [0; STRIDE]);
            for place in 0..STRIDE {
                let pair = |at: usize| u16::from(window[at] | 0x20) | u16::from(window[at + 1] | 0x20) << 8;
                [first[place], second[place]] = hashes(pair(place), pair(place + 2));
            }
            let (mut classes, mut any) = ([0; STRIDE], 0);
            for (place, classes) in classes.iter_mut().enumerate() {
                *classes = self.classes([first[place], second[place]]);
                any |= *classes;
            }
            // Mostly nothing: the places are put together only where there is one to be told.
            let mut hits = if any == 0 { 0 } else { u128::from_le_bytes(classes) };
            while hits != 0 {
                let place = hits.trailing_zeros() / 8;
                let hit = at + place as usize;
                if hit >= range.end {
                    return None;
                }
                if stop(hit) {
                    return Some(hit);
                }
                hits &= !(0xff << (8 * place));
            }
            at += STRIDE;
        }
        // The last few bytes of all.
        (at..range.end.min(bytes.len().saturating_sub(GRAM - 1))).find(|at| {
            let gram = folded(bytes, *at);
            self.classes(hashes(gram as u16, (gram >> 16) as u16)) != 0 && stop(*at)
        })
    }

    /// The classes that both hashes name, one bit for each.
    #[inline(always)]
    fn classes(&self, [first, second]: [u16; 2]) -> u8 {
        self.tables[0][usize::from(first) % TABLE] & self.tables[1][usize::from(second) % TABLE]
    }

    #[inline(always)]
    fn verify(&self, bytes: &[u8], at: usize, found: impl FnMut(u32)) -> bool {
        self.grams
            .get(folded(bytes, at))
            .is_some_and(|known| Self::compare(&self.known[known], bytes, at, found))
    }

    #[inline(never)]
    fn compare(known: &[Known], bytes: &[u8], at: usize, mut found: impl FnMut(u32)) -> bool {
        let mut any = false;
        for known in known {
            let stands = at
                .checked_sub(known.offset as usize)
                .and_then(|start| bytes.get(start..))
                .filter(|text| known.head.admits(text))
                .and_then(|text| text.get(..known.literal.text.len()))
                .is_some_and(|text| known.literal.equals(text));
            if stands {
                found(known.id);
                any = true;
            }
        }
        any
    }
}

/// Four bytes with the case bit set. Some other characters fold together too; comparing literals tells them apart.
#[inline(always)]
pub(super) fn folded(bytes: &[u8], at: usize) -> u32 {
    match bytes[at..].first_chunk::<GRAM>() {
        Some(gram) => u32::from_le_bytes(*gram) | FOLD,
        None => 0,
    }
}

/// Two numbers below [`TABLE`] of the lower and the upper half of four bytes.
#[inline(always)]
fn hashes(low: u16, high: u16) -> [u16; 2] {
    [
        (low.wrapping_mul(0x9E35) ^ high.wrapping_mul(0x79B1)) >> (16 - TABLE_BITS),
        low.wrapping_mul(0x6F4B).wrapping_add(high.wrapping_mul(0xC2B3)) >> (16 - TABLE_BITS),
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
        prefilter(literals).all(text.as_bytes(), 0..text.len(), |id| all.push(id));
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
    fn a_literal_is_found_wherever_it_stands() {
        let killed = prefilter(&["killed", "Oom-"]);
        for before in 0..40 {
            for after in 0..20 {
                let text = format!("{}killed{}", "k".repeat(before), "x".repeat(after));
                let at = killed.find(text.as_bytes(), 0).map(|at| at / 4 * 4);
                assert!(
                    at.is_some_and(|at| (before / 4 * 4..=before + 2).contains(&at)),
                    "{text}: {at:?}"
                );
                assert_eq!(killed.find(text.as_bytes(), before + 3), None, "{text}");
            }
        }
    }
}
