//! A network that loses packets tells nobody. What Postgres has not answered by the time at which it must have given up
//! itself is given up here too.

use std::future::Future;
use std::time::Duration;

use domain::Error;
use sqlx::{Connection, PgConnection};

use crate::Config;

/// How much longer than Postgres's own limit an answer is waited for.
const MARGIN: Duration = Duration::from_secs(3);

impl Config {
    /// How long one operation may take at most, its wait for a connection included. What it did by then is not known.
    pub(crate) fn patience(&self) -> Duration {
        self.acquire_timeout + self.statement_timeout + MARGIN
    }
}

/// The work's answer, or a transient error when none came in time. The connection is given up together with the work.
pub(crate) async fn within<T, E: From<Error>>(
    limit: Duration,
    doing: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(Error::unavailable(format!(
            "could not {doing}: Postgres did not answer within {} s",
            limit.as_secs_f32()
        ))
        .into())
    })
}

/// Whether a connection that comes back to the pool in the middle of something still has somebody at its other end. The
/// pool would wait for that without end, and have one connection less.
pub(crate) async fn answers(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    // Nothing waits to be sent after a commit.
    if !connection.should_flush() {
        return Ok(true);
    }
    silent(MARGIN, connection.ping()).await.map(|()| true)
}

/// An I/O error when nothing came in time.
pub(crate) async fn silent<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(limit, work).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
