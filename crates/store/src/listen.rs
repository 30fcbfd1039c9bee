//! Wake-ups: somebody wrote to `tasks`. A slow poll stands behind them, so one that is missed costs time only.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{Error, Result};
use sqlx::postgres::{PgListener, PgPool, PgPoolOptions};
use sqlx::{Connection, PgConnection, Row};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::error::{POOLER, SqlResult};
use crate::pool::{backoff, connect_options};
use crate::{Config, Listen, Store};

const CHANNEL: &str = "longshore";
/// How long our own call may take to come back before the listener counts as deaf.
const ECHO: Duration = Duration::from_secs(3);
/// Until a deaf listener is tried again.
const DEAF: Duration = Duration::from_secs(60);

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    task: JoinHandle<()>,
    hearing: Hearing,
}

impl Listener {
    /// Tells at any time whether notifications come.
    pub fn hearing(&self) -> Hearing {
        self.hearing.clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a listener hears.
#[derive(Clone, Debug, Default)]
pub struct Hearing(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard {
    /// Proven by a notification that came over the connection that stands.
    hears: AtomicBool,
    news: Mutex<News>,
}

#[derive(Debug, Default)]
struct News {
    /// Tasks that were put in one by one.
    new: Vec<String>,
    /// Something else happened as well.
    more: bool,
}

impl Hearing {
    /// New tasks that are remembered by their ids; more than these are looked for.
    const NEW: usize = 64;

    /// Whether notifications come.
    pub fn now(&self) -> bool {
        self.0.hears.load(Ordering::Relaxed)
    }

    /// The ids of tasks that came since the last call. Empty where that is not all that happened: only a statement that puts
    /// in one row is told with its id.
    pub fn new_tasks(&self) -> Vec<String> {
        let News { new, more } = std::mem::take(&mut *self.news());
        if more { Vec::new() } else { new }
    }

    fn set(&self, hears: bool) -> bool {
        self.0.hears.swap(hears, Ordering::Relaxed)
    }

    fn note(&self, task: &str) {
        let mut news = self.news();
        if task.is_empty() || news.new.len() >= Self::NEW {
            news.more = true;
        } else {
            news.new.push(task.to_owned());
        }
    }

    fn news(&self) -> MutexGuard<'_, News> {
        self.0.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How one connection's listening ended.
enum End {
    Lost,
    /// It leads to a pooler, or what was called into the channel through the store's pool did not arrive.
    Deaf,
}

impl Store {
    /// Notifies `wake` whenever another program's statement, or the API's, may have made work; also each time
    /// the connection stands anew, since something may have been missed, and when it is lost. None where `LISTEN` is
    /// switched off.
    pub fn listen(&self, wake: Arc<Notify>) -> Option<Listener> {
        self.listen_on(CHANNEL, wake)
    }

    /// As [`Store::listen`], for notes that were put into the outbox.
    pub fn listen_for_notes(&self, wake: Arc<Notify>) -> Option<Listener> {
        self.listen_on(crate::outbox::CHANNEL, wake)
    }

    fn listen_on(&self, channel: &'static str, wake: Arc<Notify>) -> Option<Listener> {
        let url = match &self.config().listen {
            Listen::Off => return None,
            Listen::Same => self.config().url.clone(),
            Listen::Direct(url) => url.clone(),
        };
        let ear = Ear {
            store: self.clone(),
            url,
            channel,
            echo: format!("longshore_echo_{}", uuid::Uuid::new_v4().simple()),
            wake,
            hearing: Hearing::default(),
        };
        let hearing = ear.hearing.clone();
        Some(Listener {
            task: tokio::spawn(ear.listen()),
            hearing,
        })
    }

    /// Calls into a channel the way that every statement of this store goes.
    async fn call(&self, channel: &str) -> Result<()> {
        let doing = "call the listener";
        let called = async {
            let mut tx = self.pool().begin().await.doing(doing)?;
            self.query("SELECT pg_notify($1, '')")
                .bind(channel)
                .execute(&mut *tx)
                .await
                .doing(doing)?;
            tx.commit().await.doing(doing)
        };
        self.within(doing, called).await
    }
}

struct Ear {
    store: Store,
    url: String,
    channel: &'static str,
    /// A channel that nobody else listens on, to hear ourselves.
    echo: String,
    wake: Arc<Notify>,
    hearing: Hearing,
}

impl Drop for Ear {
    /// Also when it panics: whoever relied on it polls from then on.
    fn drop(&mut self) {
        self.hearing.set(false);
        self.wake.notify_one();
    }
}

impl Ear {
    async fn listen(self) {
        let mut delays = backoff();
        let mut told = false;
        loop {
            let ended = self.hear(&mut || delays = backoff()).await;
            let heard = self.hearing.set(false);
            // Whoever relied on us polls from now on.
            self.wake.notify_one();
            told &= !heard;
            let mut delay = delays.next().unwrap_or_default();
            let refused = |error: &domain::Error| error.next.as_deref() == Some(POOLER);
            match ended {
                Err(error) if !refused(&error) => {
                    tracing::warn!(%error, "could not listen for news; polling meanwhile");
                }
                Ok(End::Lost) => tracing::info!("the connection that listens was lost; connecting again"),
                Ok(End::Deaf) | Err(_) => {
                    delay = DEAF;
                    if !told {
                        tracing::warn!(
                            channel = self.channel,
                            "notifications do not arrive, so new tasks are found by polling alone: the connection that \
                             listens leads through a pooler in transaction mode or to another database. Set \
                             `database.direct_url` to an address past the pooler, or `database.listen = false`"
                        );
                    }
                    told = true;
                }
            }
            tokio::time::sleep(delay).await;
        }
    }

    /// Listens over one connection until that is lost or proves deaf.
    async fn hear(&self, connected: &mut (dyn FnMut() + Send)) -> Result<End> {
        let doing = "listen for news";
        let config = Config {
            pooler: false,
            statement_timeout: Duration::ZERO,
            ..self.store.config().clone()
        };
        let pool = PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(config.acquire_timeout)
            .connect_lazy_with(connect_options(&self.url, &config)?);
        let begun = async {
            if shares_sessions(&pool).await? {
                return Ok::<_, Error>(None);
            }
            let mut listener = PgListener::connect_with(&pool).await.doing(doing)?;
            listener.eager_reconnect(false);
            listener
                .listen_all([self.channel, &self.echo])
                .await
                .doing(doing)?;
            Ok(Some(listener))
        };
        let Some(mut listener) = self.store.within(doing, begun).await? else {
            return Ok(End::Deaf);
        };
        connected();
        self.wake.notify_one();
        match self.store.call(&self.echo).await {
            Ok(()) => {
                let Ok(first) = tokio::time::timeout(ECHO, listener.try_recv()).await else {
                    return Ok(End::Deaf);
                };
                if first.doing(doing)?.is_none() {
                    return Ok(End::Lost);
                }
                self.hearing.set(true);
                self.wake.notify_one();
            }
            // The first notification will prove it as well.
            Err(error) => tracing::debug!(%error, "could not try whether notifications arrive"),
        }
        loop {
            let check = self.store.config().listen_check;
            let heard = match tokio::time::timeout(check, listener.try_recv()).await {
                Ok(heard) => heard,
                // A connection that the network forgot stays silent for ever, and nobody tells.
                Err(_) => {
                    if let Err(error) = self.store.call(&self.echo).await {
                        tracing::debug!(%error, "could not try whether notifications still arrive");
                        continue;
                    }
                    match tokio::time::timeout(ECHO, listener.try_recv()).await {
                        Ok(heard) => heard,
                        Err(_) => return Ok(End::Lost),
                    }
                }
            };
            let Some(heard) = heard.doing(doing)? else {
                return Ok(End::Lost);
            };
            self.hearing.set(true);
            if heard.channel() != self.echo {
                self.hearing.note(heard.payload());
                self.wake.notify_one();
            }
        }
    }
}

/// Whether two connections get one session of Postgres by turns, as through a pooler in transaction mode. `LISTEN` must
/// not even be tried there: it would stick to a session, and what that hears break into the statements of others.
async fn shares_sessions(pool: &PgPool) -> Result<bool> {
    let doing = "find out whether a pooler is in between";
    let mut first = pool.acquire().await.doing(doing)?;
    let mut second = pool.acquire().await.doing(doing)?;
    let (mut firsts, mut seconds) = (HashSet::new(), HashSet::new());
    for _ in 0..3 {
        firsts.insert(session_of(&mut first).await.doing(doing)?);
        seconds.insert(session_of(&mut second).await.doing(doing)?);
    }
    second.close().await.doing(doing)?;
    Ok(firsts.len() > 1 || seconds.len() > 1 || !firsts.is_disjoint(&seconds))
}

/// Which session a transaction runs in; prepared under no name.
async fn session_of(connection: &mut PgConnection) -> sqlx::Result<i32> {
    let mut tx = connection.begin().await?;
    let row = sqlx::query("SELECT pg_backend_pid() AS session")
        .persistent(false)
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    row.try_get("session")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_tasks_are_named_where_nothing_else_happened() {
        let hearing = Hearing::default();
        assert!(hearing.new_tasks().is_empty());
        hearing.note("a");
        hearing.note("b");
        assert_eq!(hearing.new_tasks(), ["a", "b"]);
        assert!(hearing.new_tasks().is_empty());
        for unnamed in [["", "a"], ["a", ""]] {
            unnamed.iter().for_each(|task| hearing.note(task));
            assert!(hearing.new_tasks().is_empty());
        }
        (0..=Hearing::NEW).for_each(|n| hearing.note(&n.to_string()));
        assert!(hearing.new_tasks().is_empty(), "more than are remembered");
        hearing.note("c");
        assert_eq!(hearing.new_tasks(), ["c"]);
    }
}
