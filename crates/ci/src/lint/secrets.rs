//! Secrets that stand in the file itself, by the same patterns that keep them out of tickets and logs.

use super::Finding;
use crate::yaml::Place;

pub(super) fn find(text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if let Some(column) = in_line(line) {
            let at = Place {
                line: number + 1,
                column,
            };
            found.push(Finding::error(
                "secret-in-file",
                at,
                "what looks like a secret stands in the file, and in its history",
                "Revoke it, make a new one, and keep that among the system's secret variables",
            ));
        }
    }
    found
}

/// How each dialect and the shell begin and end a secret's name. A name is none itself.
const NAMED: [(&str, &str); 7] = [
    ("${{", "}}"),
    ("${", "}"),
    ("$(", ")"),
    ("{{", "}}"),
    ("credentials(", ")"),
    ("<", ">"),
    ("%", "%"),
];

/// What may stand between `Authorization:` and the secret.
const SCHEMES: [&str; 4] = ["bearer ", "basic ", "token ", "digest "];

/// The column of the first secret in a line.
fn in_line(line: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let start = from + hidden(&line[from..])?;
        let mut value = line[start..].trim_start_matches(['"', '\'', ' ']);
        for scheme in SCHEMES {
            if let Some((word, rest)) = value.split_at_checked(scheme.len())
                && word.eq_ignore_ascii_case(scheme)
            {
                value = rest.trim_start();
            }
        }
        match name(value) {
            Some(length) => from = line.len() - value.len() + length,
            None => return Some(line[..start].chars().count() + 1),
        }
    }
}

/// Where the first thing begins that is kept out of logs.
fn hidden(text: &str) -> Option<usize> {
    let shown = domain::redact(text);
    if shown == text {
        return None;
    }
    let mark = shown.find("[redacted")?;
    let common = text
        .bytes()
        .zip(shown.bytes())
        .take_while(|(a, b)| a == b)
        .count()
        .min(mark);
    (0..=common).rev().find(|at| text.is_char_boundary(*at))
}

/// How long the name is that stands at the beginning, where there is one.
fn name(text: &str) -> Option<usize> {
    for (open, close) in NAMED {
        if let Some(rest) = text.strip_prefix(open) {
            let end = rest.find(close).map(|at| open.len() + at + close.len());
            return Some(end.unwrap_or(text.len()));
        }
    }
    let rest = text.strip_prefix('$')?;
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    Some(1 + rest.find(|c| !word(c)).unwrap_or(rest.len()))
}
