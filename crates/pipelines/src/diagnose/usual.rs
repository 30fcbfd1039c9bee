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

/// Where the four bytes of the text begin that logs hold least often once they are folded as the search folds them;
/// `None` if it is shorter.
pub fn rarest_gram(text: &[u8]) -> Option<usize> {
    (0..=text.len().checked_sub(GRAM)?).min_by_key(|at| {
        let gram = &text[*at..*at + GRAM];
        let lines = FOLDED.get(&folded(gram, 0)).copied().unwrap_or(0);
        // Of letters beyond ASCII no shares are known: rulers and ticks are drawn of them.
        (lines, gram.iter().filter(|byte| !byte.is_ascii()).count())
    })
}

fn gram(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<GRAM>()
        .and_then(|gram| SHARES.get(gram))
        .copied()
        .unwrap_or(0)
}
