use std::time::Duration;

use domain::{Error, ErrorKind};
use http::{Method, StatusCode};

use crate::config::Provider;

/// Why a request came to nothing. It holds no address with secrets and no token.
#[derive(Debug, thiserror::Error)]
#[error("{failure}")]
pub struct CallError {
    pub(crate) method: Method,
    pub(crate) host: String,
    pub(crate) provider: Provider,
    pub(crate) failure: Failure,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// It never left: no connection, or our own mistake.
    #[error("{0}")]
    NotSent(String),
    /// It was sent, and no whole answer came.
    #[error("{0}")]
    NoAnswer(String),
    #[error("the answer was {}{}", .status, said(.message))]
    Refused { status: StatusCode, message: String },
    #[error("the answer was {status}: too many requests{}", said(.message))]
    TooMany {
        status: StatusCode,
        message: String,
        retry_after: Option<Duration>,
    },
    /// We keep to the rate or to the pause that was asked for.
    #[error("{why}")]
    HeldBack { why: String, wait: Duration },
    #[error("it has moved to {0}")]
    Moved(String),
    /// An answer in words that we do not know.
    #[error("the answer could not be understood: {0}")]
    Unreadable(String),
}

fn said(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// What a call needs to be allowed, for the hint to a person whose token may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    ReadBuilds,
    ReadTicket,
    WriteNote,
    WriteTicket,
    RetryJob,
    Webhooks,
    ReadCode,
    WriteCode,
    StartPipeline,
    ReadDeployments,
    WriteDeployment,
    Flags,
}

impl Need {
    fn hint(self, provider: Provider) -> &'static str {
        match (provider, self) {
            (
                Provider::Gitlab,
                Self::ReadBuilds | Self::ReadTicket | Self::ReadCode | Self::ReadDeployments,
            ) => "give it the `read_api` or `api` scope and at least the Reporter role",
            (Provider::Gitlab, Self::WriteNote | Self::WriteTicket) => {
                "give it the `api` scope and at least the Reporter role"
            }
            (
                Provider::Gitlab,
                Self::RetryJob | Self::WriteDeployment | Self::Flags | Self::WriteCode | Self::StartPipeline,
            ) => "give it the `api` scope and at least the Developer role",
            (Provider::Gitlab, Self::Webhooks) => "give it the `api` scope and at least the Maintainer role",
            (Provider::Github, Self::ReadBuilds) => "give it read access to Actions",
            (Provider::Github, Self::ReadTicket) => "give it read access to Issues and Pull requests",
            (Provider::Github, Self::WriteNote | Self::WriteTicket) => {
                "give it write access to Issues and Pull requests"
            }
            (Provider::Github, Self::WriteCode) => "give it write access to Contents and Pull requests",
            (Provider::Github, Self::RetryJob | Self::StartPipeline) => "give it write access to Actions",
            (Provider::Github, Self::Webhooks) => "give it write access to Webhooks",
            (Provider::Github, Self::ReadCode) => "give it read access to Contents",
            (Provider::Github, Self::ReadDeployments) => "give it read access to Deployments",
            (Provider::Github, Self::WriteDeployment) => "give it write access to Deployments",
            // It has none.
            (Provider::Github, Self::Flags) => "keep the flag in a GitLab project",
        }
    }
}

impl CallError {
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match &self.failure {
            Failure::Refused { status, .. } | Failure::TooMany { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(crate) fn refusal(&self) -> &str {
        match &self.failure {
            Failure::Refused { message, .. } => message,
            _ => "",
        }
    }

    /// The same for a person: `doing` says what was tried and on what ("write a note on issue 5 of group/app").
    pub(crate) fn explain(self, doing: &str, need: Need) -> Error {
        let kind = self.kind();
        let next = self.next(kind, need);
        let retry_after = match &self.failure {
            Failure::TooMany { retry_after, .. } => *retry_after,
            Failure::HeldBack { wait, .. } => Some(*wait),
            _ => None,
        };
        let mut error =
            Error::new(kind, format!("could not {doing} at {}", self.host)).because(&self.failure);
        error.next = next;
        error.retry_after_ms = retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        error
    }

    fn kind(&self) -> ErrorKind {
        let changes = self.method != Method::GET && self.method != Method::HEAD;
        let broken = if changes {
            ErrorKind::Timeout
        } else {
            ErrorKind::Unavailable
        };
        match &self.failure {
            Failure::NotSent(_) => ErrorKind::Unavailable,
            Failure::NoAnswer(_) => broken,
            // Something was answered as a success that we cannot read, by the forge or by what stands before it: what
            // was asked for may have happened, and must be looked for before it is asked for again.
            Failure::Unreadable(_) if changes => ErrorKind::Timeout,
            // Nothing to be read there is the forge that was meant, or nothing that we know of.
            Failure::Unreadable(_) => ErrorKind::Rejected,
            Failure::TooMany { .. } | Failure::HeldBack { .. } => ErrorKind::RateLimited,
            Failure::Moved(_) => ErrorKind::NotFound,
            Failure::Refused { status, .. } => match status.as_u16() {
                401 | 403 | 407 => ErrorKind::Denied,
                404 | 410 => ErrorKind::NotFound,
                409 | 412 | 423 => ErrorKind::Conflict,
                // These say that nothing was taken; any other outage may have come after the effect.
                408 | 425 | 503 => ErrorKind::Unavailable,
                500..=599 => broken,
                _ => ErrorKind::Invalid,
            },
        }
    }

    fn next(&self, kind: ErrorKind, need: Need) -> Option<String> {
        let host = &self.host;
        Some(match (kind, &self.failure) {
            (ErrorKind::Rejected, Failure::Unreadable(_)) => match self.provider {
                Provider::Gitlab => "Is `gitlab.url` GitLab's own address?".to_owned(),
                Provider::Github => "Is `github.url` the address of GitHub's API?".to_owned(),
            },
            (ErrorKind::Denied, _) if self.status() == Some(StatusCode::UNAUTHORIZED) => {
                format!("The token for {host} is wrong or has expired: set a new one")
            }
            (ErrorKind::Denied, _) => {
                format!("The token may not do this: {}", need.hint(self.provider))
            }
            (ErrorKind::NotFound, Failure::Moved(_)) => {
                "Change the repository's address to the new one".to_owned()
            }
            (ErrorKind::NotFound, _) => format!(
                "Check the project and the number; a token that may not see them gets the same answer: {}",
                need.hint(self.provider)
            ),
            (ErrorKind::Unavailable, Failure::NotSent(_)) => {
                format!("Check that {host} is up and can be reached from here")
            }
            _ => return None,
        })
    }
}
