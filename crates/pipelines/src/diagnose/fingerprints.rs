//! Which literals have a fingerprint, and which of them really stand where one was seen.

use std::ops::Range;

use super::literals::Literal;
use super::prefilter::{FOLD, GRAM};

/// Literals by their fingerprints.
pub(super) struct Fingerprints {
    grams: Grams,
    known: Vec<Known>,
}

impl Fingerprints {
    pub fn new(mut with_gram: Vec<(u32, Known)>) -> Fingerprints {
        with_gram.sort_by_key(|(gram, known)| (*gram, known.id));
        Fingerprints {
            grams: Grams::new(&with_gram),
            known: with_gram.into_iter().map(|(_, known)| known).collect(),
        }
    }

    /// Calls `found` with each literal of this fingerprint, at `at`, that stands wholly in `bytes`.
    #[inline(always)]
    pub fn verify(&self, gram: u32, bytes: &[u8], at: usize, found: impl FnMut(usize, u32)) {
        if let Some(known) = self.grams.get(gram, bytes, at) {
            compare(&self.known[known], bytes, at, found);
        }
    }
}

/// For each fingerprint, where its literals stand among the known ones. A place that is taken pushes a fingerprint on
/// to the next; at least half of the places are free, so that a look mostly ends with the first.
struct Grams {
    places: Vec<Place>,
    /// How far right a spread fingerprint goes to be a place's number.
    shift: u32,
}

/// Free if it ends at 0.
#[derive(Clone, Copy, Default)]
struct Place {
    gram: u32,
    first: u16,
    end: u16,
    /// What the literals have right before and right behind the fingerprint: one bit for some of the bytes.
    before: u32,
    behind: u32,
}

impl Grams {
    /// `sorted` are the literals in the order of their fingerprints.
    fn new(sorted: &[(u32, Known)]) -> Grams {
        let bits = (sorted.len().max(1) * 2).next_power_of_two().trailing_zeros();
        let mut grams = Grams {
            places: vec![Place::default(); 1 << bits],
            shift: 32 - bits,
        };
        for ((gram, known), at) in sorted.iter().zip(0..) {
            let mut place = grams.home(*gram);
            while grams.places[place].end != 0 && grams.places[place].gram != *gram {
                place = (place + 1) & (grams.places.len() - 1);
            }
            let place = &mut grams.places[place];
            if place.end == 0 {
                (place.gram, place.first) = (*gram, at);
            }
            place.end = at + 1;
            let beside = |at: isize| {
                let at = usize::try_from(at - known.start).ok();
                at.and_then(|at| known.literal.text.get(at))
                    .map_or(u32::MAX, |byte| bit(*byte))
            };
            place.before |= beside(-1);
            place.behind |= beside(GRAM as isize);
        }
        grams
    }

    fn home(&self, gram: u32) -> usize {
        (gram.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }

    /// The literals that may stand in `bytes` with this fingerprint at `at`.
    #[inline(always)]
    fn get(&self, gram: u32, bytes: &[u8], at: usize) -> Option<Range<usize>> {
        let mut place = self.home(gram);
        loop {
            let found = self.places.get(place)?;
            if found.end == 0 {
                return None;
            }
            if found.gram == gram {
                let before = at
                    .checked_sub(1)
                    .and_then(|at| bytes.get(at))
                    .map_or(u32::MAX, |byte| bit(*byte));
                let behind = bytes.get(at + GRAM).map_or(u32::MAX, |byte| bit(*byte));
                let may = found.before & before != 0 && found.behind & behind != 0;
                return may.then_some(usize::from(found.first)..usize::from(found.end));
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }
}

/// One bit of 32 for a byte, the same one for a letter in either case.
#[inline(always)]
fn bit(byte: u8) -> u32 {
    1 << (byte % 32)
}

pub(super) struct Known {
    id: u32,
    /// Where the literal begins, counted from its fingerprint.
    start: isize,
    /// The literal's first bytes, so that most comparisons need not follow a pointer.
    head: Head,
    literal: Literal,
}

impl Known {
    pub fn new(id: u32, start: isize, literal: &Literal) -> Known {
        Known {
            id,
            start,
            head: Head::of(literal),
            literal: literal.clone(),
        }
    }
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

#[inline(never)]
fn compare(known: &[Known], bytes: &[u8], at: usize, mut found: impl FnMut(usize, u32)) {
    for known in known {
        let Some(start) = at.checked_add_signed(known.start) else {
            continue;
        };
        let stands = bytes
            .get(start..)
            .filter(|text| known.head.admits(text))
            .and_then(|text| text.get(..known.literal.text.len()))
            .is_some_and(|text| known.literal.equals(text));
        if stands {
            found(start.max(at), known.id);
        }
    }
}
