use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use domain::Result;
use futures_util::future::join_all;
use ports::Tickets;
use store::outbox::{Due, Taken};
use store::{Listener, Store};
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::pace::Pace;
use crate::{Config, Queue};

/// Delivers the outbox. Any number may run, here and elsewhere, and each may be killed at any instruction.
pub struct Drainer {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) tickets: Arc<dyn Tickets>,
    pub(crate) config: Config,
    pub(crate) pace: Pace,
    wake: Arc<Notify>,
    /// Wakes while the drainer lives; none where the store does not listen.
    listener: Option<Listener>,
}

/// How many tickets are swept in one go; there is seldom one.
const SWEEPS: u32 = 4;
/// The least time between two looks that nothing asked for.
const BREATH: Duration = Duration::from_millis(50);

impl Drainer {
    /// A drainer that is woken by what is put into the store's outbox. Call it inside the runtime.
    pub fn new(store: &Store, tickets: Arc<dyn Tickets>, config: Config) -> Self {
        let drainer = Self::over(Arc::new(store.outbox()), tickets, config);
        let listener = store.listen_for_notes(drainer.wake());
        Self { listener, ..drainer }
    }

    pub fn over(queue: Arc<dyn Queue>, tickets: Arc<dyn Tickets>, config: Config) -> Self {
        let pace = Pace::per_minute(config.per_minute);
        Self {
            queue,
            tickets,
            config,
            pace,
            wake: Arc::default(),
            listener: None,
        }
    }

    /// Notified, it looks for due notes at once.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// Delivers until shutdown; then lets what is under way end within [`Config::grace`].
    pub async fn run(self, shutdown: CancellationToken) {
        let drainer = Arc::new(self);
        // Each is a task of its own: while this loop waits for the database, a delivery must get on with the
        // transaction that the loop may be waiting for.
        let mut under_way = JoinSet::new();
        let mut sweeping = JoinSet::new();
        let mut held: HashMap<Id, Due> = HashMap::new();
        let mut sweep = tokio::time::interval(drainer.config.sweep_every);
        let mut renew = tokio::time::interval(drainer.config.lease / 3);
        for interval in [&mut sweep, &mut renew] {
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut look = true;
        let mut next_look = Instant::now();
        loop {
            let room = drainer.config.concurrency.saturating_sub(held.len());
            if look && room > 0 {
                // What is told after the shutdown was asked for is not taken by a look that was under way.
                let taken = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break,
                    taken = drainer.take(&held, room) => taken,
                };
                next_look = Instant::now() + drainer.pause(&taken);
                for due in taken.due {
                    let (own, taken) = (Arc::clone(&drainer), due.clone());
                    let task = under_way.spawn(async move { own.deliver(&taken).await });
                    held.insert(task.id(), due);
                }
            }
            look = tokio::select! {
                biased;
                // Before all else: what is told from now on is the next drainer's.
                () = shutdown.cancelled() => break,
                _ = renew.tick(), if !held.is_empty() => {
                    drainer.renew(&held).await;
                    false
                }
                Some(done) = under_way.join_next_with_id() => {
                    let id = match done {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(%error, "the delivery of a comment broke; the next drainer takes it");
                            error.id()
                        }
                    };
                    held.remove(&id);
                    true
                }
                () = drainer.wake.notified() => true,
                // It may have found what is to be told.
                Some(_) = sweeping.join_next() => true,
                _ = sweep.tick(), if sweeping.is_empty() => {
                    let own = Arc::clone(&drainer);
                    sweeping.spawn(async move { own.sweep_due().await });
                    false
                }
                () = tokio::time::sleep_until(next_look), if room > 0 => true,
            }
        }
        let all = async { while under_way.join_next().await.is_some() {} };
        if tokio::time::timeout(drainer.config.grace, all).await.is_err() {
            tracing::info!(
                notes = under_way.len(),
                "comments under way are left to the next drainer"
            );
        }
    }

    /// Delivers what is due now and sweeps what is to be swept; answers how many rows it took.
    pub async fn drain_once(&self) -> Result<usize> {
        let due = self
            .queue
            .take(self.config.per_host, &[], self.config.lease)
            .await?
            .due;
        let sweeps = self.queue.take_sweeps(SWEEPS, self.config.lease).await?;
        join_all(due.iter().map(|due| self.deliver(due))).await;
        join_all(sweeps.iter().map(|sweep| self.sweep(sweep))).await;
        Ok(due.len() + sweeps.len())
    }

    /// How long until the next look, if nothing asks for one.
    fn pause(&self, taken: &Taken) -> Duration {
        let hears = self
            .listener
            .as_ref()
            .is_some_and(|listener| listener.hearing().now());
        // Only a look that found nothing knows what comes next.
        let longest = if hears && taken.due.is_empty() {
            self.config.poll
        } else {
            self.config.poll_unheard
        };
        taken
            .next
            .map_or(longest, |next| next.clamp(BREATH.min(longest), longest))
    }

    async fn take(&self, held: &HashMap<Id, Due>, room: usize) -> Taken {
        let mut hosts: HashMap<&str, usize> = HashMap::new();
        for due in held.values() {
            *hosts.entry(&due.host).or_default() += 1;
        }
        let per_host = self.config.per_host as usize;
        let busy: Vec<String> = hosts
            .into_iter()
            .filter(|(_, count)| *count >= per_host)
            .map(|(host, _)| host.to_owned())
            .collect();
        let limit = u32::try_from(room).unwrap_or(u32::MAX).min(self.config.per_host);
        match self.queue.take(limit, &busy, self.config.lease).await {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(error = %error, "the outbox cannot be read; trying again");
                Taken {
                    next: Some(self.config.poll_unheard),
                    ..Taken::default()
                }
            }
        }
    }

    async fn renew(&self, held: &HashMap<Id, Due>) {
        if held.is_empty() {
            return;
        }
        let rows: Vec<Due> = held.values().cloned().collect();
        if let Err(error) = self.queue.renew(&rows, self.config.lease).await {
            tracing::warn!(error = %error, "the leases of comments under way could not be renewed");
        }
    }

    async fn sweep_due(&self) {
        loop {
            match self.queue.take_sweeps(SWEEPS, self.config.lease).await {
                Ok(sweeps) => {
                    join_all(sweeps.iter().map(|sweep| self.sweep(sweep))).await;
                    if sweeps.len() < SWEEPS as usize {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error, "tickets to be swept cannot be read; trying again");
                    return;
                }
            }
        }
    }
}
