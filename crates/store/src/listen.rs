//! Wake-ups: somebody wrote to `tasks`. A slow poll stands behind them, so one that is missed costs time only.

use std::sync::Arc;

use domain::Result;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::error::SqlResult;
use crate::pool::{backoff, connect_options};
use crate::{Config, Listen, Store};

const CHANNEL: &str = "longshore";

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Listener {
    task: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Store {
    /// Notifies `wake` whenever another program's statement, or the API's, may have made work; also each time
    /// the connection stands anew, since something may have been missed. None where `LISTEN` is switched off.
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
        let config = Config {
            pooler: false,
            statement_timeout: std::time::Duration::ZERO,
            ..self.config().clone()
        };
        let task = tokio::spawn(async move {
            let mut delays = backoff();
            loop {
                match hear(&url, channel, &config, &wake, &mut || delays = backoff()).await {
                    Ok(()) => tracing::info!("the connection that listens was lost; connecting again"),
                    Err(error) => tracing::warn!(%error, "could not listen for news; polling meanwhile"),
                }
                let delay = delays.next().unwrap_or_default();
                tokio::time::sleep(delay).await;
            }
        });
        Some(Listener { task })
    }
}

/// Listens over one connection until that is lost.
async fn hear(
    url: &str,
    channel: &str,
    config: &Config,
    wake: &Notify,
    connected: &mut (dyn FnMut() + Send),
) -> Result<()> {
    let doing = "listen for news";
    let options = connect_options(url, config)?;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(config.acquire_timeout)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&pool).await.doing(doing)?;
    listener.eager_reconnect(false);
    listener.listen(channel).await.doing(doing)?;
    connected();
    wake.notify_one();
    while listener.try_recv().await.doing(doing)?.is_some() {
        wake.notify_one();
    }
    Ok(())
}
