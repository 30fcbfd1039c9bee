use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::Result;
use durable::CancelFlag;
use store::{Claim, Hearing, Served, Store, WorkerRow};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::background::Background;
use crate::finisher::Finisher;
use crate::heartbeat::Heartbeat;
use crate::run::Runner;
use crate::running::Running;
use crate::{Config, Registry};

/// Of so many claimed tasks one is the oldest that may run, so that a flood of high priority starves nothing.
const FAIR: u64 = 16;

/// How long a release at the very end may take before the lease's end does the same.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Claims tasks and runs them until it is told to stop.
pub struct Worker {
    store: Store,
    runner: Arc<Runner>,
    config: Config,
    wake: Arc<Notify>,
    hearing: Option<Hearing>,
    /// How many tasks it has claimed.
    claimed: AtomicU64,
}

impl Worker {
    /// `wake` is notified when the table may have work: by the store's listener, by whoever inserts in this
    /// process.
    pub fn new(store: Store, registry: Registry, config: Config, wake: Arc<Notify>) -> Self {
        let finisher = Finisher::start(store.clone());
        let runner = Runner {
            store: store.clone(),
            registry,
            config: config.clone(),
            finisher,
        };
        Self {
            store,
            runner: Arc::new(runner),
            config,
            wake,
            hearing: None,
            claimed: AtomicU64::new(0),
        }
    }

    /// Says where to see whether notifications come; while they do not, the table is looked at as without `LISTEN`.
    pub fn hearing(self, hearing: Hearing) -> Self {
        Self {
            hearing: Some(hearing),
            ..self
        }
    }

    /// Works until `shutdown`, then lets running handlers go on for the grace period, hands back what is left
    /// and returns. `kill` ends the grace period. A lost database is waited for, never an error.
    pub async fn run(self, shutdown: CancellationToken, kill: CancellationToken) -> Result<()> {
        let _background = Background::start(&self.store, &self.config, &shutdown);
        while !shutdown.is_cancelled() {
            let Some(row) = self.register(&shutdown).await? else {
                break;
            };
            let running = Running::default();
            let beat_now = Arc::new(Notify::new());
            let heartbeat = Heartbeat {
                store: self.store.clone(),
                worker: row.id.clone(),
                lease: self.config.lease,
                running: running.clone(),
                now: beat_now.clone(),
            };
            let mut tasks = JoinSet::new();
            // The heartbeat is a task of its own: nothing that the claim loop waits for may delay it.
            let mut heartbeat = tokio::spawn(heartbeat.keep());
            tokio::select! {
                _ = &mut heartbeat => {}
                () = self.claim_until(&shutdown, &row.id, &running, &beat_now, &mut tasks) => {
                    tokio::select! {
                        _ = &mut heartbeat => {}
                        () = self.drain(&kill, &running, &mut tasks) => {}
                    }
                    heartbeat.abort();
                    self.leave(&row.id, &running).await;
                }
            }
            tasks.shutdown().await;
        }
        info!("The worker has stopped");
        Ok(())
    }

