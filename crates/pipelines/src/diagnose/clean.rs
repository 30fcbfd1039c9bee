//! Log decoration: escape sequences, timestamps, error prefixes and section marks.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::escapes;

/// Columns of a runner's export ("job TAB step TAB"), then timestamps of the usual forms, then the stream mark
/// that some runners put behind their timestamp, or the severity and the name of the step.
static TIME_PREFIX: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex::bytes::RegexBuilder::new(
        r"^(?:\xEF\xBB\xBF)?(?:[^\t]{1,120}\t[^\t]{1,120}\t(?:\xEF\xBB\xBF)?)?(?:(?:simple|build|error|command)\t\d\d-\w{3}-\d{4} \d\d:\d\d:\d\d\t|\[\d\d:\d\d:\d\d\][ A-Za-z]?:[ \t]+(?:\[[^\]]{1,40}\][ \t])?|\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?(?: \d\d[OE][+ ]?|[ \t]|$)|\[\d\d:\d\d:\d\d(?:[.,]\d+)?Z?\][ \t]?|\d\d:\d\d:\d\d(?:[.,]\d+)?[ \t]{1,2})+",
    )
    .unicode(false)
    .build()
    .ok()
});

/// The line as text if nothing is to be taken from it: most lines are so.
pub fn plain(raw: &[u8]) -> Option<&str> {
    if has_controls(raw) {
        return None;
    }
    std::str::from_utf8(raw).ok()
}

fn has_controls(raw: &[u8]) -> bool {
    // Without a branch for each byte, so that many are looked at together.
    raw.iter().fold(false, |any, byte| {
        any | ((*byte < 0x20) & (*byte != b'\t')) | (*byte == 0x7f)
    })
}

