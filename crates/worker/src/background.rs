use store::Store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::cron::Cron;

/// What a worker does beside its tasks. It ends at the shutdown, or when this is dropped.
pub(crate) struct Background {
    _tasks: JoinSet<()>,
}

impl Background {
    pub(crate) fn start(store: &Store, config: &Config, shutdown: &CancellationToken) -> Self {
        let mut tasks = JoinSet::new();
        let cron = Cron {
            store: store.clone(),
            every: config.housekeeping,
        };
        let stop = shutdown.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = cron.keep() => {}
            }
        });
        Self { _tasks: tasks }
    }
}
