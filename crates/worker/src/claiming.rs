//! How a worker takes tasks from the table: how many at a time, and in which order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use durable::CancelFlag;
use futures_util::stream::{FuturesUnordered, StreamExt};
use store::{Claim, Claimed, Hearing, IdleLook, Served, Taken};
use tokio::task::JoinSet;
use tracing::warn;

use crate::Worker;
use crate::run::Runner;
use crate::running::Running;

/// Of so many claimed tasks one is the oldest that may run, so that a flood of high priority starves nothing.
const FAIR: u64 = 16;

/// While there is more than fits, a claim waits until this share of the slots is free, so that tasks that take no time are
/// not claimed one by one.
const WORTHWHILE: u32 = 8;

/// The most that one claim takes: while Postgres looks for the next ones, these are begun...
const CHUNK: u32 = 500;

/// ...by so many claims at once...
const AT_ONCE: usize = 2;

/// ...and so many before anything else is looked at.
const IN_A_ROW: u32 = 16;

/// What a look at the table gave.
pub(crate) struct Looked {
    /// How long to wait before looking again by itself.
    pub(crate) pause: Duration,
    /// There were as many tasks as free slots, so that there may be more.
    pub(crate) full: bool,
}

impl Worker {
    pub(crate) fn free(&self, running: &Running) -> u32 {
        self.config.slots.saturating_sub(count(running.len()))
    }

    /// How many slots are free when `taken` more are not, if so many are worth a claim while there is more than fits.
    pub(crate) fn worthwhile(&self, running: &Running, taken: u32) -> Option<u32> {
        let free = self.free(running).saturating_sub(taken);
        (free > 0 && free >= self.config.slots.div_ceil(WORTHWHILE)).then_some(free)
    }

    /// Begins what was just put into the table, as far as the oldest task need not come first. False when it is not known
    /// whether tasks were claimed.
    pub(crate) async fn claim_new(
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
    pub(crate) async fn claim(
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
