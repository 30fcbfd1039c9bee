use std::sync::LazyLock;

use regex::Regex;

use super::Found;

pub(super) const KIND: &str = "private key";

/// A private key's block is at most this long in bytes, prefixes of log lines included.
const LONGEST: usize = 32 * 1024;

/// A line of a block is at most this long in bytes, prefix included.
const LONGEST_LINE: usize = 256;

/// As many lines of nothing but base64 of one width are taken for the middle of a key whose ends were cut off.
const MIDDLE_LINES: usize = 3;

static BEGIN: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----").ok());
static END: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----").ok());

/// Whole blocks, blocks whose end or beginning was cut off, and what lies between two cuts.
pub(super) fn find(text: &str, found: &mut Vec<Found>) {
    let (Some(begin), Some(end)) = (BEGIN.as_ref(), END.as_ref()) else {
        return;
    };
    let mut covered = 0;
    let ends: Vec<_> = end.find_iter(text).map(|m| m.range()).collect();
    let mut next_end = 0;
    for start in begin.find_iter(text).map(|m| m.range()) {
        while ends.get(next_end).is_some_and(|end| end.start < start.end) {
            next_end += 1;
        }
        if start.start < covered {
            continue;
        }
        covered = match ends.get(next_end) {
            Some(end) if end.end - start.start <= LONGEST => end.end,
            _ => start.end + body_after(within(&text[start.end..])),
        };
        found.push(Found {
            at: start.start..covered,
            kind: KIND,
        });
    }
    let mut floor = 0;
    for end in &ends {
        if !found
            .iter()
            .rev()
            .any(|f| f.kind == KIND && f.at.contains(&end.start))
        {
            let from = floor + body_before(&text[floor..end.start]);
            found.push(Found {
                at: from..end.end,
                kind: KIND,
            });
        }
        floor = end.end;
    }
    middles(text, found);
}

/// How many bytes after the first line still belong to a block without an end.
fn body_after(rest: &str) -> usize {
    // Escaped line breaks: the block is one long line.
    let mut taken = rest.len() - rest.trim_start_matches(is_body_char).len();
    if !rest[..taken].contains("\\n") {
        taken = 0;
    }
    let mut full_seen = taken > 0;
    for line in rest[taken..].split_inclusive('\n') {
        let inside = match line_kind(line) {
            Line::Full => {
                full_seen = true;
                true
            }
            Line::Header | Line::Blank => !full_seen,
            // The last line of a key is shorter than the others.
            Line::Short => full_seen,
            Line::Other => false,
        };
        if !inside {
            break;
        }
        taken += line.len();
        if matches!(line_kind(line), Line::Short) {
            break;
        }
    }
    rest[..taken].trim_end().len()
}

/// As much of the text as one block can hold.
fn within(text: &str) -> &str {
    let mut end = LONGEST.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn is_body_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\\')
}

/// Where, before an end without a beginning, the block's lines start.
fn body_before(before: &str) -> usize {
    let mut from = before.len();
    let escaped = before.len() - before.trim_end_matches(is_body_char).len();
    if before[before.len() - escaped..].contains("\\n") {
        return before.len() - escaped;
    }
    let mut last = true;
    for line in before.split_inclusive('\n').rev() {
        match line_kind(line) {
            Line::Full => {}
            Line::Short | Line::Blank if last => {}
            _ => break,
        }
        last = last && !matches!(line_kind(line), Line::Full);
        from -= line.len();
    }
    from
}

enum Line {
    Full,
    Short,
    Header,
    Blank,
    Other,
}

/// A log may put a time or a quote sign before each line, so the last word counts.
fn line_kind(line: &str) -> Line {
    if line.len() > LONGEST_LINE {
        return Line::Other;
    }
    let line = line.trim();
    if line.is_empty() {
        return Line::Blank;
    }
    if line.starts_with("Proc-Type:") || line.starts_with("DEK-Info:") || line.starts_with("Version:") {
        return Line::Header;
    }
    let word = line.rsplit([' ', '\t', '|', '>']).next().unwrap_or(line);
    let word = word.trim_matches(['"', '\'', ',', '\\']).trim_end_matches("\\n");
    if !word.bytes().all(is_base64) || word.is_empty() {
        return Line::Other;
    }
    match word.len() {
        40.. => Line::Full,
        _ if word.len() == line.len() || word.ends_with('=') => Line::Short,
        _ => Line::Other,
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

fn middles(text: &str, found: &mut Vec<Found>) {
    let mut run: Option<(usize, usize, usize)> = None;
    let mut public = false;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let word = line.trim();
        if word.starts_with("-----BEGIN ") {
            public = !word.contains("PRIVATE");
        } else if word.starts_with("-----END ") {
            public = false;
        }
        let full =
            !public && matches!(word.len(), 64 | 70 | 76) && word.bytes().all(is_base64) && mixed(word);
        run = match run {
            Some((from, width, lines)) if full && width == word.len() => Some((from, width, lines + 1)),
            other => {
                close_run(text, other, at, found);
                full.then_some((at, word.len(), 1))
            }
        };
        at += line.len();
    }
    close_run(text, run, at, found);
}

fn close_run(text: &str, run: Option<(usize, usize, usize)>, to: usize, found: &mut Vec<Found>) {
    if let Some((from, _, lines)) = run
        && lines >= MIDDLE_LINES
    {
        let to = from + text[from..to].trim_end().len();
        found.push(Found {
            at: from..to,
            kind: KIND,
        });
    }
}

/// Key material has upper and lower case and digits; a ruler or a digest does not.
fn mixed(word: &str) -> bool {
    word.bytes().any(|b| b.is_ascii_uppercase())
        && word.bytes().any(|b| b.is_ascii_lowercase())
        && word.bytes().any(|b| b.is_ascii_digit())
}
