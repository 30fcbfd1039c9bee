//! How usual a text is in logs, so that the scan looks for those that are not.
//!
//! `rules/usual.txt` holds every four bytes that more than a few lines of real logs hold. A line of it is a share, in
//! lines of ten thousand, and the four-byte texts, lower case and written together, that have at least that share.
//! `cargo run -p longshore-pipelines --example usual` writes it anew.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::prefilter::GRAM;

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

/// How many lines of ten thousand hold the text, at most.
pub fn lines(text: &[u8]) -> u32 {
    text.windows(GRAM).map(gram).min().unwrap_or(10_000)
}

/// Where the four bytes of the text begin that logs hold least often; `None` if it is shorter.
pub fn rarest_gram(text: &[u8]) -> Option<usize> {
    (0..=text.len().checked_sub(GRAM)?).min_by_key(|at| gram(&text[*at..*at + GRAM]))
}

fn gram(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk::<GRAM>()
        .and_then(|gram| SHARES.get(&gram.to_ascii_lowercase().first_chunk().copied()?))
        .copied()
        .unwrap_or(0)
}
