//! What a refusal says: in its body, and in its headers about waiting.

use std::time::Duration;

use chrono::DateTime;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// Most of a refusal's body that is read.
const MOST_READ: usize = 64 << 10;
/// Most of its message that people are shown, in characters.
const MOST_SHOWN: usize = 300;
/// What to wait when GitHub refuses by its secondary limit and names no time (its documentation: at least a minute).
const SECONDARY_WAIT: Duration = Duration::from_secs(60);

pub(crate) async fn start_of(mut response: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > MOST_READ {
            break;
        }
    }
    body
}

/// The forge's own words, as one line. Web pages, which proxies answer, say nothing.
pub(crate) fn message(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => words(&value),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    if text.trim_start().starts_with('<') {
        return String::new();
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = line.trim_end_matches('.').to_owned();
    match line.char_indices().nth(MOST_SHOWN) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let known = ["message", "error", "error_description", "errors"];
            let said: Vec<String> = known
                .iter()
                .filter_map(|name| fields.get(*name))
                .map(words)
                .filter(|text| !text.is_empty())
                .collect();
            if said.is_empty() {
                let pairs = fields
                    .iter()
                    .map(|(name, value)| format!("{name} {}", words(value)));
                return pairs.collect::<Vec<_>>().join("; ");
            }
            said.join(": ")
        }
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Whether it is about our pace. GitHub answers 403 for that as well.
pub(crate) fn is_rate_limit(status: StatusCode, headers: &HeaderMap, message: &str) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::FORBIDDEN
            && (headers.contains_key("retry-after")
                || text(headers, "x-ratelimit-remaining") == Some("0")
                || message.contains("secondary rate limit"))
}

/// Longest wait that is believed: every limit of these forges is counted anew at least each hour.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// Shortest: who is refused and told to come back at once would only be refused again.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// How long to wait, within reason: `Retry-After` in seconds or as a date, else until the limit is reset, else nothing is known.
/// Dates are compared with the answer's own `Date`, so that our clock does not matter.
pub(crate) fn wait(headers: &HeaderMap) -> Option<Duration> {
    asked(headers).map(|wait| wait.clamp(SHORTEST_WAIT, LONGEST_WAIT))
}

fn asked(headers: &HeaderMap) -> Option<Duration> {
    let now = text(headers, "date").and_then(|date| DateTime::parse_from_rfc2822(date).ok());
    let until = |moment: i64| {
        let seconds = moment - now?.timestamp();
        Some(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    if let Some(asked) = text(headers, "retry-after") {
        let seconds = asked.trim().parse().ok().map(Duration::from_secs);
        return seconds.or_else(|| until(DateTime::parse_from_rfc2822(asked).ok()?.timestamp()));
    }
    let spent = ["x-ratelimit-remaining", "ratelimit-remaining"]
        .iter()
        .any(|name| text(headers, name) == Some("0"));
    let reset = text(headers, "x-ratelimit-reset").or_else(|| text(headers, "ratelimit-reset"));
    match reset.and_then(|reset| reset.parse().ok()) {
        Some(reset) if spent => until(reset),
        _ => headers
            .contains_key("x-github-request-id")
            .then_some(SECONDARY_WAIT),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_of_refusal_becomes_one_line() {
        for (body, line) in [
            (r#"{"message":"404 Project Not Found"}"#, "404 Project Not Found"),
            (
                r#"{"error":"insufficient_scope","error_description":"needs more","scope":"api"}"#,
                "insufficient_scope: needs more",
            ),
            (
                r#"{"message":{"title":["can't be blank"],"labels":["a","b"]}}"#,
                "labels a, b; title can't be blank",
            ),
            (
                r#"{"message":"Validation Failed","errors":[{"code":"custom","message":"body is too long"}]}"#,
                "Validation Failed: body is too long",
            ),
            ("<html><h1>502</h1></html>", ""),
            ("Retry later\n", "Retry later"),
            ("", ""),
        ] {
            assert_eq!(message(body.as_bytes()), line);
        }
        let long = "x".repeat(1000);
        assert_eq!(message(long.as_bytes()).chars().count(), MOST_SHOWN + 1);
    }

    #[test]
    fn the_wait_is_read_from_whichever_header_names_it() {
        let headers = |pairs: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, value.parse().expect("a header value"));
            }
            headers
        };
        let date = ("date", "Thu, 01 Jan 2026 00:00:00 GMT");
        let seconds = |pairs: &[(&'static str, &str)]| wait(&headers(pairs)).map(|wait| wait.as_secs());
        assert_eq!(seconds(&[("retry-after", "17")]), Some(17));
        assert_eq!(
            seconds(&[date, ("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT")]),
            Some(60)
        );
        let reset = ("x-ratelimit-reset", "1767225690");
        assert_eq!(seconds(&[date, ("x-ratelimit-remaining", "0"), reset]), Some(90));
        // Not spent: the reset says nothing about this refusal.
        assert_eq!(seconds(&[date, ("x-ratelimit-remaining", "10"), reset]), None);
        assert_eq!(seconds(&[("x-github-request-id", "A:B")]), Some(60));
        assert_eq!(seconds(&[]), None);
        // Absurd ones: for years, for no time, a date that is over, and what is neither number nor date.
        for years in ["999999999", "18446744073709551615"] {
            assert_eq!(seconds(&[("retry-after", years)]), Some(3600), "{years}");
        }
        assert_eq!(seconds(&[("retry-after", "0")]), Some(1));
        let over = ("retry-after", "Wed, 31 Dec 2025 23:00:00 GMT");
        assert_eq!(seconds(&[date, over]), Some(1));
        for neither in ["soon", "-5", "99999999999999999999999", ""] {
            assert_eq!(seconds(&[date, ("retry-after", neither)]), None, "{neither}");
        }
    }
}
