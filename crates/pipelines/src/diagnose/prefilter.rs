//! Finds the rules' literals in raw bytes, ignoring ASCII case, at the speed of a cache-resident table look-up.
//!
//! Each literal is known by its rarest four bytes. A position of the text is of interest if the bit of its own four
//! folded bytes is set in a table of 16 KB; only then are literals compared. A full automaton over a thousand literals
//! does not fit the first-level cache and was measured at a third of this speed.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Bytes of a fingerprint; every literal has at least as many.
pub const GRAM: usize = 4;
/// Bits of the table's index: 2^17 bits are 16 KB.
const TABLE_BITS: u32 = 17;
/// Sets the bit that tells upper case from lower in each of four bytes.
const FOLD: u32 = 0x2020_2020;
const WORDS: usize = 1 << (TABLE_BITS - 6);

pub struct Prefilter {
    table: Box<[u64; WORDS]>,
    /// For each fingerprint, the literals that have it and how far into them it lies.
    by_gram: HashMap<u32, Vec<(u32, usize)>, Spread>,
    literals: Vec<Vec<u8>>,
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
    /// Literals shorter than [`GRAM`] are never found; the rules' compiler refuses them.
    pub fn new(literals: Vec<String>) -> Prefilter {
        let mut table = Box::new([0; WORDS]);
        let mut by_gram: HashMap<u32, Vec<(u32, usize)>, Spread> = HashMap::default();
        let literals: Vec<Vec<u8>> = literals
            .into_iter()
            .map(|literal| literal.to_lowercase().into_bytes())
            .collect();
        for (id, literal) in literals.iter().enumerate() {
            let Some(offset) = rarest(literal) else { continue };
            let gram = folded(literal, offset);
            let slot = slot(gram);
            table[slot >> 6] |= 1 << (slot & 63);
            by_gram.entry(gram).or_default().push((id as u32, offset));
        }
        Prefilter {
            table,
            by_gram,
            literals,
        }
    }

    /// The position of a fingerprint of some literal that stands wholly in `bytes`, at or behind `from`.
    pub fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let mut from = from;
        loop {
            let skipped = bytes
                .get(from..)?
                .windows(GRAM)
                .position(|gram| self.of_interest(gram))?;
            from += skipped;
            if self.verify(bytes, from, |_| ()) {
                return Some(from);
            }
            from += 1;
        }
    }

    /// The numbers of all literals that stand in `bytes`, some of them more than once.
    pub fn all(&self, bytes: &[u8], mut found: impl FnMut(u32)) {
        for (at, gram) in bytes.windows(GRAM).enumerate() {
            if self.of_interest(gram) {
                self.verify(bytes, at, &mut found);
            }
        }
    }

    #[inline(always)]
    fn of_interest(&self, gram: &[u8]) -> bool {
        let slot = slot(u32::from_le_bytes([gram[0], gram[1], gram[2], gram[3]]) | FOLD);
        self.table[(slot >> 6) % WORDS] & (1 << (slot & 63)) != 0
    }

    fn verify(&self, bytes: &[u8], at: usize, mut found: impl FnMut(u32)) -> bool {
        let Some(known) = self.by_gram.get(&folded(bytes, at)) else {
            return false;
        };
        let mut any = false;
        for (id, offset) in known {
            let literal = &self.literals[*id as usize];
            let stands = at.checked_sub(*offset).is_some_and(|start| {
                bytes
                    .get(start..start + literal.len())
                    .is_some_and(|text| text.eq_ignore_ascii_case(literal))
            });
            if stands {
                found(*id);
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

/// Where the four bytes of a literal begin that logs hold least often.
fn rarest(literal: &[u8]) -> Option<usize> {
    (0..=literal.len().checked_sub(GRAM)?).min_by_key(|at| cost(&literal[*at..*at + GRAM]))
}

/// How often a search for the literal stops in vain: the more, the higher. `None` if it is too short.
pub fn literal_cost(literal: &[u8]) -> Option<u32> {
    literal.windows(GRAM).map(cost).min()
}

fn cost(gram: &[u8]) -> u32 {
    static USUAL: LazyLock<HashSet<[u8; GRAM]>> = LazyLock::new(|| {
        COMMON
            .as_bytes()
            .windows(GRAM)
            .filter_map(|gram| gram.first_chunk().copied())
            .collect()
    });
    let usual = gram.first_chunk().is_some_and(|gram| USUAL.contains(gram));
    u32::from(usual) * 200 + gram.iter().map(|byte| frequency(*byte)).sum::<u32>()
}

/// Text whose every four bytes are usual in logs.
#[rustfmt::skip]
const COMMON: &str = concat!(
    " error: errors failed: failure tests testing /tests/ /test/ .test. warning: building version versions package packages ",
    "installing installed downloading downloaded https://www. http://localhost /home/ file files modules running command ",
    "compile compiling object objects required requires exception ation able ing tion ment connected connection not to the for ",
    "      ---------- ========== ______ .java: .com org. in info [info] [error] code exit status processing processed and server with from was ",
    "could not is source sources include library of out note: type receiving received receives using exec executing seconds ",
    "ded: form ion working resolving resolved resolve remote: checking checked plugin plugins object loaded found line missing ",
    "invalid config configuration configure deploy assert artifact returned reading passed authentication resource dependency ",
    "dependencies maven- created unable cannot unexpected expected .py: .go: .c: .h: .cpp: ./ /src/ /lib/ /usr/ /bin/ name path data time user ",
    "updating update set get copying removing create starting stopping done true false project target build/ default local ",
    "request response message string class method function value table index branch commit repository request node_modules ",
    "org/apache/ github.com/ python3 site-packages travis_time:start: travis_fold:start: section_end: section_start: ##[group] ",
);

/// How usual a byte is in logs, roughly: 0 for the rare.
fn frequency(byte: u8) -> u32 {
    match byte {
        b' ' | b'e' | b't' | b'a' | b'o' | b'i' | b'n' | b's' | b'r' => 20,
        b'l' | b'c' | b'd' | b'u' | b'm' | b'p' | b'/' | b'.' | b'-' | b'0'..=b'9' => 14,
        b'f' | b'g' | b'h' | b'b' | b'y' | b'w' | b'v' | b':' | b'_' => 10,
        b'k' | b'x' | b'"' | b'(' | b')' | b'[' | b']' | b'=' | b',' | b'\'' => 6,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::Prefilter;

    fn found(literals: &[&str], text: &str) -> Vec<u32> {
        let mut all = Vec::new();
        Prefilter::new(literals.iter().map(|literal| (*literal).to_owned()).collect())
            .all(text.as_bytes(), |id| all.push(id));
        all.sort_unstable();
        all
    }

    #[test]
    fn overlapping_literals_are_all_found_in_any_case() {
        assert_eq!(
            found(&["error: could", "error", "killed"], "ERROR: Could not"),
            [0, 1]
        );
        assert_eq!(found(&["error"], "err or"), [0u32; 0]);
    }

    #[test]
    fn a_literal_at_either_end_is_found() {
        assert_eq!(found(&["killed", "oom-"], "killed by oom-"), [0, 1]);
        assert_eq!(found(&["killed"], "kil"), [0u32; 0]);
    }
}
