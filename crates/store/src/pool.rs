use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use domain::{Error, ErrorKind, Result};
use sqlx::pool::{PoolConnection, PoolConnectionMetadata};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, Postgres};
use sqlx::query::Query;
use sqlx::{Connection, PgConnection, Transaction};

use crate::Config;
use crate::error::{POOLER, SqlResult, describe, needs_operator};
use crate::limit::{answers, silent, within};

/// A connection for single statements. Each is a transaction of its own; behind a pooler in transaction mode, where a
/// statement's parts could reach two sessions, all of them are one.
pub(crate) enum Session {
    Connection(PoolConnection<Postgres>),
    Transaction(Transaction<'static, Postgres>),
}

impl Session {
    pub(crate) async fn end(self) -> std::result::Result<(), sqlx::Error> {
        match self {
            Self::Connection(_) => Ok(()),
            Self::Transaction(tx) => tx.commit().await,
        }
    }
}

impl Deref for Session {
    type Target = PgConnection;
    fn deref(&self) -> &PgConnection {
        match self {
            Self::Connection(connection) => connection,
            Self::Transaction(tx) => tx,
        }
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Connection(connection) => connection,
            Self::Transaction(tx) => tx,
        }
    }
}

/// The way to the database; cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    /// For what is done all the time, which has to be planned once and as it was written: the planner knows neither how few
    /// rows a claim wants nor how fast the table changes, and would now and then read all of it.
    pinned: PgPool,
    config: Arc<Config>,
    /// Whether the last claim met rules; all clones share it.
    ruled: Arc<AtomicBool>,
    /// Who changes things through this handle, for the record.
    actor: Option<Arc<str>>,
}

