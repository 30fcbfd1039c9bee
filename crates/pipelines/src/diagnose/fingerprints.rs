//! Which literals have a fingerprint, and which of them really stand where one was seen.

use super::literals::Literal;
use super::prefilter::{GRAM, folded};

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

    /// Calls `found` with each literal that stands wholly in `bytes` and has its fingerprint at one of the `hits`.
    ///
    /// Most hits come to nothing, with no pattern that a processor could foresee, so they are sifted without a branch first.
    pub fn verify(&self, hits: &mut [Hit], bytes: &[u8], mut found: impl FnMut(usize, u32)) {
        let mut kept = 0;
        for hit in 0..hits.len() {
            let Hit { at, mask, .. } = hits[hit];
            let place = self.grams.get(folded(bytes, at) & mask);
            hits[kept] = Hit {
                at,
                mask,
                first: place.first,
                end: place.end,
            };
            kept += usize::from(place.admits(bytes, at));
        }
        for hit in &hits[..kept] {
            let known = &self.known[usize::from(hit.first)..usize::from(hit.end)];
            compare(known, bytes, hit.at, &mut found);
        }
    }
}

/// A place in the text that may have a fingerprint, of which the bits of `mask` count, and where the literals that have
/// it stand.
#[derive(Clone, Copy, Default)]
pub(super) struct Hit {
    at: usize,
    mask: u32,
    first: u16,
    end: u16,
}

impl Hit {
    pub fn new(at: usize, mask: u32) -> Hit {
        Hit {
            at,
            mask,
            first: 0,
            end: 0,
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
        let distinct = sorted.chunk_by(|(one, _), (other, _)| one == other).count();
        let bits = (distinct.max(1) * 2).next_power_of_two().trailing_zeros();
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

    /// The fingerprint's place, or a free one.
    #[inline(always)]
    fn get(&self, gram: u32) -> &Place {
        let mut at = self.home(gram);
        loop {
            let place = &self.places[at];
            if place.gram == gram || place.end == 0 {
                return place;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }
}

impl Place {
    /// Whether a literal with this fingerprint may stand around it in `bytes`. Nothing stands around a free place.
    #[inline(always)]
    fn admits(&self, bytes: &[u8], at: usize) -> bool {
        let beside = |at: Option<usize>| {
            at.and_then(|at| bytes.get(at))
                .map_or(u32::MAX, |byte| bit(*byte))
        };
        (self.before & beside(at.checked_sub(1)) != 0) & (self.behind & beside(Some(at + GRAM)) != 0)
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

/// The first eight bytes of a literal as a number.
struct Head {
    /// The bit of lower case in each letter, if case does not matter.
    fold: u64,
    /// The bits that the literal has.
    mask: u64,
    bytes: u64,
    /// The literal has no more bytes than these.
    is_all: bool,
}

impl Head {
    fn of(literal: &Literal) -> Head {
        let (mut bytes, mut mask, mut fold) = ([0; 8], [0; 8], [0; 8]);
        for (at, byte) in literal.text.iter().take(8).enumerate() {
            (bytes[at], mask[at]) = (*byte, 0xff);
            if literal.any_case && byte.is_ascii_alphabetic() {
                fold[at] = 0x20;
            }
        }
        let [bytes, mask, fold] = [bytes, mask, fold].map(u64::from_le_bytes);
        Head {
            fold,
            mask,
            bytes: bytes | fold,
            is_all: literal.text.len() <= 8,
        }
    }
}

impl Known {
    #[inline(always)]
    fn begins(&self, text: &[u8]) -> bool {
        let head = &self.head;
        match text.first_chunk() {
            Some(first) if (u64::from_le_bytes(*first) | head.fold) & head.mask != head.bytes => false,
            Some(_) if head.is_all => true,
            _ => text
                .get(..self.literal.text.len())
                .is_some_and(|text| self.literal.equals(text)),
        }
    }
}

#[inline(never)]
fn compare(known: &[Known], bytes: &[u8], at: usize, mut found: impl FnMut(usize, u32)) {
    for known in known {
        if let Some(start) = at.checked_add_signed(known.start)
            && bytes.get(start..).is_some_and(|text| known.begins(text))
        {
            found(start.max(at), known.id);
        }
    }
}
