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

/// The column of the first secret in a line.
fn in_line(line: &str) -> Option<usize> {
    let shown = domain::redact(line);
    if shown == line {
        return None;
    }
    // `password: $PASSWORD` names a secret and is none; nor is a dialect's own expression.
    let mark = shown.find("[redacted")?;
    let common = line
        .bytes()
        .zip(shown.bytes())
        .take_while(|(a, b)| a == b)
        .count()
        .min(mark);
    let start = (0..=common).rev().find(|at| line.is_char_boundary(*at))?;
    let hidden = line[start..].trim_start_matches(['"', '\'', ' ']);
    let named =
        hidden.starts_with(['$', '%', '<']) || hidden.starts_with("credentials(") || hidden.starts_with("{{");
    (!named).then(|| line[..start].chars().count() + 1)
}
