//! Plain text from outside as inline Markdown that says exactly that text and does nothing.
//!
//! A word that some forge would act on (a mention, a reference, a label, a link, a path that reads like a command)
//! becomes a code span, which no forge looks into; everything else is escaped. Text between backticks is a code span.

use super::code::{is_deceptive, span};

/// At most `limit` characters of the text, in one line. A dash where it says nothing, so that no mark around it
/// stands empty.
pub(super) fn inline(text: &str, limit: usize) -> String {
    let shown = escaped(text, limit);
    if shown.is_empty() { "–".to_owned() } else { shown }
}

fn escaped(text: &str, limit: usize) -> String {
    let text: String = text.chars().filter(|c| !is_deceptive(*c)).collect();
    let text = clip(&text.split_whitespace().collect::<Vec<_>>().join(" "), limit);
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text.as_str();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(' ') {
            out.push(' ');
            rest = after;
            continue;
        }
        let mut opening = rest.len() - rest.trim_start_matches(['(', '[', '{', '"', '\'']).len();
        if is_bracketed_reference(rest.split(' ').next().unwrap_or_default()) {
            opening = 0;
        }
        escape_into(&rest[..opening], &mut out);
        rest = &rest[opening..];
        if let Some((code, after)) = quoted(rest) {
            push_span(code, &mut out);
            rest = after;
            continue;
        }
        let end = rest.find(' ').unwrap_or(rest.len());
        word(&rest[..end], &mut out);
        rest = &rest[end..];
    }
    out
}

/// The text cut to `limit` characters, saying so by an ellipsis.
pub(super) fn clip(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => {
            let end = text
                .char_indices()
                .nth(limit.saturating_sub(1))
                .map_or(0, |(at, _)| at);
            format!("{}…", text[..end].trim_end())
        }
    }
}

/// A link whose address can only be that of a page.
pub(super) fn link(shown: &str, address: &str) -> String {
    match page_address(address) {
        Some(address) => format!("[{shown}](<{address}>)"),
        None => shown.to_owned(),
    }
}

/// Web addresses only; what could end the link or hide its aim is percent-encoded.
fn page_address(address: &str) -> Option<String> {
    let scheme = ["https://", "http://"].into_iter().find(|scheme| {
        address
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })?;
    if address.len() > 2000 || address.len() == scheme.len() {
        return None;
    }
    let mut out = String::with_capacity(address.len());
    for byte in address.bytes() {
        if byte.is_ascii_graphic()
            && !matches!(
                byte,
                b'<' | b'>' | b'\\' | b'"' | b'`' | b'{' | b'}' | b'|' | b'^'
            )
        {
            out.push(byte.into());
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // An entity in an address would be decoded.
    Some(out.replace('&', "&amp;"))
}

/// `` `code` `` at the start of the text, ended before white space or punctuation.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('`')?;
    let end = inner.find('`')?;
    let after = &inner[end + 1..];
    let ended = after
        .chars()
        .next()
        .is_none_or(|c| c == ' ' || matches!(c, '.' | ',' | ':' | ';' | ')' | '!' | '?' | '\''));
    (end > 0 && ended && !inner[..end].trim().is_empty()).then(|| (&inner[..end], after))
}

/// Two spans that touch would be neither: their backticks would be one run.
fn push_span(code: &str, out: &mut String) {
    if out.ends_with('`') {
        out.push(' ');
    }
    out.push_str(&span(code));
}

fn word(word: &str, out: &mut String) {
    let core = word.trim_end_matches(['.', ',', ':', ';', ')', '!', '?', '"', '\'']);
    if acts(core) || acts(word) {
        let core = if core.is_empty() { word } else { core };
        push_span(core, out);
        escape_into(&word[core.len()..], out);
    } else {
        escape_into(word, out);
    }
}

/// Whether some forge would do more with the word than show it.
fn acts(word: &str) -> bool {
    let bytes = word.as_bytes();
    let sigil = bytes.windows(2).any(|pair| match pair[0] {
        b'@' | b'#' | b'~' | b'%' | b'$' | b'^' => {
            pair[1].is_ascii_alphanumeric() || pair[1] >= 0x80 || b"\"'{(_[".contains(&pair[1])
        }
        b'!' | b'&' => pair[1].is_ascii_digit(),
        // Marks of inserted and deleted text.
        b'{' | b'[' => matches!(pair[1], b'+' | b'-'),
        b'+' | b'-' => matches!(pair[1], b'}' | b']'),
        _ => false,
    });
    sigil
        || word.contains('`')
        || word.contains("://")
        || word.to_ascii_lowercase().contains("www.")
        || word.to_ascii_lowercase().starts_with("mailto:")
        || word.starts_with('/')
        || is_emoji_code(word)
        || is_commit(word)
        || is_foreign_key(word)
        || is_bracketed_reference(word)
}

/// `:tada:`
fn is_emoji_code(word: &str) -> bool {
    let mut parts = word.split(':');
    parts.next();
    let mut parts: Vec<&str> = parts.collect();
    parts.pop();
    parts.iter().any(|part| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'-'))
    })
}

