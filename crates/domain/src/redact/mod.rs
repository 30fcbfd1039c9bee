//! The one place where secrets are taken out of text: before a note, a log line or a result is written.
//!
//! Three sights: the form of a token ([`patterns.txt`](patterns)), what a name gives away ([`named`]) and the blocks
//! of a private key ([`pem`]); and the secrets that this process itself was configured with, word for word.
//! Time is linear in the text. Redacting twice changes nothing more.

mod json;
mod named;
mod patterns;
mod pem;
mod report;
mod required;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use regex::Regex;
use serde_json::Value;

use patterns::PATTERNS;

/// A literal shorter than this is not looked for: it would tear holes into ordinary words.
pub const SHORTEST_LITERAL: usize = 6;

/// Passes until nothing changes. Taking a secret out can give its neighbour a word boundary, seldom more than once.
const MOST_PASSES: usize = 8;

const LITERAL: &str = "configured secret";

/// Takes secrets out of text and JSON.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    literals: Option<Regex>,
}

/// A place in the text that must not be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    at: Range<usize>,
    kind: &'static str,
}

static PROCESS: LazyLock<RwLock<Arc<Redactor>>> = LazyLock::new(RwLock::default);

/// Marks that stand already; a text cannot hide a secret by dressing it as one, since only known kinds count.
static MARK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let mut kinds: Vec<&str> = PATTERNS
        .kinds()
        .chain(named::KINDS)
        .chain([pem::KIND, LITERAL])
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    Regex::new(&format!(r"\[redacted: (?:{})\]", kinds.join("|"))).ok()
});

/// Replaces every secret in `text` by `[redacted: KIND]`, the process's own secrets ([`Redactor::install`]) included.
pub fn redact(text: &str) -> Cow<'_, str> {
    process().redact(text)
}

/// As [`redact`], for every string of a JSON value, its keys, and for whatever stands under a telling key.
pub fn redact_json(value: &mut Value) {
    process().redact_json(value);
}

fn process() -> Arc<Redactor> {
    PROCESS.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Redactor {
    pub fn new() -> Self {
        Self::default()
    }

    /// Also takes out these very strings, as they are and as they stand in a URL. Those shorter than
    /// [`SHORTEST_LITERAL`] bytes are passed over.
    pub fn with_literals<S: AsRef<str>>(literals: impl IntoIterator<Item = S>) -> Self {
        let mut alternatives: Vec<String> = literals
            .into_iter()
            .map(|literal| literal.as_ref().trim().to_owned())
            .filter(|literal| literal.len() >= SHORTEST_LITERAL)
            .flat_map(|literal| [percent_encoded(&literal), literal])
            .collect();
        // Leftmost-first: of two that start together the longer one has to be tried first.
        alternatives.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        alternatives.dedup();
        let escaped: Vec<String> = alternatives
            .iter()
            .map(|literal| regex::escape(literal))
            .collect();
        let literals = (!escaped.is_empty())
            .then(|| Regex::new(&escaped.join("|")).ok())
            .flatten();
        Self { literals }
    }

    /// Makes this the redactor behind [`redact`] and [`redact_json`] for the whole process. Called at start-up, with
    /// every configured secret.
    pub fn install(self) {
        *PROCESS.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(self);
    }

    pub fn redact<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = Cow::Borrowed(text);
        for _ in 0..MOST_PASSES {
            match self.pass(&out) {
                Some(changed) => out = Cow::Owned(changed),
                None => break,
            }
        }
        out
    }

    pub fn redact_json(&self, value: &mut Value) {
        json::redact(self, value);
    }

    fn pass(&self, text: &str) -> Option<String> {
        let mut found = Vec::new();
        if let Some(literals) = &self.literals {
            found.extend(literals.find_iter(text).map(|m| Found {
                at: m.range(),
                kind: LITERAL,
            }));
        }
        pem::find(text, &mut found);
        PATTERNS.find(text, &mut found);
        named::find(text, &mut found);
        if found.is_empty() {
            return None;
        }
        let found = outside_marks(text, found);
        (!found.is_empty()).then(|| replace(text, &found))
    }
}

/// Cuts what is already marked out of the finds, then sorts and merges those that overlap.
fn outside_marks(text: &str, found: Vec<Found>) -> Vec<Found> {
    let marks: Vec<Range<usize>> = MARK
        .as_ref()
        .map(|mark| mark.find_iter(text).map(|m| m.range()).collect())
        .unwrap_or_default();
    let mut pieces = Vec::with_capacity(found.len());
    for Found { at, kind } in found {
        let mut from = at.start;
        let first = marks.partition_point(|mark| mark.end <= at.start);
        for mark in marks[first..].iter().take_while(|mark| mark.start < at.end) {
            if from < mark.start {
                pieces.push(Found {
                    at: from..mark.start,
                    kind,
                });
            }
            from = from.max(mark.end);
        }
        if from < at.end {
            pieces.push(Found {
                at: from..at.end,
                kind,
            });
        }
    }
    // Stable: of finds that start together the one named first (a literal, a known form) gives the kind.
    pieces.sort_by_key(|piece| piece.at.start);
    let mut merged: Vec<Found> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match merged.last_mut() {
            Some(last) if piece.at.start < last.at.end => {
                // The form of a token tells more than the name it was given to.
                if piece.at.end - piece.at.start + 2 >= last.at.end - last.at.start
                    && named::is_named(last.kind)
                {
                    last.kind = piece.kind;
                }
                last.at.end = last.at.end.max(piece.at.end);
            }
            _ => merged.push(piece),
        }
    }
    merged
}

fn replace(text: &str, found: &[Found]) -> String {
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for Found { at, kind } in found {
        out.push_str(&text[from..at.start]);
        out.push_str("[redacted: ");
        out.push_str(kind);
        out.push(']');
        // A key's block is many lines; excerpts are numbered, so the lines stay.
        out.extend(text[at.clone()].chars().filter(|c| *c == '\n'));
        from = at.end;
    }
    out.push_str(&text[from..]);
    out
}

fn percent_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
