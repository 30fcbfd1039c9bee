//! What a name gives away: `DB_PASSWORD=…`, `"client_secret": "…"`, `--token …`.
//!
//! After a name that promises a password nearly anything is one; after a softer one (`token`, `api key`) the value
//! has to look like a secret too, or every `Unexpected token: …` of a parser would be torn up.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;

use super::Found;
use super::patterns::FOLDED;

pub(super) const PASSWORD: &str = "password";
pub(super) const SECRET: &str = "secret";
pub(super) const TOKEN: &str = "token";
pub(super) const KEY: &str = "key";
pub(super) const KINDS: [&str; 4] = [PASSWORD, SECRET, TOKEN, KEY];

pub(super) fn is_named(kind: &str) -> bool {
    KINDS.contains(&kind)
}

/// A name with a telling stem, and what stands between it and its value.
static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r#"(?i)(?P<name>[a-z0-9_.\-]*(?:passw|passphrase|pwd|pass|secret|token|(?:api|access|secret|private|account|signing|encryption|master|license|auth|shared|service)[ _\-]?key|_key|-key|credential|_auth)[a-z0-9_.\-]*)(?P<close>\\?["'`]?)(?:(?P<sep>[ \t]*(?:=>|:=|=|:)[ \t]*)|(?P<space>[ \t]+))"#,
    )
    .ok()
});

/// Every name holds one of these, without regard to case.
static STEM: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .build(["pass", "pwd", "secret", "token", "key", "credential", "_auth"])
        .ok()
});

/// A value is judged by as many bytes; a longer one goes whole when these say so. Bounds the work for each name.
const JUDGED: usize = 1024;

