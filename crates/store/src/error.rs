use domain::{Error, ErrorKind, Result};

use crate::pool::others_had_connections;

/// Turns a driver's error into one that says what we were doing, of the kind that tells what may help.
pub(crate) trait SqlResult<T> {
    /// `what` completes "could not …".
    fn doing(self, what: &str) -> Result<T>;
}

impl<T> SqlResult<T> for std::result::Result<T, sqlx::Error> {
    fn doing(self, what: &str) -> Result<T> {
        self.map_err(|error| describe(&error, what))
    }
}

/// What to do where the database has not this version's tables.
pub const NOT_MIGRATED: &str = "Run `longshore migrate` on this database";

/// What to do where the address turns out to lead to a pooler in transaction mode.
pub(crate) const POOLER: &str = "The address leads to a pooler in transaction mode, such as PgBouncer: set `database.pooler = true`, and \
     `database.direct_url` or `database.listen = false`; docs/operations.md says more";

/// What to do where Postgres does not let us in, has no such database, or denies what every one of our users needs.
const NO_ENTRY: &str = "Postgres does not let this longshore in: look at the user and the password in `database.url`, and at pg_hba.conf";
const NO_DATABASE: &str =
    "There is no such database: look at the name in `database.url`, or create it and run `longshore migrate`";
const NO_RIGHT: &str = "The user in `database.url` lacks a right: let it be the one that runs `longshore migrate`, or grant it the rights on the schemas `public` and `longshore`";

/// Whether trying again is of no use before somebody has changed the configuration or the server's.
pub(crate) fn needs_operator(error: &Error) -> bool {
    matches!(error.next.as_deref(), Some(NO_ENTRY | NO_DATABASE | NO_RIGHT))
}

pub(crate) fn describe(error: &sqlx::Error, what: &str) -> Error {
    if betrays_pooler(error) {
        return Error::unavailable(format!("could not {what}"))
            .because(error)
            .next(POOLER);
    }
    let described = Error::new(kind(error), format!("could not {what}")).because(error);
    match (error, sqlstate(error).as_deref()) {
        (sqlx::Error::PoolTimedOut, _) => no_connection(what, others_had_connections(WAITED)),
        // Our own words, raised by a migration: they stand for themselves.
        (sqlx::Error::Database(refusal), Some("LS001")) => {
            let hint = refusal
                .try_downcast_ref::<sqlx::postgres::PgDatabaseError>()
                .and_then(|e| e.hint());
            Error::conflict(format!("could not {what}: {}", refusal.message())).next(hint.unwrap_or_default())
        }
        (_, Some("42P01" | "3F000")) => described.next(NOT_MIGRATED),
        (_, Some("55P03")) => {
            described.next("Another program holds a lock on the table: try again when it is idle")
        }
        (_, Some("42501")) => described.next(NO_RIGHT),
        (_, Some("3D000")) => described.next(NO_DATABASE),
        (_, Some(code)) if code.starts_with("28") => described.next(NO_ENTRY),
        _ => described,
    }
}

/// At least so long has somebody waited who got no connection, and at least so long ago nobody else got one either
/// where Postgres is away.
const WAITED: std::time::Duration = std::time::Duration::from_secs(2);

/// Nobody got a connection in time: they were all in use where others got some meanwhile.
fn no_connection(what: &str, others_did: bool) -> Error {
    if others_did {
        return Error::unavailable(format!("could not {what}: all connections to Postgres were busy"))
            .next("Try again; if it stays so, raise the pool's size or look for slow statements");
    }
    Error::unavailable(format!("could not {what}: no connection to Postgres could be had in time"))
        .next("Does Postgres answer? Where it does, each connection has waited long for a statement: look for locks")
}

/// What only a pooler answers: it knows no such setting of a session, or hands out one session's prepared
/// statements to another.
fn betrays_pooler(error: &sqlx::Error) -> bool {
    let Some(refusal) = error.as_database_error() else {
        return false;
    };
    match refusal.code().as_deref() {
        Some("42P05" | "26000") => true,
        Some("08P01") => ["startup parameter", "prepared statement"]
            .iter()
            .any(|words| refusal.message().contains(words)),
        _ => false,
    }
}

/// The driver's words for a refused value stand in `DETAIL` and the constraint's name, which it leaves out.
pub(crate) fn constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error().and_then(|e| e.constraint())
}

pub(crate) fn sqlstate(error: &sqlx::Error) -> Option<String> {
    error
        .as_database_error()
        .and_then(|e| e.code())
        .map(|code| code.into_owned())
}

fn kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => ErrorKind::Unavailable,
        sqlx::Error::RowNotFound => ErrorKind::NotFound,
        sqlx::Error::Configuration(_) => ErrorKind::Invalid,
        sqlx::Error::Database(_) => sqlstate(error).map_or(ErrorKind::Internal, |code| kind_of_state(&code)),
        _ => ErrorKind::Internal,
    }
}

/// By Postgres's table of error codes (its manual, appendix A).
fn kind_of_state(code: &str) -> ErrorKind {
    match code {
        "23505" | "23P01" => ErrorKind::Conflict,
        // Who we are to Postgres and what we may do there: no fault of whoever asked us for something, and mended while we
        // wait.
        "42501" | "3D000" => ErrorKind::Unavailable,
        // Deadlock and serialisation: rolled back whole. A lock or statement past its time limit: likewise.
        "40001" | "40P01" | "55P03" | "57014" => ErrorKind::Unavailable,
        // Our session stood still for too long in a transaction, which was rolled back.
        "25P03" | "25P04" => ErrorKind::Unavailable,
        // A standby after a failover: writes find the new primary on the next connection.
        "25006" => ErrorKind::Unavailable,
        _ => match &code[..2.min(code.len())] {
            "08" | "28" | "53" | "57" | "58" => ErrorKind::Unavailable,
            "22" | "23" => ErrorKind::Invalid,
            _ => ErrorKind::Internal,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_connection_or_moment_may_mend_is_unavailable_and_a_wrong_value_is_not() {
        // Its manual, appendix A: restarts, failovers, time limits, too many clients, lost races.
        for code in [
            "57P01", "57P02", "57P03", "57P05", "57014", "25006", "25P03", "25P04", "08006", "53300",
            "40001", "40P01", "55P03", "58030", "28P01", "28000", "42501", "3D000",
        ] {
            assert_eq!(kind_of_state(code), ErrorKind::Unavailable, "{code}");
        }
        for (code, kind) in [
            ("22P05", ErrorKind::Invalid),
            ("23514", ErrorKind::Invalid),
            ("23505", ErrorKind::Conflict),
            ("42601", ErrorKind::Internal),
        ] {
            assert_eq!(kind_of_state(code), kind, "{code}");
        }
    }

    #[test]
    fn a_larger_pool_is_advised_where_others_got_connections_alone() {
        for (others_did, advised) in [(true, true), (false, false)] {
            let error = no_connection("list tasks", others_did);
            assert_eq!(error.kind, ErrorKind::Unavailable);
            let next = error.next.expect("advice");
            assert_eq!(next.contains("pool's size"), advised, "{next}");
        }
    }
}
