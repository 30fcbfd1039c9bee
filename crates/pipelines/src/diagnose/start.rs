//! What a line must begin with for a pattern to match it: the cheapest reason to leave a search out.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

use super::literals::{Literal, Set, finite, flatten, normal, product};

/// More first bytes than this tell too few lines apart to be asked for.
const MOST_BYTES: usize = 160;

/// What the text must begin with.
pub struct Start {
    /// Bytes of which any number may stand before it.
    skipped: Bytes,
    /// The bytes of which one follows; none of them is skipped.
    first: Bytes,
    /// If they are few, the texts of which one follows.
    texts: Set,
}

/// A set of bytes.
struct Bytes(Box<[bool; 256]>);

impl Bytes {
    fn none() -> Bytes {
        Bytes(Box::new([false; 256]))
    }

    fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    fn add(&mut self, byte: u8) {
        self.0[usize::from(byte)] = true;
    }

    fn count(&self) -> usize {
        self.0.iter().filter(|has| **has).count()
    }

    fn meets(&self, other: &Bytes) -> bool {
        self.0.iter().zip(other.0.iter()).any(|(a, b)| *a && *b)
    }
}

impl Start {
    /// What stands directly behind the pattern's `^`; `None` if nothing does that would tell lines apart.
    pub fn of(hir: &Hir) -> Option<Start> {
        let mut flat = Vec::new();
        flatten(std::slice::from_ref(hir), &mut flat);
        let mut parts = flat.as_slice();
        match parts.split_first()? {
            (look, rest) if matches!(look.kind(), HirKind::Look(Look::Start)) => parts = rest,
            _ => return None,
        }
        if let Some((repeated, rest)) = parts.split_first()
            && let HirKind::Repetition(repetition) = repeated.kind()
            && one_byte(&repetition.sub)
        {
            let mut skipped = Bytes::none();
            add_first(&repetition.sub, &mut skipped);
            if let Some(start) = Start::behind(skipped, rest) {
                return Some(start);
            }
        }
        Start::behind(Bytes::none(), parts)
    }

    fn behind(skipped: Bytes, parts: &[&Hir]) -> Option<Start> {
        let mut first = Bytes::none();
        let all_may_be_empty = parts.iter().all(|part| add_first(part, &mut first));
        if all_may_be_empty || first.count() > MOST_BYTES || first.meets(&skipped) {
            return None;
        }
        Some(Start {
            skipped,
            first,
            texts: texts(parts),
        })
    }

    pub fn admits(&self, text: &[u8]) -> bool {
        let Some(at) = text.iter().position(|byte| !self.skipped.has(*byte)) else {
            return false;
        };
        let text = &text[at..];
        self.first.has(text[0])
            && (self.texts.is_empty()
                || self.texts.iter().any(|literal| {
                    text.get(..literal.text.len())
                        .is_some_and(|begin| literal.equals(begin))
                }))
    }
}

/// Whether it stands for exactly one byte.
fn one_byte(hir: &Hir) -> bool {
    let properties = hir.properties();
    properties.minimum_len() == Some(1) && properties.maximum_len() == Some(1)
}

/// Adds the bytes that a match of the expression may begin with, and tells whether it may be empty.
fn add_first(hir: &Hir, first: &mut Bytes) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => match literal.0.first() {
            Some(byte) => {
                first.add(*byte);
                false
            }
            None => true,
        },
        HirKind::Class(Class::Bytes(class)) => {
            for range in class.ranges() {
                (range.start()..=range.end()).for_each(|byte| first.add(byte));
            }
            false
        }
        HirKind::Class(Class::Unicode(_)) => {
            first.0.fill(true);
            false
        }
        HirKind::Repetition(repetition) => add_first(&repetition.sub, first) | (repetition.min == 0),
        HirKind::Capture(capture) => add_first(&capture.sub, first),
        HirKind::Concat(parts) => parts.iter().all(|part| add_first(part, first)),
        HirKind::Alternation(branches) => branches
            .iter()
            .fold(false, |empty, branch| add_first(branch, first) | empty),
    }
}

/// The texts of which a match of the sequence begins with one; none if they are many, or one of them is empty.
fn texts(parts: &[&Hir]) -> Set {
    let mut texts = vec![Literal::default()];
    for part in parts {
        if let Some(longer) = finite(part).and_then(|ends| product(&texts, &ends)) {
            texts = longer;
            continue;
        }
        if let HirKind::Repetition(repetition) = part.kind()
            && repetition.min > 0
            && let Some(longer) = finite(&repetition.sub).and_then(|ends| product(&texts, &ends))
        {
            texts = longer;
        }
        break;
    }
    if texts.iter().any(|literal| literal.text.is_empty()) {
        return Vec::new();
    }
    normal(texts)
}

#[cfg(test)]
mod tests {
    use super::super::literals::demands;

    #[test]
    fn a_pattern_begins_with_what_stands_behind_its_anchor() {
        let admits = |pattern: &str, text: &str| {
            demands(pattern)
                .and_then(|demands| demands.start)
                .map(|start| start.admits(text.as_bytes()))
        };
        assert_eq!(admits(r"^In \S+ line \d+", "In a line 1"), Some(true));
        assert_eq!(admits(r"^In \S+ line \d+", "> In a line 1"), Some(false));
        assert_eq!(admits(r"^\s*(?:[a-c]\) )?Failure", "\t a) Failure"), Some(true));
        assert_eq!(admits(r"^\s*(?i:fail|error): ", "  ERROR: x"), Some(true));
        assert_eq!(admits(r"^\s*(?i:fail|error): ", "  x ERROR: x"), Some(false));
        assert_eq!(admits(r"^\d+ failures", "x"), Some(false));
        assert_eq!(admits(r"^(?:a )?.*failures", "failures"), None);
        assert_eq!(admits(r"failures", "failures"), None);
    }

    #[test]
    fn what_may_stand_before_it_is_skipped_and_the_first_byte_tells_where_texts_are_many() {
        let admits = |pattern: &str, text: &str| {
            demands(pattern)
                .and_then(|demands| demands.start)
                .map(|start| start.admits(text.as_bytes()))
        };
        assert_eq!(admits(r"^\W*(?:fail|Fail)ure \d", " -- Failure 1"), Some(true));
        assert_eq!(admits(r"^\W*(?:fail|Fail)ure \d", " -- a Failure 1"), Some(false));
        assert_eq!(admits(r"^\W*(?:fail|Fail)ure \d", " -- "), Some(false));
        assert_eq!(
            admits(r"^\W*(?:\d+ )?[a-f]\w+ failures", "== 3 a failures"),
            Some(true)
        );
        assert_eq!(
            admits(r"^\W*(?:\d+ )?[a-f]\w+ failures", "== x failures"),
            Some(false)
        );
        assert_eq!(admits(r"^\W*\[?failures", "[failures"), None);
        assert_eq!(admits(r"^\S+ failures", "x"), Some(false));
        assert_eq!(admits(r"^\S+ failures", "x failures"), Some(true));
        assert_eq!(admits(r"^[a-z]+(?:a|1) failures", "1 failures"), Some(false));
    }
}
