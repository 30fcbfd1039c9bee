use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use domain::{Error, ErrorKind, Result};
use sqlx::Connection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, Postgres};
use sqlx::query::Query;

use crate::Config;
use crate::error::{POOLER, SqlResult, describe};
use crate::limit::{answers, silent, within};

/// The way to the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    config: Arc<Config>,
}

impl Store {
    /// Connects, trying again with backoff for [`Config::connect_timeout`] while the server does not answer.
    /// A wrong password, a database that does not exist and a pooler that [`Config::pooler`] does not tell of
    /// fail at once.
    pub async fn connect(config: Config) -> Result<Self> {
        let options = connect_options(&config.url, &config)?;
        let acquiring = config.acquire_timeout;
        let pool = PgPoolOptions::new()
            .max_connections(config.pool_size)
            .acquire_timeout(config.acquire_timeout)
            // Instead of a ping, as dear: a server that became a standby is left, so that the next connection
            // finds the new primary.
            .test_before_acquire(false)
            .before_acquire(move |connection, _| Box::pin(silent(acquiring / 2, is_primary(connection))))
            .after_release(|connection, _| Box::pin(answers(connection)))
            .connect_lazy_with(options);
        let store = Self {
            pool,
            config: Arc::new(config),
        };
        let started = Instant::now();
        let mut delays = backoff();
        loop {
            let tried = async {
                store.ping().await?;
                store.look_for_pooler().await
            };
            let limit = store.config.patience();
            let Err(mut error) = within(limit, "reach Postgres", tried).await else {
                return Ok(store);
            };
            if error.next.as_deref() == Some(POOLER) {
                error.kind = ErrorKind::Invalid;
                return Err(error);
            }
            let Some(delay) = delays.next().filter(|_| error.is_transient()) else {
                return Err(error);
            };
            if started.elapsed() + delay >= store.config.connect_timeout {
                return Err(error.next("Is Postgres running, and is the URL right?"));
            }
            tracing::warn!(error = %error, delay_ms = delay.as_millis() as u64, "Postgres does not answer; trying again");
            tokio::time::sleep(delay).await;
        }
    }

    /// Asks the server for an answer: what `/health` reports.
    pub async fn ping(&self) -> Result<()> {
        let doing = "reach Postgres";
        let asked = async {
            let mut tx = self.pool.begin().await.doing(doing)?;
            self.query("SELECT 1").execute(&mut *tx).await.doing(doing)?;
            tx.commit().await.doing(doing)
        };
        self.within(doing, asked).await
    }

    /// Finds out at the start whether two of our connections may get one session of Postgres by turns, which would
    /// break statements prepared by name sooner or later: the second connection then finds the first one's.
    async fn look_for_pooler(&self) -> Result<()> {
        if self.config.pooler || self.config.pool_size < 2 {
            return Ok(());
        }
        let doing = "use the database";
        let mut both = Vec::new();
        for _ in 0..2 {
            both.push(self.pool.acquire().await.doing(doing)?);
        }
        // More than once, as a pooler with several idle sessions may happen to give each of the two its own.
        for sql in ["SELECT 'whose'", "SELECT 'session'", "SELECT 'is this'"] {
            for connection in &mut both {
                let mut tx = connection.begin().await.doing(doing)?;
                self.query(sql).execute(&mut *tx).await.doing(doing)?;
                tx.commit().await.doing(doing)?;
            }
        }
        Ok(())
    }

    /// Closes all connections, each after what it is doing.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Runs one operation, for as long as Postgres can be at it.
    pub(crate) async fn within<T, E: From<Error>>(
        &self,
        doing: &str,
        work: impl Future<Output = std::result::Result<T, E>>,
    ) -> std::result::Result<T, E> {
        within(self.config.patience(), doing, work).await
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A statement that also works behind a pooler in transaction mode, where nothing may be prepared by
    /// name. There it must run inside a transaction (`pool().begin()`), since its parts travel in two messages.
    pub(crate) fn query(&self, sql: &'static str) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql).persistent(!self.config.pooler)
    }
}

async fn is_primary(connection: &mut sqlx::PgConnection) -> std::result::Result<bool, sqlx::Error> {
    use sqlx::Row;
    let row = sqlx::raw_sql("SELECT pg_is_in_recovery()::text AS standby")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get::<String, _>("standby")? == "false")
}

pub(crate) fn connect_options(url: &str, config: &Config) -> Result<PgConnectOptions> {
    let options = PgConnectOptions::from_str(url)
        .map_err(|error| {
            Error::invalid("the database URL is not understood")
                .because(&error)
                .next("It reads postgres://USER:PASSWORD@HOST:PORT/DATABASE")
        })?
        .application_name(&config.application_name);
    Ok(if config.pooler {
        options.statement_cache_capacity(0).extra_float_digits(None)
    } else {
        options.options([
            (
                "statement_timeout",
                format!("{}ms", config.statement_timeout.as_millis()),
            ),
            (
                "idle_in_transaction_session_timeout",
                format!("{}ms", config.idle_in_transaction.as_millis()),
            ),
            // A row lock is followed by a look at what others committed; a role's own default could hide that.
            ("default_transaction_isolation", "read committed".to_owned()),
        ])
    })
}

/// Delays between tries to reach the server: 50 ms doubling to 2 s, with jitter, without end.
pub(crate) fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(2))
        .with_jitter()
        .without_max_times()
        .build()
}

impl Store {
    /// A connection of its own, past the pool and, where a direct URL is known, past the pooler.
    pub(crate) async fn dedicated(&self, doing: &str) -> Result<(sqlx::PgConnection, bool)> {
        let (url, direct) = match &self.config.listen {
            crate::Listen::Direct(url) => (url, true),
            _ => (&self.config.url, !self.config.pooler),
        };
        let config = Config {
            pooler: !direct,
            statement_timeout: Duration::ZERO,
            ..(*self.config).clone()
        };
        let options = connect_options(url, &config)?;
        let connection = sqlx::PgConnection::connect_with(&options);
        match tokio::time::timeout(self.config.acquire_timeout, connection).await {
            Ok(Ok(connection)) => Ok((connection, direct)),
            Ok(Err(error)) => Err(describe(&error, doing)),
            Err(_) => Err(Error::unavailable(format!(
                "could not {doing}: Postgres did not answer in time"
            ))),
        }
    }
}
