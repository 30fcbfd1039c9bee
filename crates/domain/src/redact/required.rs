//! What a text must contain for a pattern to match: one search for all of these tells which patterns to try.

use regex_syntax::hir::{Hir, HirKind};

/// More alternatives than this are not worth looking for.
const MOST: usize = 64;

/// Words, without regard to case, one of which every match holds; none where no such are known.
pub(super) fn of(pattern: &str) -> Option<Vec<String>> {
    let hir = regex_syntax::parse(pattern).ok()?;
    words(&hir).filter(|words| words.iter().all(|word| word.len() > 1))
}

fn words(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Capture(capture) => words(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => words(&repetition.sub),
        HirKind::Alternation(branches) => {
            let all: Option<Vec<_>> = branches.iter().map(words).collect();
            all.map(|all| all.concat()).filter(|all| all.len() <= MOST)
        }
        HirKind::Concat(parts) => in_a_row(parts),
        _ => letter_or_word(hir).map(|word| vec![word]),
    }
}

/// The best of what the parts need, where neighbours that are certain make one word.
fn in_a_row(parts: &[Hir]) -> Option<Vec<String>> {
    let mut best: Option<Vec<String>> = None;
    let mut word = String::new();
    let mut offer = |words: Vec<String>| {
        let worth = |words: &[String]| {
            let shortest = words.iter().map(String::len).min().unwrap_or_default();
            (shortest.min(4), std::cmp::Reverse(words.len()), shortest)
        };
        if !words.is_empty() && best.as_deref().is_none_or(|best| worth(best) < worth(&words)) {
            best = Some(words);
        }
    };
    for part in parts {
        if let Some(certain) = letter_or_word(part) {
            word.push_str(&certain);
            continue;
        }
        if !word.is_empty() {
            offer(vec![std::mem::take(&mut word)]);
        }
        if let Some(words) = words(part) {
            offer(words);
        }
    }
    if !word.is_empty() {
        offer(vec![word]);
    }
    best
}

/// A text that is matched as it stands, or a letter in either case.
fn letter_or_word(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => String::from_utf8(literal.0.to_vec())
            .ok()
            .map(|word| word.to_ascii_lowercase()),
        HirKind::Class(regex_syntax::hir::Class::Unicode(class)) => {
            let mut chars = class.iter().flat_map(|range| range.start()..=range.end());
            let first = chars.next()?.to_ascii_lowercase();
            // Letters outside of ASCII that count as one of its own are looked for by the caller.
            chars
                .take(4)
                .all(|c| c.to_ascii_lowercase() == first || super::patterns::FOLDED.contains(&c))
                .then(|| first.to_string())
        }
        _ => None,
    }
}
