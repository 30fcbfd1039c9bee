//! How usual a text is in logs, so that the scan looks for those that are not.
//!
//! `rules/usual.txt` holds every four bytes that more than a few lines of real logs hold. A line of it is a share, in
//! lines of ten thousand, and the four-byte texts, written together, that have at least that share.
//! `cargo run -p longshore-pipelines --example usual` writes it anew.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::literals::Literal;
use super::prefilter::{GRAM, folded};

static SHARES: LazyLock<HashMap<[u8; GRAM], u32>> = LazyLock::new(|| {
    let mut shares = HashMap::new();
    for (share, grams) in include_str!("../../rules/usual.txt")
        .lines()
        .filter_map(|line| line.split_once(' '))
    {
        let share = share.parse().unwrap_or(u32::MAX);
        shares.extend(
            grams
                .as_bytes()
                .as_chunks::<GRAM>()
                .0
                .iter()
                .map(|gram| (*gram, share)),
        );
    }
    shares
});

/// The shares by fingerprint, which several texts have in common.
static FOLDED: LazyLock<HashMap<u32, u32>> = LazyLock::new(|| {
    let mut folded_shares = HashMap::new();
    for (gram, share) in SHARES.iter() {
        *folded_shares.entry(folded(gram, 0)).or_default() += share;
    }
    folded_shares
});

/// How many lines of ten thousand hold the text, at most.
pub fn lines(literal: &Literal) -> u32 {
    let text = &literal.text;
    if !literal.any_case {
        return rarest(text);
    }
    let mut capital = text.to_ascii_lowercase();
    let lower = rarest(&capital);
    if let Some(first) = capital.iter_mut().find(|byte| byte.is_ascii_lowercase()) {
        first.make_ascii_uppercase();
    }
    lower + rarest(&capital) + rarest(&text.to_ascii_uppercase())
}

fn rarest(text: &[u8]) -> u32 {
    text.windows(GRAM).map(gram).min().unwrap_or(10_000)
}

/// The folded fingerprints of usual logs, each with the lines of ten thousand that hold it.
pub fn fingerprints() -> impl Iterator<Item = (u32, u32)> {
    FOLDED.iter().map(|(gram, share)| (*gram, *share))
}

/// How many lines of ten thousand hold a fingerprint of the text, of the two by which it is known.
pub fn hits(text: &[u8]) -> u32 {
    let shares = |at: usize| FOLDED.get(&folded(text, at)).copied().unwrap_or(0);
    match rarest_grams(text) {
        Some(offsets) => offsets.into_iter().map(shares).sum(),
        None => shares(0),
    }
}

/// Where the fingerprint of an even and that of an odd number of bytes into the text begin that logs hold least often,
/// in any order; `None` if the text is too short to have both.
pub fn rarest_grams(text: &[u8]) -> Option<[usize; 2]> {
    let cost = |at: &usize| {
        let gram = &text[*at..*at + GRAM];
        let lines = FOLDED.get(&folded(gram, 0)).copied().unwrap_or(0);
        // Of letters beyond ASCII no shares are known: rulers and ticks are drawn of them.
        (lines, gram.iter().filter(|byte| !byte.is_ascii()).count())
    };
    let ends = text.len().checked_sub(GRAM - 1)?;
    Some([
        (0..ends).step_by(2).min_by_key(cost)?,
        (1..ends).step_by(2).min_by_key(cost)?,
    ])
}

fn gram(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<GRAM>()
        .and_then(|gram| SHARES.get(gram))
        .copied()
        .unwrap_or(0)
}
