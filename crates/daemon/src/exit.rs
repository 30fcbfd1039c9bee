//! How a command ends: an exit code that programs branch on and an error that people can act on.

use std::process::ExitCode;

use domain::{Error, ErrorKind};

use crate::config::ConfigError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Done or refused, and the answer is no.
    No,
    /// The command, its input or the configuration is wrong.
    Usage,
    /// A database or a remote system could not be reached.
    Unreachable,
    Bug,
    /// Stopped by Ctrl-C before it was done.
    Interrupted,
    /// Stopped by SIGTERM before it was done.
    Terminated,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }

    pub fn of(error: &Error) -> Self {
        // Another start would not mend it, and nothing is wrong with the program.
        if lacks_tables(error) {
            return Self::Usage;
        }
        match error.kind {
            ErrorKind::Invalid => Self::Usage,
            ErrorKind::NotFound | ErrorKind::Denied | ErrorKind::Conflict | ErrorKind::Rejected => Self::No,
            ErrorKind::Unavailable | ErrorKind::RateLimited | ErrorKind::Timeout => Self::Unreachable,
            ErrorKind::Internal => Self::Bug,
        }
    }
}

/// Whether the database lacks this version's tables. What to do may have been said more at length since.
pub fn lacks_tables(error: &Error) -> bool {
    error
        .next
        .as_deref()
        .is_some_and(|next| next.contains(store::NOT_MIGRATED))
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self(
            Error::invalid(error.to_string())
                .next("`longshore config check` reads it again; docs/configuration.md explains the keys"),
        )
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

pub type Outcome = Result<Exit, Failure>;
