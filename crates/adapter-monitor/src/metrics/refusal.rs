//! What a refusal means for the one who asked.

use std::time::Duration;

use domain::{Error, ErrorKind};
use http::{HeaderMap, StatusCode, header};

/// What the store answered instead of data.
pub(super) struct Refusal {
    pub status: StatusCode,
    /// `errorType` and `error`, when it was the store itself that answered.
    pub kind: Option<String>,
    pub message: String,
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// `what`: "could not read `QUERY` from the metrics store `NAME` (HOST)"
    pub fn explain(&self, what: String, store: &str) -> Error {
        let kind = self.kind();
        let because = match (&self.kind, self.message.is_empty()) {
            (Some(kind), _) => format!("{kind}: {}", self.message),
            (None, false) => format!("the answer was {}: {}", self.status, self.message),
            (None, true) => format!("the answer was {}", self.status),
        };
        let mut error = Error::new(kind, what).because(&std::io::Error::other(because));
        error.next = self.next(kind, store);
        error.retry_after_ms = self
            .retry_after
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        error
    }

    fn kind(&self) -> ErrorKind {
        match (self.status.as_u16(), self.kind.as_deref()) {
            (401 | 403 | 407, _) => ErrorKind::Denied,
            (429, _) => ErrorKind::RateLimited,
            // Of the store's own words for it these two blame the question; it would be refused again.
            (_, Some("bad_data" | "execution")) => ErrorKind::Invalid,
            (_, Some("timeout" | "canceled" | "internal" | "unavailable")) => ErrorKind::Unavailable,
            (408 | 425 | 500..=599, _) => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        }
    }

    fn next(&self, kind: ErrorKind, store: &str) -> Option<String> {
        Some(match (kind, self.kind.as_deref()) {
            (ErrorKind::Denied, _) => {
                format!("Set a token or password that may query to the metrics store `{store}`")
            }
            (ErrorKind::Invalid, Some("bad_data")) if self.message.contains("maximum resolution") => {
                "Judge a shorter time or in longer steps".to_owned()
            }
            (ErrorKind::Invalid, Some("bad_data")) => "Correct the query".to_owned(),
            (ErrorKind::Invalid, Some("execution")) => {
                "Correct the query, or make it read less (a recording rule)".to_owned()
            }
            (ErrorKind::Invalid, _) => {
                format!("Is the `url` of the metrics store `{store}` what stands before /api/v1?")
            }
            (_, Some("timeout")) => {
                format!("Make the query cheaper (a recording rule), or raise `timeout` of `{store}`")
            }
            _ => return None,
        })
    }
}

/// `Retry-After` in seconds. A date would need a clock that we do not trust here.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_the_store_and_the_credentials_are_told_apart() {
        use ErrorKind::{Denied, Invalid, RateLimited, Unavailable};
        for (status, kind, expected) in [
            (400, Some("bad_data"), Invalid),
            (422, Some("execution"), Invalid),
            (503, Some("timeout"), Unavailable),
            (503, Some("canceled"), Unavailable),
            (500, Some("internal"), Unavailable),
            // Words of other makers: the status decides.
            (500, Some("server_error"), Unavailable),
            (422, Some("422"), Invalid),
            (401, None, Denied),
            (403, Some("forbidden"), Denied),
            (404, None, Invalid),
            (429, Some("too_many_requests"), RateLimited),
            (502, None, Unavailable),
        ] {
            let refusal = Refusal {
                status: StatusCode::from_u16(status).expect("a status"),
                kind: kind.map(str::to_owned),
                message: "why".to_owned(),
                retry_after: None,
            };
            assert_eq!(
                refusal.explain(String::new(), "main").kind,
                expected,
                "{status} {kind:?}"
            );
        }
    }
}
