//! Finds the rules' literals in raw bytes at the speed of a cache-resident table look-up.
//!
//! Each literal is known by its rarest four bytes. A position of the text is of interest if the bit of its own four
//! folded bytes is set in a table of 16 KB; only then are literals compared. A full automaton over thousands of literals
//! does not fit the first-level cache and was measured at a third of this speed.

use std::collections::HashMap;

use super::literals::Literal;
use super::usual;

/// Bytes of a fingerprint; every literal has at least as many.
pub const GRAM: usize = 4;
/// Bits of the table's index: 2^17 bits are 16 KB.
const TABLE_BITS: u32 = 17;
/// Sets the bit that tells upper case from lower in each of four bytes.
const FOLD: u32 = 0x2020_2020;
const WORDS: usize = 1 << (TABLE_BITS - 6);
/// Positions that are tested before the first branch.
const STRIDE: usize = 8;

pub struct Prefilter {
    table: Box<[u64; WORDS]>,
    /// For each fingerprint, where in `known` its literals stand.
    by_gram: HashMap<u32, (u32, u32), Spread>,
    known: Vec<Known>,
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

/// Fingerprints are spread by their own multiplication, so the map need not hash them again.
type Spread = std::hash::BuildHasherDefault<Multiply>;

#[derive(Default)]
pub struct Multiply(u64);

impl std::hash::Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = u64::from(value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
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
        let mut table = Box::new([0; WORDS]);
        let mut by_gram: HashMap<u32, (u32, u32), Spread> = HashMap::default();
        for (at, (gram, _)) in with_gram.iter().enumerate() {
            let slot = slot(*gram);
            table[slot >> 6] |= 1 << (slot & 63);
            let at = at as u32;
            by_gram.entry(*gram).or_insert((at, at)).1 = at + 1;
        }
        Prefilter {
            table,
            by_gram,
            known: with_gram.into_iter().map(|(_, known)| known).collect(),
        }
    }

    /// The position of a fingerprint of some literal that stands wholly in `bytes`, at or behind `from`.
    pub fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        loop {
            at = self.interest(bytes, at)?;
            if self.verify(bytes, at, |_| ()) {
                return Some(at);
            }
            at += 1;
        }
    }

    /// The numbers of the literals that stand in `bytes` and have their fingerprint at or behind `from`, some of them
    /// more than once.
    pub fn all(&self, bytes: &[u8], from: usize, mut found: impl FnMut(u32)) {
        let mut at = from;
        while let Some(next) = self.interest(bytes, at) {
            self.verify(bytes, next, &mut found);
            at = next + 1;
        }
    }

    /// The next position whose four bytes may be a fingerprint.
    #[inline(always)]
    fn interest(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut at = from;
        while let Some(window) = bytes.get(at..).and_then(<[u8]>::first_chunk::<{ STRIDE + 4 }>) {
            let [a, b, c, d, e, f, g, h, i, j, k, l] = *window;
            let low = u64::from_le_bytes([a, b, c, d, e, f, g, h]) | (FOLD as u64) << 32 | FOLD as u64;
            let high = u64::from_le_bytes([e, f, g, h, i, j, k, l]) | (FOLD as u64) << 32 | FOLD as u64;
            let mut hits = 0;
            for shift in 0..4 {
                hits |= self.bit((low >> (8 * shift)) as u32) << shift;
                hits |= self.bit((high >> (8 * shift)) as u32) << (shift + 4);
            }
            if hits != 0 {
                return Some(at + hits.trailing_zeros() as usize);
            }
            at += STRIDE;
        }
        let rest = bytes.get(at..)?;
        let found = rest
            .windows(GRAM)
            .position(|gram| self.bit(folded(gram, 0)) != 0)?;
        Some(at + found)
    }

    #[inline(always)]
    fn bit(&self, gram: u32) -> u64 {
        let slot = slot(gram);
        (self.table[(slot >> 6) % WORDS] >> (slot & 63)) & 1
    }

    #[inline(never)]
    fn verify(&self, bytes: &[u8], at: usize, mut found: impl FnMut(u32)) -> bool {
        let Some((first, end)) = self.by_gram.get(&folded(bytes, at)) else {
            return false;
        };
        let mut any = false;
        for known in &self.known[*first as usize..*end as usize] {
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
fn folded(bytes: &[u8], at: usize) -> u32 {
    match bytes[at..].first_chunk::<GRAM>() {
        Some(gram) => u32::from_le_bytes(*gram) | FOLD,
        None => 0,
    }
}

#[inline(always)]
fn slot(gram: u32) -> usize {
    (gram.wrapping_mul(0x9E37_79B1) >> (32 - TABLE_BITS)) as usize
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
        prefilter(literals).all(text.as_bytes(), 0, |id| all.push(id));
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