    async fn register(&self, shutdown: &CancellationToken) -> Result<Option<WorkerRow>> {
        let row = WorkerRow {
            id: domain::TaskId::generate().to_string(),
            host: self.config.host.clone(),
            pid: self.config.pid,
            agents: self.config.agents.clone(),
            serves: self
                .runner
                .registry
                .handlers()
                .flat_map(|(task_type, handler)| {
                    handler.resumes().iter().map(move |v| format!("{task_type}/{v}"))
                })
                .collect(),
        };
        loop {
            match self.store.register_worker(&row, self.config.lease).await {
                Ok(()) => {
                    info!(worker.id = %row.id, agents = ?row.agents, serves = ?row.serves, "The worker is ready");
                    return Ok(Some(row));
                }
                Err(error) if error.is_transient() => {
                    warn!(error = %error, "Could not register the worker; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => return Ok(None),
                        () = tokio::time::sleep(self.config.poll) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn claim_until(
        &self,
        shutdown: &CancellationToken,
        worker: &str,
        running: &Running,
        beat_now: &Notify,
        tasks: &mut JoinSet<()>,
    ) {
        let mut tidy = tokio::time::interval(self.config.housekeeping);
        // A moment and not a pause: housekeeping between two looks does not put the next one off.
        let mut next_look = Instant::now();
        // Whether the table may say that we run what we know nothing of.
        let mut in_doubt = false;
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {
                    // Whatever else has ended by now makes room for the same claim.
                    while tasks.try_join_next().is_some() {}
                }
                () = self.wake.notified() => {
                    if running.len() > 0 {
                        beat_now.notify_one();
                    }
                    self.wake_waiters().await;
                }
                () = tokio::time::sleep_until(next_look) => self.wake_waiters().await,
                _ = tidy.tick() => {
                    self.tidy().await;
                    self.wake_waiters().await;
                    // A claim that was given up here may have been carried out much later.
                    self.release_strays(worker, running).await;
                    continue;
                }
            }
            if in_doubt && !self.release_strays(worker, running).await {
                next_look = Instant::now() + self.config.poll;
                continue;
            }
            let claimed = self.claim(worker, running, tasks).await;
            in_doubt = claimed.is_none();
            next_look = Instant::now() + claimed.unwrap_or(self.config.poll);
        }
    }

    /// Hands back what was claimed for us without our having heard of it. Called between two claims.
    async fn release_strays(&self, worker: &str, running: &Running) -> bool {
        match self.store.release_strays(worker, &running.leases()).await {
            Ok(0) => true,
            Ok(tasks) => {
                warn!(tasks, "Handed back tasks whose claim was not answered");
                true
            }
            Err(error) => {
                warn!(error = %error, "Could not look for tasks whose claim was not answered; trying again");
                false
            }
        }
    }

    /// Fills the free slots. Answers how long to wait before looking again by itself; nothing when it is not known
    /// whether tasks were claimed.
    async fn claim(&self, worker: &str, running: &Running, tasks: &mut JoinSet<()>) -> Option<Duration> {
        let hears = self.hearing.as_ref().is_none_or(Hearing::now);
        let slow = if self.config.listens && hears {
            self.config.poll * 10
        } else {
            self.config.poll
        };
        let free = (self.config.slots as usize).saturating_sub(running.len());
        if free == 0 {
            return Some(slow);
        }
        let claim = self.claim_for(worker, free);
        match self.store.claim(&claim).await {
            Ok(claimed) => {
                let more = claimed.len() >= free;
                self.claimed.fetch_add(claimed.len() as u64, Ordering::Relaxed);
                metrics::counter!("longshore_tasks_claimed_total").increment(claimed.len() as u64);
                for claimed in claimed {
                    metrics::histogram!("longshore_task_wait_seconds").record(claimed.waited.as_secs_f64());
                    let cancel = CancelFlag::default();
                    if claimed.cancelled {
                        cancel.raise();
                    }
                    let lease = claimed.lease.clone();
                    running.add(lease.clone(), cancel.clone());
                    let (runner, ended, own) = (self.runner.clone(), running.clone(), lease.clone());
                    let abort = tasks.spawn(async move {
                        runner.run(claimed, cancel).await;
                        ended.remove(&own);
                    });
                    running.attach(&lease, abort);
                }
                if more {
                    return Some(slow);
                }
                Some(match self.store.next_due(&claim).await {
                    Ok(Some(due)) => due.min(slow),
                    Ok(None) => slow,
                    Err(_) => self.config.poll,
                })
            }
            Err(error) => {
                warn!(error = %error, "Could not claim tasks; trying again");
                None
            }
        }
    }

    fn claim_for(&self, worker: &str, free: usize) -> Claim {
        let served = self
            .runner
            .registry
            .handlers()
            .map(|(task_type, handler)| Served {
                task_type: task_type.to_owned(),
                version: handler.version(),
                resumes: handler.resumes().to_vec(),
                deadline: self.config.limits_of(task_type).deadline,
            })
            .collect();
        Claim {
            worker: worker.to_owned(),
            agents: self.config.agents.clone(),
            served,
            limit: u32::try_from(free).unwrap_or(u32::MAX),
            oldest: oldest_among(self.claimed.load(Ordering::Relaxed), free),
            max_depth: self.config.max_payload_depth,
        }
    }

    async fn wake_waiters(&self) {
        if let Err(error) = self.store.wake_waiters(&self.config.agents).await {
            warn!(error = %error, "Could not look for ended children; the next look will");
        }
    }

    async fn tidy(&self) {
        match self.store.housekeeping(self.config.orphaned_after).await {
            Ok(done) if done != store::Housekeeping::default() => info!(?done, "Tidied up"),
            Ok(_) => {}
            Err(error) => warn!(error = %error, "Could not tidy up; the next round will"),
        }
    }

    /// Waits for what runs, up to the grace period.
    async fn drain(&self, kill: &CancellationToken, running: &Running, tasks: &mut JoinSet<()>) {
        if running.len() > 0 {
            info!(
                tasks = running.len(),
                grace_s = self.config.grace.as_secs(),
                "Stopping: waiting for running tasks"
            );
        }
        let all_done = async { while tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = all_done => {}
            () = kill.cancelled() => {}
            () = tokio::time::sleep(self.config.grace) => {}
        }
    }

    /// Hands back what still runs, at once and without waiting for the lease's end.
    async fn leave(&self, worker: &str, running: &Running) {
        let left = running.drop_all();
        let goodbye = async {
            if !left.is_empty() {
                info!(tasks = left.len(), "Releasing tasks that did not end in time");
                self.store.release(&left).await?;
            }
            self.store.retire_worker(worker).await
        };
        match tokio::time::timeout(LAST_WORDS, goodbye).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = %error, "Could not hand tasks back; their lease will run out"),
            Err(_) => warn!("Could not hand tasks back in time; their lease will run out"),
        }
    }
}

/// How many of the next `free` claimed tasks have to be the oldest, so that one in [`FAIR`] of all is.
fn oldest_among(claimed: u64, free: usize) -> u32 {
    let due = (claimed + free as u64) / FAIR - claimed / FAIR;
    u32::try_from(due).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::oldest_among;

    #[test]
    fn one_of_sixteen_is_the_oldest_however_they_are_claimed() {
        for size in [1, 3, 16, 500] {
            let claims = (0..16 * 500).step_by(size);
            let oldest: u32 = claims.map(|claimed| oldest_among(claimed, size)).sum();
            let expected = (16 * 500_u32).div_ceil(size as u32) * size as u32 / 16;
            assert_eq!(oldest, expected, "claims of {size}");
        }
        assert_eq!((oldest_among(14, 1), oldest_among(15, 1)), (0, 1));
    }
}
