//! What a refusal of the API server, or a broken connection to it, means for the one who asked.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use domain::{Error, ErrorKind};
use http::{HeaderMap, StatusCode, header};
use hyper_util::client::legacy::Error as HttpError;
use serde_json::Value;

/// What the API server, or something before it, answered instead of what was asked for.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    message: String,
    retry_after: Option<Duration>,
}

impl Refusal {
    /// Its own words are a `Status` object; what stands before it answers with anything.
    pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        const LONGEST: usize = 600;
        let told: Value = serde_json::from_slice(body).unwrap_or_default();
        let message = match told["message"].as_str() {
            Some(message) => message.to_owned(),
            None => String::from_utf8_lossy(body).trim().to_owned(),
        };
        let in_header = headers.get(header::RETRY_AFTER);
        let in_header = in_header.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let seconds: Option<u64> = told["details"]["retryAfterSeconds"].as_u64().or(in_header);
        Self {
            status,
            message: message.chars().take(LONGEST).collect(),
            retry_after: seconds.map(Duration::from_secs),
        }
    }

    /// `doing`: "change the Deployment shop/checkout".
    pub(crate) fn explain(&self, doing: &str, is_write: bool) -> Error {
        let kind = self.kind(is_write);
        let said = match self.message.is_empty() {
            true => format!("the answer was {}", self.status),
            false => self.message.clone(),
        };
        let mut error = Error::new(kind, format!("could not {doing}")).because(&io::Error::other(said));
        error.next = self.next(kind).map(str::to_owned);
        error.retry_after_ms = self
            .retry_after
            .map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        error
    }

    fn kind(&self, is_write: bool) -> ErrorKind {
        match self.status.as_u16() {
            401 | 403 | 407 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            409 => ErrorKind::Conflict,
            429 => ErrorKind::RateLimited,
            408 | 503 => ErrorKind::Unavailable,
            // It may have been done before the answer got lost: etcd that does not answer in time comes as a 500.
            500..=599 if is_write => ErrorKind::Timeout,
            500..=599 => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        }
    }

    fn next(&self, kind: ErrorKind) -> Option<&'static str> {
        if self.message.contains("admission webhook") {
            return Some("Ask who keeps that admission policy of the cluster");
        }
        match (kind, self.status.as_u16()) {
            (_, 401) => Some("Give the target credentials that the cluster takes"),
            (_, 403) if self.message.contains("exceeded quota") => Some("Make room in the namespace's quota"),
            (ErrorKind::Denied, _) => {
                Some("Grant it: docs/kubernetes.md shows the Role that longshore needs")
            }
            (ErrorKind::Timeout, _) => Some("Look whether it was done; it is looked at again before a retry"),
            _ => None,
        }
    }
}

/// No answer, or only a part of one.
pub(crate) fn broken(doing: &str, is_write: bool, error: &(dyn StdError + 'static)) -> Error {
    let kind = match is_write && !never_connected(error) {
        true => ErrorKind::Timeout,
        false => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("could not {doing}")).because(&io::Error::other(words(error)))
}

/// Whether not a byte of the request can have got there.
fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    chain(error).any(|error| {
        error
            .downcast_ref::<HttpError>()
            .is_some_and(HttpError::is_connect)
    })
}

/// In a few words and without an address: `connection refused`.
fn words(error: &(dyn StdError + 'static)) -> String {
    let never_connected = never_connected(error);
    let known = chain(error).find_map(|error| {
        let words = match error.downcast_ref::<io::Error>()?.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused",
            io::ErrorKind::ConnectionReset => "connection reset",
            io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                "connection closed"
            }
            io::ErrorKind::HostUnreachable => "host unreachable",
            io::ErrorKind::NetworkUnreachable => "network unreachable",
            io::ErrorKind::TimedOut if never_connected => "no connection in time",
            io::ErrorKind::TimedOut => "no answer in time",
            _ => return None,
        };
        Some(words.to_owned())
    });
    let innermost = || chain(error).last().map(ToString::to_string);
    known.or_else(innermost).unwrap_or_default()
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn StdError + 'static)| {
        let error: &'a (dyn StdError + 'static) = *error;
        // `source` leaves out the error that an `io::Error` holds.
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(held) => Some(held),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str) -> Refusal {
        let status = StatusCode::from_u16(status).expect("a status");
        Refusal::read(status, &HeaderMap::new(), body.as_bytes())
    }

    #[test]
    fn each_refusal_has_its_kind_and_a_cut_write_is_in_doubt() {
        use ErrorKind::{Conflict, Denied, Invalid, NotFound, RateLimited, Timeout, Unavailable};
        for (status, write, read) in [
            (400, Invalid, Invalid),
            (401, Denied, Denied),
            (403, Denied, Denied),
            (404, NotFound, NotFound),
            (409, Conflict, Conflict),
            (422, Invalid, Invalid),
            (429, RateLimited, RateLimited),
            (500, Timeout, Unavailable),
            (502, Timeout, Unavailable),
            (503, Unavailable, Unavailable),
            (504, Timeout, Unavailable),
        ] {
            let refusal = refused(status, "");
            assert_eq!(
                (refusal.kind(true), refusal.kind(false)),
                (write, read),
                "{status}"
            );
        }
    }

    #[test]
    fn the_words_are_the_servers_own() {
        let body = r#"{"kind":"Status","message":"deployments.apps \"a\" is forbidden","code":403}"#;
        let error = refused(403, body).explain("change the Deployment shop/a", true);
        assert_eq!(
            error.to_string(),
            "could not change the Deployment shop/a: deployments.apps \"a\" is forbidden. \
             Grant it: docs/kubernetes.md shows the Role that longshore needs"
        );
        let body = r#"{"message":"admission webhook \"policy.example\" denied the request: no latest"}"#;
        let error = refused(400, body).explain("change it", true);
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert_eq!(
            error.next.as_deref(),
            Some("Ask who keeps that admission policy of the cluster")
        );
        let slow = refused(
            429,
            r#"{"details":{"retryAfterSeconds":3},"message":"slow down"}"#,
        );
        assert_eq!(
            slow.explain("look", false).retry_after(),
            Some(Duration::from_secs(3))
        );
    }
}