/// Removes terminal escape sequences and control characters; invalid UTF-8 becomes the replacement character.
pub fn strip_escapes(raw: &[u8], out: &mut String) {
    // The text's own memory takes the bytes, which mostly are text then.
    let mut bytes = std::mem::take(out).into_bytes();
    bytes.clear();
    let mut rest = raw;
    while let Some(at) = memchr::memchr(0x1b, rest) {
        bytes.extend_from_slice(&rest[..at]);
        rest = &rest[at + escapes::length(&rest[at..])..];
    }
    bytes.extend_from_slice(rest);
    if !has_controls(&bytes) {
        match String::from_utf8(bytes) {
            Ok(text) => *out = text,
            Err(error) => out.push_str(&String::from_utf8_lossy(error.as_bytes())),
        }
        return;
    }
    for chunk in bytes.utf8_chunks() {
        if has_controls(chunk.valid().as_bytes()) {
            out.extend(chunk.valid().chars().filter(|ch| *ch == '\t' || !ch.is_control()));
        } else {
            out.push_str(chunk.valid());
        }
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

/// The text behind its timestamps.
pub fn skip_time(text: &str) -> &str {
    let bytes = text.as_bytes();
    let digits = bytes.strip_prefix(b"[").unwrap_or(bytes);
    let starts_with_time =
        matches!(digits, [tens, ones, ..] if tens.is_ascii_digit() && ones.is_ascii_digit());
    if !starts_with_time && !text.starts_with('\u{feff}') && memchr::memchr(b'\t', bytes).is_none() {
        return text;
    }
    // The usual form by hand: it stands on every line of many logs.
    if bytes.len() > 20
        && (bytes[4], bytes[7], bytes[10], bytes[13]) == (b'-', b'-', b'T', b':')
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && let Some(space) = memchr::memchr(b' ', &bytes[..bytes.len().min(36)])
        && bytes[space - 1] == b'Z'
        && !bytes
            .get(space + 1)
            .is_some_and(|next| next.is_ascii_digit() || *next == b'[')
    {
        return &text[space + 1..];
    }
    match TIME_PREFIX
        .as_ref()
        .and_then(|prefix| prefix.find(text.as_bytes()))
    {
        Some(found) => text.get(found.end()..).unwrap_or(text),
        None => text,
    }
}

/// The text behind the name that a composition of containers puts before each line of a service's output
/// ("web-1  | "), and behind that of a step in a container or a container build ("Step #1: ", "#11 4.2 ").
pub fn skip_container(text: &str) -> &str {
    static NAME: LazyLock<Option<Regex>> = LazyLock::new(|| {
        regex::bytes::RegexBuilder::new(
            r"^(?:[A-Za-z][\w.-]{0,60}[-_]\d{1,3} *\| |#\d{1,4} \d{1,5}\.\d{1,3} |Step #\d{1,3}(?: - \x22[^\x22]{1,60}\x22)?: )",
        )
        .unicode(false)
        .build()
        .ok()
    });
    if !text.starts_with('#')
        && !text.starts_with("Step #")
        && !text.as_bytes()[..text.len().min(70)].contains(&b'|')
    {
        return text;
    }
    match NAME.as_ref().and_then(|name| name.find(text.as_bytes())) {
        Some(found) => text.get(found.end()..).map_or(text, skip_time),
        None => text,
    }
}

/// Text cut to `max` bytes at a character's edge, with a mark where it was cut.
pub fn clip(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(raw: &[u8]) -> String {
        let mut out = String::new();
        strip_escapes(raw, &mut out);
        skip_time(&out).to_owned()
    }

    #[test]
    fn colours_titles_and_broken_sequences_go() {
        assert_eq!(stripped(b"\x1b[1m\x1b[31merror:\x1b[0m no"), "error: no");
        assert_eq!(stripped(b"\x1b_bk;t=1690000000000\x07make"), "make");
        assert_eq!(stripped(b"a\x1b]0;title\x1b\\b"), "ab");
        assert_eq!(stripped(b"cut\x1b["), "cut");
        assert_eq!(stripped(b"cut\x1b"), "cut");
        assert_eq!(stripped(b"nul\0s and \xff"), "nuls and \u{fffd}");
    }

    #[test]
    fn timestamps_go_and_indentation_stays() {
        assert_eq!(
            stripped(b"2022-06-04T16:07:52.3106700Z   File \"a.py\""),
            "  File \"a.py\""
        );
        assert_eq!(stripped(b"[2024-01-02T03:04:05.123Z] + make"), "+ make");
        assert_eq!(stripped(b"2024-01-02T03:04:05.123456Z 01E error"), "error");
        assert_eq!(stripped(b"12:34:56 Running"), "Running");
        assert_eq!(stripped(b"12:34:56  Finished: FAILURE"), "Finished: FAILURE");
        assert_eq!(
            stripped(b"build\tRun make\t2024-01-02T03:04:05.1234567Z cc -c"),
            "cc -c"
        );
        assert_eq!(stripped(b"[1/3] Compiling"), "[1/3] Compiling");
        assert_eq!(stripped(b"[10:12:31]W:\t [Step 2/3] warning: x"), "warning: x");
        assert_eq!(stripped(b"[10:12:31] :\t [Step 2/3] FAILED"), "FAILED");
        assert_eq!(stripped(b"[10:12:31]: Exit status: 65"), "Exit status: 65");
        assert_eq!(
            stripped(b"build\t27-Jan-2024 13:56:02\tno such file"),
            "no such file"
        );
    }

    #[test]
    fn the_names_of_containers_go_and_tables_stay() {
        assert_eq!(skip_container("web-1  | FAILED a.py::b"), "FAILED a.py::b");
        assert_eq!(skip_container("db_1 | 2024-05-14T09:12:33.1Z LOG: up"), "LOG: up");
        assert_eq!(skip_container("#11 44.03 npm error code X"), "npm error code X");
        assert_eq!(skip_container("Step #1 - \"test\": FAIL x"), "FAIL x");
        assert_eq!(skip_container("Step #0: ERROR"), "ERROR");
        for table in [
            "Login logs in | FAIL |",
            "Login | FAIL |",
            "  12 | ERROR | x",
            "#11 [2/3] RUN",
        ] {
            assert_eq!(skip_container(table), table);
        }
    }

    #[test]
    fn a_plain_line_is_what_stripping_leaves() {
        for line in ["a", "\ta é", ""] {
            assert_eq!(plain(line.as_bytes()), Some(line));
        }
        for line in [&b"a\r"[..], b"\x1b[1m", b"\xff", b"a\x7f", b"\0"] {
            assert_eq!(plain(line), None);
        }
    }

    #[test]
    fn clipping_never_splits_a_character() {
        assert_eq!(clip("aéé", 2), "a…");
    }
}
