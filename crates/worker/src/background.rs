use std::future::Future;

use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::cron::Cron;
use crate::retention::Retention;

/// What a worker does beside its tasks. It ends at the shutdown, or when this is dropped.
pub(crate) struct Background {
    tasks: JoinSet<()>,
}

impl Background {
    pub(crate) fn start(store: &Store, config: &Config, shutdown: &CancellationToken) -> Self {
        let mut background = Self {
            tasks: JoinSet::new(),
        };
        let cron = Cron {
            store: store.clone(),
            every: config.housekeeping,
        };
        background.add(shutdown, cron.keep());
        if let Some(keep) = config.retention {
            let retention = Retention {
                store: store.clone(),
                agents: config.agents.clone(),
                keep,
            };
            background.add(shutdown, retention.keep());
        }
        background
    }

    fn add(&mut self, shutdown: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
        let stop = shutdown.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work => {}
            }
        });
    }
}
