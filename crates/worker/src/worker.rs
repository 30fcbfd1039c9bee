use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::Result;
use durable::CancelFlag;
use futures_util::stream::{FuturesUnordered, StreamExt};
use store::{Claim, Claimed, Hearing, IdleLook, Recorder, Served, Store, Taken, WorkerRow};
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

/// While there is more than fits, a claim waits until this share of the slots is free, so that tasks that take no time are
/// not claimed one by one...
const WORTHWHILE: u32 = 8;

/// ...but a slot is free for so long at most.
const LINGER: Duration = Duration::from_millis(5);

/// The most that one claim takes: while Postgres looks for the next ones, these are begun...
const CHUNK: u32 = 500;

/// ...by so many claims at once...
const AT_ONCE: usize = 2;

/// ...and so many before anything else is looked at.
const IN_A_ROW: u32 = 16;

/// How long a release at the very end may take before the lease's end does the same.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a look at the table gave.
struct Looked {
    /// How long to wait before looking again by itself.
    pause: Duration,
    /// There were as many tasks as free slots, so that there may be more.
    full: bool,
}

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

    fn free(&self, running: &Running) -> u32 {
        self.config.slots.saturating_sub(count(running.len()))
    }

    /// How many slots are free when `taken` more are not, if so many are worth a claim while there is more than fits.
    fn worthwhile(&self, running: &Running, taken: u32) -> Option<u32> {
        let free = self.free(running).saturating_sub(taken);
        (free > 0 && free >= self.config.slots.div_ceil(WORTHWHILE)).then_some(free)
    }

    /// Begins what was just put into the table, as far as the oldest task need not come first. False when it is not known
    /// whether tasks were claimed.
    async fn claim_new(
        &self,
        new: &[String],
        worker: &str,
        running: &Running,
        tasks: &mut JoinSet<()>,
    ) -> bool {
        let claimed = self.claimed.load(Ordering::Relaxed);
        let before_oldest = u32::try_from(FAIR - 1 - claimed % FAIR).unwrap_or(0);
        let limit = self.free(running).min(before_oldest);
        if new.is_empty() || limit == 0 {
            return true;
        }
        let claim = self.claim_for(worker, limit, 0, Vec::new());
        match self.store.claim_new(&claim, new).await {
            Ok(claimed) => {
                self.note(&claimed);
                self.start(claimed, running, tasks);
                true
            }
            Err(error) => {
                warn!(error = %error, "Could not claim new tasks; trying again");
                false
            }
        }
    }

    fn note(&self, claimed: &[Claimed]) {
        self.claimed.fetch_add(claimed.len() as u64, Ordering::Relaxed);
        metrics::counter!("longshore_tasks_claimed_total").increment(claimed.len() as u64);
        let waits = metrics::histogram!("longshore_task_wait_seconds");
        for claimed in claimed {
            waits.record(claimed.waited.as_secs_f64());
        }
    }

    /// Runs what was claimed.
    fn start(&self, claimed: Vec<Claimed>, running: &Running, tasks: &mut JoinSet<()>) {
        let mut begun = Vec::with_capacity(claimed.len());
        for (claimed, cancel) in running.add(claimed) {
            let lease = claimed.lease.clone();
            let (runner, running) = (self.runner.clone(), running.clone());
            // Its room is taken where it runs: to spawn it moves what it is given, and no more.
            let abort =
                tasks.spawn(async move { Box::pin(run_task(runner, claimed, cancel, running)).await });
            begun.push((lease, abort));
        }
        running.attach(begun);
    }

    /// Fills the free slots; an `idle` worker looks for tasks to wake as well. Answers nothing when it is not known whether
    /// tasks were claimed.
    async fn claim(
        &self,
        worker: &str,
        running: &Running,
        tasks: &mut JoinSet<()>,
        taken: &Taken,
        idle: bool,
    ) -> Option<Looked> {
        let hears = self.hearing.as_ref().is_none_or(Hearing::now);
        let slow = || {
            // Under a limit the end of anybody's task may make room here, and nobody notifies of that.
            if self.config.listens && hears && !self.store.is_ruled() {
                self.config.poll * 10
            } else {
                self.config.poll
            }
        };
        let free = self.free(running);
        if free == 0 {
            return Some(Looked {
                pause: slow(),
                full: true,
            });
        }
        // Whether nothing can have been passed by, here or by others of ours.
        let mut saw_all = taken.is_empty();
        let first = self.claim_for(worker, free.min(CHUNK), 0, running.take_over());
        let limit = first.limit;
        let (mut found, due) = if idle {
            self.looked_by(first, taken).await?
        } else {
            (self.claimed_by(first, taken).await?, None)
        };
        let mut full = found.len() >= limit as usize;
        let mut under_way = FuturesUnordered::new();
        // How many tasks those under way may take, how many may follow, whether all were answered.
        let (mut asked, mut left, mut answered) = (0, IN_A_ROW - 1, true);
        // Under rules they would wait for each other.
        let at_once = if self.store.is_ruled() { 1 } else { AT_ONCE };
        loop {
            while answered
                && full
                && left > 0
                && under_way.len() < at_once
                && let Some(free) = self.worthwhile(running, count(found.len()) + asked)
            {
                let claim = self.claim_for(worker, free.min(CHUNK), asked, running.take_over());
                let limit = claim.limit;
                left -= 1;
                asked += limit;
                saw_all = false;
                under_way.push(async move { (limit, self.claimed_by(claim, taken).await) });
            }
            let begin = async { self.start(std::mem::take(&mut found), running, tasks) };
            // In this order: claims are sent before the last one's tasks are begun.
            let (next, ()) = tokio::join!(biased; under_way.next(), begin);
            while tasks.try_join_next().is_some() {}
            let Some((limit, next)) = next else {
                break;
            };
            asked -= limit;
            answered &= next.is_some();
            found = next.unwrap_or_default();
            full &= found.len() >= limit as usize;
        }
        let pause = if !answered {
            return None;
        } else if full && self.worthwhile(running, 0).is_some() {
            Duration::ZERO
        } else if full {
            slow()
        } else if !saw_all {
            // A claim locks more than it takes, and others go on behind that: what was passed by is looked for by one alone.
            taken.forget();
            Duration::ZERO
        } else {
            let due = match due {
                Some(due) => Ok(due),
                None => {
                    let claim = self.claim_for(worker, CHUNK, 0, Vec::new());
                    self.store.next_due(&claim).await
                }
            };
            match due {
                Ok(Some(due)) => due.min(slow()),
                Ok(None) => slow(),
                Err(_) => self.config.poll,
            }
        };
        Some(Looked { pause, full })
    }

    /// Also when something is due next, where it took nothing.
    async fn looked_by(
        &self,
        claim: Claim,
        taken: &Taken,
    ) -> Option<(Vec<Claimed>, Option<Option<Duration>>)> {
        let look = Box::pin(self.store.idle_look(&claim, taken)).await;
        let IdleLook { claimed, due } = look
            .inspect_err(|error| warn!(error = %error, "Could not look for tasks; trying again"))
            .ok()?;
        let due = claimed.is_empty().then_some(due);
        self.note(&claimed);
        Some((claimed, due))
    }

    /// Nothing when it is not known what it took.
    async fn claimed_by(&self, claim: Claim, taken: &Taken) -> Option<Vec<Claimed>> {
        let claimed = self.store.claim(&claim, taken).await;
        let claimed = claimed
            .inspect_err(|error| warn!(error = %error, "Could not claim tasks; trying again"))
            .ok()?;
        self.note(&claimed);
        Some(claimed)
    }

    /// `asked` is how many tasks claims under way may take.
    fn claim_for(&self, worker: &str, free: u32, asked: u32, over: Vec<i64>) -> Claim {
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
            limit: free,
            oldest: oldest_among(self.claimed.load(Ordering::Relaxed) + u64::from(asked), free),
            max_depth: self.config.max_payload_depth,
            over,
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

/// Each task has room for all of this while it runs, so what happens to few is boxed.
async fn run_task(runner: Arc<Runner>, claimed: Claimed, cancel: CancelFlag, running: Running) {
    let lease = claimed.lease.clone();
    let lost = runner.run(claimed, cancel, &running.lease).await;
    if lost {
        Box::pin(runner.give_up(&lease)).await;
    }
    running.remove(&lease, lost);
}

/// How many of the next `free` claimed tasks have to be the oldest, so that one in [`FAIR`] of all is.
fn oldest_among(claimed: u64, free: u32) -> u32 {
    let due = (claimed + u64::from(free)) / FAIR - claimed / FAIR;
    u32::try_from(due).unwrap_or(u32::MAX)
}

fn count(tasks: usize) -> u32 {
    u32::try_from(tasks).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_sixteen_is_the_oldest_however_they_are_claimed() {
        for size in [1, 3, 16, 500] {
            let claims = (0..16 * 500).step_by(size as usize);
            let oldest: u32 = claims.map(|claimed| oldest_among(claimed, size)).sum();
            let expected = (16 * 500_u32).div_ceil(size) * size / 16;
            assert_eq!(oldest, expected, "claims of {size}");
        }
        assert_eq!((oldest_among(14, 1), oldest_among(15, 1)), (0, 1));
    }

    #[test]
    fn a_running_task_takes_little_room() {
        fn room<F>(_: fn(Arc<Runner>, Claimed, CancelFlag, Running) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = room(run_task);
        assert!(bytes <= 4096, "{bytes} bytes: box what happens to few tasks");
    }
}
