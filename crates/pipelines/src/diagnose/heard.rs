//! Lines that speak of a failure which is none: it was put up with, or somebody's words about one are quoted.

use std::sync::LazyLock;

use regex::Regex;

/// Points that a line loses for what it says of itself, at most zero.
pub(super) fn penalty(text: &str) -> f64 {
    static TOLERATED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r"(?i)\((?:ignored|expected|non-fatal|advisory|optional)\)|\.\.\.ignoring$|\b(?:will (?:be )?retr|retrying|trying (?:again|fallback)|falling back|ignoring (?:error|failure))|^\W*waiting (?:for|until)\b|\battempt \d+ (?:of|/) ?\d+\b|\battempt \d+ failed",
        )
        .ok()
    });
    static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(
            r#"^(?:HEAD is now at [0-9a-f]{6,}|Commit message: "|\s*[-*] (?:\*\*)?(?:feat|fix|test|tests|docs|chore|refactor|perf|build|ci|style|revert)(?:\([^)]{1,40}\))?!?: |\s*\{"(?:level|ts|time|timestamp|@timestamp|severity)"\s*:)"#,
        )
        .ok()
    });
    let says = |words: &LazyLock<Option<Regex>>| words.as_ref().is_some_and(|words| words.is_match(text));
    if says(&QUOTED) {
        -45.0
    } else if says(&TOLERATED) {
        -20.0
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::penalty;

    #[test]
    fn quotes_lose_most_tolerated_failures_some_and_causes_nothing() {
        for quoted in [
            "HEAD is now at 1f2e3d4 fix: segfault",
            "- fix(io): Connection refused was told twice",
            "{\"level\":\"error\",\"msg\":\"x\"}",
        ] {
            assert!(penalty(quoted) < -40.0, "{quoted}");
        }
        for tolerated in [
            "ERROR: no rights (ignored)",
            "waiting for db:5432: Connection refused",
            "read: reset, retrying in 2 s",
            "...ignoring",
        ] {
            assert!((-40.0..0.0).contains(&penalty(tolerated)), "{tolerated}");
        }
        for cause in [
            "error: timed out waiting for the condition",
            "Error: ignored files are not allowed",
            "- fixed width",
        ] {
            assert!(penalty(cause) >= 0.0, "{cause}");
        }
    }
}