pub(super) fn find(text: &str, found: &mut Vec<Found>) {
    let Some(regex) = NAME.as_ref() else { return };
    let none = STEM.as_ref().is_some_and(|stem| !stem.is_match(text));
    if none && !text.contains(FOLDED) {
        return;
    }
    let mut from = 0;
    while let Some(captures) = regex.captures_at(text, from) {
        let (Some(whole), Some(name)) = (captures.get(0), captures.name("name")) else {
            break;
        };
        from = whole.end();
        let Some(kind) = telling(name.as_str()) else {
            continue;
        };
        let glue = match captures.name("sep") {
            Some(sep) if sep.as_str().trim().ends_with(':') => Glue::Colon,
            Some(sep) if sep.as_str() == "=" => Glue::Tight,
            Some(_) => Glue::Loose,
            None if name.as_str().starts_with('-') => Glue::Flag,
            None => continue,
        };
        // `https://ci-token:…@host`: the user of an address, whose password has a form of its own.
        if glue == Glue::Colon && text[..name.start()].ends_with("://") {
            continue;
        }
        let named_in_quotes = captures.name("close").is_some_and(|c| !c.is_empty());
        let value = value_of(start_of_line(&text[from..]), named_in_quotes);
        if value.is_secret(kind, glue) {
            let start = from + value.at.start;
            let mut end = from + value.at.end;
            if value.cut {
                let more = &text[end..];
                end += more
                    .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`'))
                    .unwrap_or(more.len());
            }
            found.push(Found { at: start..end, kind });
            from = end;
        }
    }
}

/// The rest of the line, or of it what is judged.
fn start_of_line(rest: &str) -> &str {
    let mut end = JUDGED.min(rest.len());
    while !rest.is_char_boundary(end) {
        end -= 1;
    }
    let rest = &rest[..end];
    rest.split(['\n', '\r']).next().unwrap_or(rest)
}

/// What a name promises, if anything: `DB_PASSWORD`, `clientSecret`, but not `token_count` or `secretName`.
pub(super) fn telling(name: &str) -> Option<&'static str> {
    let words = words(name);
    let mut kind = None;
    for (i, word) in words.iter().enumerate() {
        let before = i.checked_sub(1).and_then(|i| words.get(i)).map(String::as_str);
        let this = match word.as_str() {
            "pass" | "pwd" if before.is_some() => Some(PASSWORD),
            "auth" if before.is_none() && name.starts_with('_') => Some(TOKEN),
            "key" if before.is_some_and(|b| KEY_OWNERS.contains(&b)) => Some(KEY),
            w if ends_with_any(w, &["password", "passwd", "passphrase", "sshpass"]) => Some(PASSWORD),
            // The names of secrets that an image is pulled with.
            "secrets" if before == Some("pull") => None,
            w if ends_with_any(w, &["secret", "secrets"]) => Some(SECRET),
            w if ends_with_any(
                w,
                &["token", "credential", "credentials", "authorization", "cookie"],
            ) =>
            {
                Some(TOKEN)
            }
            w if ends_with_any(
                w,
                &[
                    "apikey",
                    "secretkey",
                    "accesskey",
                    "privatekey",
                    "accountkey",
                    "authkey",
                ],
            ) =>
            {
                Some(KEY)
            }
            _ => None,
        };
        if this.is_some() {
            kind = this;
        } else if kind.is_some() && HARMLESS_ENDS.contains(&word.as_str()) {
            return None;
        }
    }
    kind.filter(|_| {
        !words
            .first()
            .is_some_and(|w| ["max", "min", "num", "total", "public", "no"].contains(&w.as_str()))
    })
}

const KEY_OWNERS: [&str; 24] = [
    "api",
    "access",
    "secret",
    "private",
    "account",
    "signing",
    "encryption",
    "master",
    "license",
    "auth",
    "shared",
    "service",
    "deploy",
    "storage",
    "webhook",
    "app",
    "application",
    "ssh",
    "hmac",
    "admin",
    "session",
    "client",
    "consumer",
    "tls",
];

/// After a telling word these turn the name into one of something about the secret.
const HARMLESS_ENDS: [&str; 43] = [
    "count",
    "length",
    "len",
    "name",
    "names",
    "type",
    "url",
    "uri",
    "path",
    "file",
    "dir",
    "id",
    "ids",
    "size",
    "limit",
    "ttl",
    "expiry",
    "expires",
    "expiration",
    "policy",
    "ref",
    "version",
    "enabled",
    "required",
    "valid",
    "status",
    "error",
    "field",
    "label",
    "prompt",
    "reset",
    "manager",
    "store",
    "provider",
    "endpoint",
    "scope",
    "scopes",
    "usage",
    "index",
    "format",
    "age",
    "missing",
    "stdin",
];

fn ends_with_any(word: &str, ends: &[&str]) -> bool {
    ends.iter().any(|end| word.ends_with(end))
}

/// `dbPassword`, `DB_PASSWORD`, `db-password` → `db`, `password`.
fn words(name: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut lower_before = false;
    for c in name.chars() {
        let new_word = !c.is_ascii_alphanumeric() || (c.is_ascii_uppercase() && lower_before);
        if new_word && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        }
        lower_before = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// What joins name and value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Glue {
    /// `NAME=value`
    Tight,
    /// `name = value`, `name => value`
    Loose,
    /// `name: value`
    Colon,
    /// `--name value`
    Flag,
}

struct Value<'t> {
    text: &'t str,
    at: std::ops::Range<usize>,
    quoted: bool,
    /// Nothing but punctuation follows on the line.
    alone: bool,
    /// It goes on past what is judged.
    cut: bool,
}

/// The value at the start of `line`, in its quotes or up to white space.
fn value_of(line: &str, name_was_quoted: bool) -> Value<'_> {
    for quote in ["\\\"", "\\'", "\"", "'", "`"] {
        if let Some(inner) = line.strip_prefix(quote) {
            let (end, cut) =
                closing(inner, quote).map_or((inner.len(), line.len() >= JUDGED - 3), |end| (end, false));
            let at = quote.len()..quote.len() + end;
            return Value {
                text: &line[at.clone()],
                at,
                quoted: true,
                alone: true,
                cut,
            };
        }
    }
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '`' | '<') && name_was_quoted;
    let run = line.find(ends).unwrap_or(line.len());
    let cut = run == line.len() && run >= JUDGED - 3;
    let run = list_end(&line[..run]);
    let cut = cut && run >= JUDGED - 3;
    let mut text = &line[..run];
    // `[MASKED]` is whole with its bracket.
    if !cut && !is_placeholder(text) {
        text = text.trim_end_matches([',', ';', ')', '}', ']', '"', '\'', '\\']);
    }
    let alone = line[run..]
        .trim_matches([' ', '\t', ',', ';', '"', '\'', ')', '}', ']'])
        .is_empty();
    Value {
        text,
        at: 0..text.len(),
        quoted: false,
        alone,
        cut,
    }
}

fn closing(inner: &str, quote: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(i) = inner[from..].find(quote) {
        let at = from + i;
        if quote.len() > 1 || inner[..at].bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 0 {
            return Some(at);
        }
        from = at + quote.len();
    }
    None
}

/// Where the next `name=` or `name:` of a list begins: `a;Database=x`, `a&b=c`, `a,user:x`. A secret may hold the
/// separators themselves, so they end it only there.
fn list_end(run: &str) -> usize {
    for (i, c) in run.char_indices() {
        if matches!(c, ';' | '&' | ',') {
            let next = &run[i + 1..];
            let name = next.len()
                - next
                    .trim_start_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
                    .len();
            if name > 0 && name <= 40 && next[name..].starts_with(['=', ':']) {
                return i;
            }
        }
    }
    run.len()
}

impl Value<'_> {
    fn is_secret(&self, kind: &str, glue: Glue) -> bool {
        if is_placeholder(self.text) || is_code(self.text) {
            return false;
        }
        let strong = kind == PASSWORD || kind == SECRET;
        let looks = looks_secret(self.text);
        match (glue, strong) {
            _ if self.quoted && !self.text.contains(char::is_whitespace) => {
                strong || looks || self.text.len() >= 12 && glue != Glue::Colon
            }
            _ if self.quoted => strong && glue != Glue::Colon,
            (Glue::Tight, true) => true,
            (Glue::Tight, false) => looks || self.text.len() >= 16,
            (Glue::Flag, true) => looks || !is_prose(self.text),
            (Glue::Loose | Glue::Colon, true) => {
                looks || self.alone && self.text.len() >= 4 && !is_prose(self.text)
            }
            (Glue::Flag | Glue::Loose | Glue::Colon, false) => looks,
        }
    }
}