impl Store {
    /// Connects, trying again with backoff for [`Config::connect_timeout`] while the server does not answer.
    /// A wrong password, a missing right, a database that does not exist and a pooler that [`Config::pooler`] does not
    /// tell of fail at once.
    pub async fn connect(config: Config) -> Result<Self> {
        let options = connect_options(&config.url, &config)?;
        let standbys = Arc::new(Standbys {
            pooler: config.pooler,
            last: Mutex::default(),
        });
        let pool = pool_of(&config, config.pool_size, &standbys).connect_lazy_with(options.clone());
        let pinned = pool_of(&config, PINNED, &standbys).connect_lazy_with(if config.pooler {
            options.clone()
        } else {
            options.clone().options([
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_bitmapscan", "off"),
                // Planned while the table was small, they would read all of it once it is large.
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
            ])
        });
        let store = Self {
            pool,
            pinned,
            config: Arc::new(config),
            ruled: Arc::default(),
            actor: None,
        };
        let started = Instant::now();
        let mut delays = backoff();
        loop {
            let tried = async {
                // By itself, as the pool would only say that it waited in vain.
                let alone = PgConnection::connect_with(&options)
                    .await
                    .doing("reach Postgres")?;
                alone.close().await.doing("reach Postgres")?;
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
            if needs_operator(&error) {
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
        tokio::join!(self.pool.close(), self.pinned.close());
    }

    /// Runs one operation, for as long as Postgres can be at it.
    pub(crate) async fn within<T, E: From<Error>>(
        &self,
        doing: &str,
        work: impl Future<Output = std::result::Result<T, E>>,
    ) -> std::result::Result<T, E> {
        within(self.config.patience(), doing, work).await
    }

    /// The same store in somebody's hands: what is cancelled, tried again or changed through it is told with this name.
    #[must_use]
    pub fn by(&self, who: &str) -> Self {
        Self {
            actor: Some(who.replace('\0', "\u{fffd}").into()),
            ..self.clone()
        }
    }

    pub(crate) fn actor(&self) -> Option<&str> {
        self.actor.as_deref()
    }

    /// What was done, and by whom: `Cancelled by ada`, or `by hand` where nobody said.
    pub(crate) fn told(&self, done: &str) -> String {
        domain::redact(&format!("{done} by {}", self.actor().unwrap_or("hand"))).into_owned()
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn ruled(&self) -> &AtomicBool {
        &self.ruled
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.pool
    }

    pub(crate) fn pinned(&self) -> &PgPool {
        &self.pinned
    }

    pub(crate) async fn session(&self) -> std::result::Result<Session, sqlx::Error> {
        Ok(if self.config.pooler {
            Session::Transaction(self.pool.begin().await?)
        } else {
            Session::Connection(self.pool.acquire().await?)
        })
    }

    pub(crate) async fn pinned_session(&self) -> std::result::Result<Session, sqlx::Error> {
        Ok(if self.config.pooler {
            Session::Transaction(self.pinned_transaction().await?)
        } else {
            Session::Connection(self.pinned.acquire().await?)
        })
    }

    pub(crate) async fn pinned_transaction(
        &self,
    ) -> std::result::Result<Transaction<'static, Postgres>, sqlx::Error> {
        self.pinned.begin().await
    }

    /// A statement that also works behind a pooler in transaction mode, where nothing may be prepared by
    /// name. There it must run inside a transaction (`pool().begin()`), since its parts travel in two messages.
    pub(crate) fn query(&self, sql: &'static str) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql).persistent(!self.config.pooler)
    }
}

/// Connections on which plans are pinned: two claim, one records steps, two write results.
const PINNED: u32 = 5;

fn pool_of(config: &Config, size: u32, standbys: &Arc<Standbys>) -> PgPoolOptions {
    let limit = config.acquire_timeout / 2;
    let (met, standbys) = (standbys.clone(), standbys.clone());
    PgPoolOptions::new()
        .max_connections(size)
        .acquire_timeout(config.acquire_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let met = met.clone();
            Box::pin(async move {
                silent(limit, met.look(connection)).await?;
                had_connection();
                Ok(())
            })
        })
        .before_acquire(move |connection, meta| {
            let standbys = standbys.clone();
            Box::pin(async move {
                let usable = silent(limit, standbys.usable(connection, &meta)).await?;
                if usable {
                    had_connection();
                }
                Ok(usable)
            })
        })
        .after_release(|connection, _| Box::pin(answers(connection)))
}

/// When somebody last got a connection that answered. The pool itself gives no other sign: whether all connections are
/// busy or none can be made, it says that it waited in vain.
static LAST_HAD: Mutex<Option<Instant>> = Mutex::new(None);

fn had_connection() {
    *LAST_HAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
}

/// Whether anybody got a connection within so long a time.
pub(crate) fn others_had_connections(within: Duration) -> bool {
    let last = *LAST_HAD.lock().unwrap_or_else(PoisonError::into_inner);
    last.is_some_and(|last| last.elapsed() < within)
}

/// A connection that came back to the pool so recently answered just then.
const FRESH: Duration = Duration::from_millis(10);
/// Longer than it takes from the look at a new connection until the pool counts its age.
const BIRTH: Duration = Duration::from_secs(1);

/// Which connections may lead to a standby: those that are not younger than the last one that did. They are left as soon
/// as they do, so that the next connection finds the new primary. A primary never becomes a standby under its connections,
/// except behind a pooler.
struct Standbys {
    pooler: bool,
    /// When one was met.
    last: Mutex<Option<Instant>>,
}

impl Standbys {
    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, connection: &mut PgConnection) -> std::result::Result<bool, sqlx::Error> {
        let primary = is_primary(connection).await?;
        if !primary {
            *self.last() = Some(Instant::now());
        }
        Ok(primary)
    }

    async fn usable(
        &self,
        connection: &mut PgConnection,
        meta: &PoolConnectionMetadata,
    ) -> std::result::Result<bool, sqlx::Error> {
        let doubtful = self.pooler || self.last().is_some_and(|last| last.elapsed() <= meta.age + BIRTH);
        if doubtful {
            return self.look(connection).await;
        }
        if meta.idle_for >= FRESH {
            connection.ping().await?;
        }
        Ok(true)
    }
}

async fn is_primary(connection: &mut PgConnection) -> std::result::Result<bool, sqlx::Error> {
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
            // Statements that look at many places and find little are dear by estimate alone: compiling them would be dearer.
            ("jit", "off".to_owned()),
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
    pub(crate) async fn dedicated(&self, doing: &str) -> Result<(PgConnection, bool)> {
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
        let connection = PgConnection::connect_with(&options);
        match tokio::time::timeout(self.config.acquire_timeout, connection).await {
            Ok(Ok(connection)) => Ok((connection, direct)),
            Ok(Err(error)) => Err(describe(&error, doing)),
            Err(_) => Err(Error::unavailable(format!(
                "could not {doing}: Postgres did not answer in time"
            ))),
        }
    }
}
