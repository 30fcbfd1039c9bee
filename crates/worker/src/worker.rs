use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use domain::Result;
use store::{Hearing, Recorder, Store, Taken, WorkerRow};
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

/// While there may be more, a slot is free for so long at most.
const LINGER: Duration = Duration::from_millis(5);

/// How long a release at the very end may take before the lease's end does the same.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Claims tasks and runs them until it is told to stop.
pub struct Worker {
    pub(crate) store: Store,
    pub(crate) runner: Arc<Runner>,
    pub(crate) config: Config,
    wake: Arc<Notify>,
    pub(crate) hearing: Option<Hearing>,
    /// How many tasks it has claimed.
    pub(crate) claimed: AtomicU64,
}

impl Worker {
    /// `wake` is notified when the table may have work: by the store's listener, by whoever inserts in this
    /// process.
    pub fn new(store: Store, registry: Registry, config: Config, wake: Arc<Notify>) -> Self {
        let finisher = Finisher::start(store.clone());
        let runner = Runner {
            recorder: Recorder::start(store.clone()),
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

    /// Says where to see whether notifications come, and what new tasks they name; while none come, the table is looked at as
    /// without `LISTEN`.
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
            let running = Running::default();
            let Some(row) = self.register(&shutdown, &running).await? else {
                break;
            };
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
                    self.leave(&row.id, &running, &mut tasks).await;
                }
            }
            tasks.shutdown().await;
        }
        info!("The worker has stopped");
        Ok(())
    }

    async fn register(&self, shutdown: &CancellationToken, running: &Running) -> Result<Option<WorkerRow>> {
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
            let asked = std::time::Instant::now();
            match self.store.register_worker(&row, self.config.lease).await {
                Ok(()) => {
                    running.lease.prolong(asked, self.config.lease);
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
        let taken = Taken::default();
        // Whether the last claim found as much as it wanted, or might have, and how long the free slots wait for more.
        let mut full = true;
        let mut linger: Option<Instant> = None;
        // When the tasks that wait for others' were last looked at.
        let mut woken = Instant::now();
        loop {
            if shutdown.is_cancelled() {
                return;
            }
            // Whether others may have ended what a parked task of ours waits for.
            let mut waiters = false;
            // Whether somebody has just written to the table.
            let mut told = false;
            // In any order: tasks may end without end, and housekeeping may have no pause.
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tidy.tick() => {
                    self.tidy().await;
                    // A claim that was given up here may have been carried out much later.
                    self.release_strays(worker, running).await;
                    continue;
                }
                () = self.wake.notified() => {
                    if running.len() > 0 {
                        beat_now.notify_one();
                    }
                    (waiters, told) = (true, true);
                }
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {
                    // Whatever else has ended by now makes room for the same claim.
                    while tasks.try_join_next().is_some() {}
                    if full && self.worthwhile(running, 0).is_none() {
                        linger.get_or_insert_with(|| Instant::now() + LINGER);
                        continue;
                    }
                    waiters = woken.elapsed() >= self.config.poll;
                }
                () = tokio::time::sleep_until(linger.unwrap_or(next_look)), if linger.is_some() => {}
                () = tokio::time::sleep_until(next_look) => waiters = true,
            }
            if in_doubt && !self.release_strays(worker, running).await {
                next_look = Instant::now() + self.config.poll;
                continue;
            }
            linger = None;
            let new = self.hearing.as_ref().map(Hearing::new_tasks).unwrap_or_default();
            if !full && !self.claim_new(&new, worker, running, tasks).await {
                in_doubt = true;
                next_look = Instant::now() + self.config.poll;
                continue;
            }
            // After a look that failed, what can be claimed is claimed whatever else there is to look for.
            let idle = waiters && !told && running.len() == 0 && !in_doubt;
            let mut claimed = self.claim(worker, running, tasks, &taken, idle).await;
            // After the claim, which is waited for; what is woken is for another one.
            if waiters {
                woken = Instant::now();
            }
            if waiters && !idle && self.wake_waiters().await && claimed.is_some() {
                claimed = self.claim(worker, running, tasks, &taken, false).await;
            }
            in_doubt = claimed.is_none();
            full = claimed.as_ref().is_none_or(|claimed| claimed.full);
            next_look = Instant::now() + claimed.map_or(self.config.poll, |claimed| claimed.pause);
            // More waits than was taken, and slots are free, if too few for a claim at once: no task need end for them.
            if full && !in_doubt && self.free(running) > 0 {
                linger = Some(Instant::now() + LINGER);
            }
        }
    }

    /// Hands back what was claimed for us without our having heard of it. Called while no claim is under way.
    async fn release_strays(&self, worker: &str, running: &Running) -> bool {
        match self
            .store
            .release_strays(worker, &running.claims(), &running.leases())
            .await
        {
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

    /// True when somebody was woken.
    async fn wake_waiters(&self) -> bool {
        match self.store.wake_waiters(&self.config.agents).await {
            Ok(woken) => woken > 0,
            Err(error) => {
                warn!(error = %error, "Could not look for ended children; the next look will");
                false
            }
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
    async fn leave(&self, worker: &str, running: &Running, tasks: &mut JoinSet<()>) {
        running.lease.end();
        let left = running.drop_all();
        let goodbye = async {
            // What is handed back may be run by somebody else at once.
            tasks.shutdown().await;
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