/// Stands where a secret would: a variable, a mask, a blank to fill in.
pub(super) fn is_placeholder(value: &str) -> bool {
    let value = value.trim();
    let reference = value
        .strip_prefix('$')
        .is_some_and(|v| v.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '{' | '(' | '_')))
        || value
            .strip_prefix('%')
            .is_some_and(|v| v.len() > 1 && v.ends_with('%'));
    let enclosed = [("<", ">"), ("{{", "}}"), ("${", "}"), ("[", "]"), ("(", ")")]
        .iter()
        .any(|(open, close)| value.starts_with(open) && (value.ends_with(close) || *open == "{{"));
    value.is_empty()
        || reference
        || enclosed
        || value.starts_with("[redacted: ")
        || value
            .bytes()
            .all(|b| matches!(b, b'*' | b'.' | b'-' | b'_' | b'x' | b'X' | b'#' | b'?'))
        || value.chars().all(|c| matches!(c, '•' | '…' | '*'))
        || [
            "null",
            "none",
            "nil",
            "undefined",
            "true",
            "false",
            "yes",
            "no",
            "masked",
            "redacted",
            "filtered",
            "{",
            "[",
        ]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word))
}

/// An expression that yields the secret at run time, or a path to it.
fn is_code(value: &str) -> bool {
    let path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-' | '~');
    let call = value
        .find('(')
        .is_some_and(|i| i > 0 && value[..i].chars().all(|c| path(c) || c == ':'));
    let dotted = value.contains('.')
        && value.split('.').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_')
        });
    let file = (value.starts_with('/') || value.starts_with("./") || value.starts_with("~/"))
        && value.chars().all(path)
        && value.split('/').all(|part| part.len() <= 24);
    call || dotted || file
}

/// Letters with digits or signs between them, long enough to be nobody's word.
fn looks_secret(value: &str) -> bool {
    let letters = value.bytes().any(|b| b.is_ascii_alphabetic());
    let digits = value.bytes().any(|b| b.is_ascii_digit());
    let signs = value.bytes().any(|b| {
        matches!(
            b,
            b'!' | b'#' | b'$' | b'%' | b'^' | b'&' | b'*' | b'+' | b'@' | b'~'
        )
    });
    let shifted = value.bytes().skip(1).any(|b| b.is_ascii_uppercase())
        && value.bytes().any(|b| b.is_ascii_lowercase());
    let url = value.contains("://");
    value.len() >= 8 && !url && letters && (digits || signs || shifted && value.len() >= 20)
}

fn is_prose(value: &str) -> bool {
    const WORDS: [&str; 38] = [
        "is",
        "was",
        "are",
        "required",
        "option",
        "flag",
        "must",
        "and",
        "or",
        "not",
        "with",
        "for",
        "to",
        "in",
        "on",
        "has",
        "cannot",
        "needs",
        "expects",
        "instead",
        "from",
        "argument",
        "missing",
        "invalid",
        "incorrect",
        "parameter",
        "value",
        "empty",
        "expired",
        "wrong",
        "authentication",
        "failed",
        "error",
        "denied",
        "string",
        "password",
        "set",
        "unset",
    ];
    let word = value.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    value.starts_with('-') || word.is_empty() || WORDS.iter().any(|w| word.eq_ignore_ascii_case(w))
}