/// A hash that a forge would link to.
fn is_commit(word: &str) -> bool {
    word.split(['.', '@', '/', '(', ')']).any(|part| {
        (7..=64).contains(&part.len())
            && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            && part.bytes().any(|b| b.is_ascii_digit())
            && part.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

/// `PROJ-17`, wherever in the word: another tracker's ticket.
fn is_foreign_key(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.windows(2).enumerate().any(|(at, pair)| {
        let run = bytes[..at]
            .iter()
            .rev()
            .take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || **b == b'_')
            .count();
        let mut project = bytes[at - run..at].iter().skip_while(|b| !b.is_ascii_uppercase());
        pair[0] == b'-' && pair[1].is_ascii_digit() && project.nth(1).is_some()
    })
}

/// What some forge puts a list or another thing's name in the place of, whatever was escaped: `[[_TOC_]]`,
/// `[vulnerability:7]`, `*iteration:3`.
fn is_bracketed_reference(word: &str) -> bool {
    const KINDS: [&str; 14] = [
        "vulnerability",
        "feature_flag",
        "wiki_page",
        "contact",
        "cadence",
        "work_item",
        "issue",
        "epic",
        "iteration",
        "merge_request",
        "mergerequest",
        "snippet",
        "milestone",
        "commit",
    ];
    let word = word.to_ascii_lowercase();
    word.contains("[[")
        || word.contains("[toc]")
        || word.contains("*iteration:")
        || KINDS.iter().any(|kind| {
            word.split('[')
                .skip(1)
                .any(|inner| inner.starts_with(kind) && inner[kind.len()..].starts_with(':'))
        })
}

fn escape_into(text: &str, out: &mut String) {
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        // Between letters it marks nothing, and `compile_error` is read as plain text too.
        let inside = c == '_'
            && out.ends_with(|before: char| before.is_ascii_alphanumeric())
            && letters.peek().is_some_and(char::is_ascii_alphanumeric);
        if inside {
            out.push(c);
            continue;
        }
        let opens_block = out.is_empty() && matches!(c, '+' | '-' | ':')
            || matches!(c, '.' | ')')
                && !out.is_empty()
                && out.len() <= 9
                && out.bytes().all(|b| b.is_ascii_digit());
        if opens_block
            || matches!(
                c,
                '\\' | '`'
                    | '*'
                    | '_'
                    | '['
                    | ']'
                    | '<'
                    | '>'
                    | '#'
                    | '|'
                    | '~'
                    | '&'
                    | '$'
                    | '@'
                    | '^'
                    | '='
                    | '!'
            )
        {
            out.push('\\');
        }
        out.push(c);
    }
}
