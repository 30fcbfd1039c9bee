use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What went wrong, in words for the person who reads it: what happened, to what, and what to do next.
///
/// An error is data: it is journaled with a failed step and read again on replay, so it carries text and a
/// kind rather than a source chain. `causes` keeps the chain's messages, outermost first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub kind: ErrorKind,
    /// What happened and to what, as one sentence without a full stop.
    pub what: String,
    /// What the reader can do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Messages of the errors underneath, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// How long the far side asked us to wait, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// Whether trying again can help, and whether the effect may have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request itself is wrong: a field, a version, an instruction.
    Invalid,
    /// What it names does not exist, or not for us.
    NotFound,
    /// Credentials are missing, wrong or too weak.
    Denied,
    /// A precondition no longer holds: somebody else changed it, or it is locked or closed.
    Conflict,
    /// The work was done as asked and its outcome is bad: a check failed, a verdict was negative.
    Rejected,
    /// The far side could not be reached or broke before it took the request. Nothing happened there.
    Unavailable,
    /// The far side asked us to slow down. Nothing happened there.
    RateLimited,
    /// No answer in time, or the connection was cut: the effect may or may not have happened.
    Timeout,
    /// A bug: a panic, an impossible state.
    Internal,
}

impl Error {
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            next: None,
            causes: Vec::new(),
            retry_after_ms: None,
        }
    }
    pub fn invalid(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, what)
    }
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, what)
    }
    pub fn denied(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, what)
    }
    pub fn conflict(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, what)
    }
    pub fn rejected(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Rejected, what)
    }
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, what)
    }
    pub fn rate_limited(what: impl Into<String>, retry_after: Option<Duration>) -> Self {
        let mut error = Self::new(ErrorKind::RateLimited, what);
        error.retry_after_ms = retry_after.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        error
    }
    pub fn timeout(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Timeout, what)
    }
    pub fn internal(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, what)
    }

    /// Adds what the reader can do next.
    #[must_use]
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// Keeps the messages of a lower error and of everything under it.
    #[must_use]
    pub fn because(mut self, cause: &dyn std::error::Error) -> Self {
        let mut current = Some(cause);
        while let Some(error) = current {
            let message = error.to_string();
            // Many an error ends with what its source says.
            if !self
                .causes
                .last()
                .is_some_and(|before| before.ends_with(&message))
            {
                self.causes.push(message);
            }
            current = error.source();
        }
        self
    }

    /// Says what we were doing: the new sentence becomes `what`, the old one the first cause.
    #[must_use]
    pub fn context(mut self, what: impl Into<String>) -> Self {
        let inner = std::mem::replace(&mut self.what, what.into());
        self.causes.insert(0, inner);
        self
    }

    /// Whether a later attempt may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Unavailable | ErrorKind::RateLimited | ErrorKind::Timeout
        )
    }

    /// Whether the effect may have happened although no success was seen.
    pub fn is_in_doubt(&self) -> bool {
        self.kind == ErrorKind::Timeout
    }

    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_ms.map(Duration::from_millis)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        if let Some(next) = &self.next {
            write!(f, ". {next}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_what_why_and_what_next() {
        let lower = std::io::Error::other("connection refused");
        let error = Error::unavailable("could not read the log of job 17")
            .because(&lower)
            .next("Try again later");
        assert_eq!(
            error.to_string(),
            "could not read the log of job 17: connection refused. Try again later"
        );
        let outer = error.context("could not diagnose pipeline 4");
        assert_eq!(
            outer.to_string(),
            "could not diagnose pipeline 4: could not read the log of job 17: connection refused. Try again later"
        );
    }

    #[test]
    fn a_cause_that_the_one_before_ends_with_is_not_said_again() {
        #[derive(Debug)]
        struct Outer(std::io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "error communicating with the database: {}", self.0)
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        let lower = Outer(std::io::Error::other("connection refused"));
        assert_eq!(
            Error::unavailable("could not reach Postgres")
                .because(&lower)
                .to_string(),
            "could not reach Postgres: error communicating with the database: connection refused"
        );
    }

    #[test]
    fn only_outages_are_worth_a_retry_and_only_a_timeout_is_in_doubt() {
        assert!(Error::unavailable("x").is_transient() && !Error::unavailable("x").is_in_doubt());
        assert!(Error::timeout("x").is_transient() && Error::timeout("x").is_in_doubt());
        assert!(!Error::invalid("x").is_transient() && !Error::conflict("x").is_transient());
    }
}
