use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::FutureExt;
use store::Store;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::Config;
use crate::cron::Cron;
use crate::retention::Retention;

/// Until what panicked is begun again: at first, and at most.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(300);

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
        background.add("schedules", shutdown, move || cron.clone().keep());
        if let Some(keep) = config.retention {
            let retention = Retention {
                store: store.clone(),
                agents: config.agents.clone(),
                keep,
            };
            background.add("retention", shutdown, move || retention.clone().keep());
        }
        background
    }

    fn add<W>(
        &mut self,
        name: &'static str,
        shutdown: &CancellationToken,
        work: impl Fn() -> W + Send + 'static,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        let stop = shutdown.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = again_and_again(name, SOON, work) => {}
            }
        });
    }
}

/// Does the work until it returns. A panic in it would otherwise end it unseen, for as long as the worker lives.
async fn again_and_again<W: Future<Output = ()>>(name: &'static str, soon: Duration, work: impl Fn() -> W) {
    let delays = || {
        ExponentialBuilder::default()
            .with_min_delay(soon)
            .with_max_delay(LATE)
            .without_max_times()
            .build()
    };
    let mut delay = delays();
    loop {
        let begun = Instant::now();
        // The future is dropped after a panic and nothing of it is looked at again.
        let Err(panic) = AssertUnwindSafe(work()).catch_unwind().await else {
            return;
        };
        if begun.elapsed() > LATE {
            delay = delays();
        }
        let pause = delay.next().unwrap_or(LATE);
        metrics::counter!("longshore_background_panics_total", "work" => name).increment(1);
        error!(
            background.work = name,
            panic = message(panic.as_ref()),
            again_in_s = pause.as_secs_f64(),
            "A worker's background work panicked and is begun again; this is a bug: report it with this message"
        );
        tokio::time::sleep(pause).await;
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_that_panics_is_begun_again_later_each_time_until_it_lives() {
        let begun = AtomicU32::new(0);
        let soon = Duration::from_millis(10);
        let start = Instant::now();
        again_and_again("test", soon, || async {
            let time = begun.fetch_add(1, Ordering::Relaxed);
            assert!(time >= 3, "panics at time {time}");
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 4);
        assert!(start.elapsed() >= soon * (1 + 2 + 4), "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn what_panics_beside_the_tasks_ends_with_the_shutdown_and_not_before() {
        let mut background = Background {
            tasks: JoinSet::new(),
        };
        let shutdown = CancellationToken::new();
        background.add("test", &shutdown, || async { panic!("at once") });
        tokio::task::yield_now().await;
        assert!(
            background.tasks.try_join_next().is_none(),
            "it waits for its next time"
        );
        shutdown.cancel();
        assert!(
            background
                .tasks
                .join_next()
                .await
                .is_some_and(|ended| ended.is_ok())
        );
    }
}
