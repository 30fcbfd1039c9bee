use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::TaskId;
use durable::{CancelFlag, Lease};
use store::{Claimed, LeaseClock};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The tasks that this worker runs right now, and the lease that they run under.
#[derive(Clone, Default)]
pub(crate) struct Running {
    entries: Arc<Mutex<Entries>>,
    pub(crate) lease: LeaseClock,
    /// Notified when something runs after nothing did.
    pub(crate) begun: Arc<Notify>,
}

#[derive(Default)]
struct Entries {
    tasks: HashMap<TaskId, Entry>,
    claims: HashMap<i64, Open>,
    /// Claims none of whose tasks runs any more.
    over: Vec<i64>,
}

/// A claim some of whose tasks run.
#[derive(Default)]
struct Open {
    left: usize,
    /// The lease on one of its tasks was lost, so that its row may say still that we run it: not for us to forget. Unknown to us
    /// from its end on, it is looked through among what was claimed without our having heard of it.
    in_doubt: bool,
}

impl Entries {
    fn add(&mut self, lease: Lease, claim: i64, cancel: CancelFlag) -> bool {
        self.claims.entry(claim).or_default().left += 1;
        let old = self.tasks.get(&lease.task).map(|entry| entry.lease.clone());
        let old = old.and_then(|old| self.take(&old, false));
        let (entry, is_new) = match old {
            Some(old) if old.lease == lease => (Entry { claim, ..old }, false),
            _ => (
                Entry {
                    lease,
                    claim,
                    cancel,
                    abort: None,
                },
                true,
            ),
        };
        self.tasks.insert(entry.lease.task.clone(), entry);
        is_new
    }

    fn take(&mut self, lease: &Lease, lost: bool) -> Option<Entry> {
        if self.tasks.get(&lease.task)?.lease != *lease {
            return None;
        }
        let entry = self.tasks.remove(&lease.task)?;
        if let Some(claim) = self.claims.get_mut(&entry.claim) {
            claim.left -= 1;
            claim.in_doubt |= lost;
            if claim.left == 0 {
                if !claim.in_doubt {
                    self.over.push(entry.claim);
                }
                self.claims.remove(&entry.claim);
            }
        }
        Some(entry)
    }
}

struct Entry {
    lease: Lease,
    claim: i64,
    cancel: CancelFlag,
    /// Known once the task is spawned.
    abort: Option<AbortHandle>,
}

impl Running {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers those that are new, with the flag of their cancel. One that runs already is not: a claim that Postgres lost in a
    /// crash and we did not was made anew.
    pub(crate) fn add(&self, claimed: Vec<Claimed>) -> Vec<(Claimed, CancelFlag)> {
        let mut entries = self.entries();
        if entries.tasks.is_empty() && !claimed.is_empty() {
            self.begun.notify_one();
        }
        let mut new = Vec::with_capacity(claimed.len());
        for claimed in claimed {
            let cancel = CancelFlag::default();
            if claimed.cancelled {
                cancel.raise();
            }
            if entries.add(claimed.lease.clone(), claimed.claim, cancel.clone()) {
                new.push((claimed, cancel));
            }
        }
        new
    }

    /// Makes spawned tasks abortable, unless they have ended already.
    pub(crate) fn attach(&self, spawned: Vec<(Lease, AbortHandle)>) {
        let mut entries = self.entries();
        for (lease, abort) in spawned {
            if let Some(entry) = entries
                .tasks
                .get_mut(&lease.task)
                .filter(|entry| entry.lease == lease)
            {
                entry.abort = Some(abort);
            }
        }
    }

    pub(crate) fn remove(&self, lease: &Lease, lost: bool) {
        self.entries().take(lease, lost);
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        let entries = self.entries();
        entries.tasks.values().map(|entry| entry.lease.clone()).collect()
    }

    /// The claims whose tasks run.
    pub(crate) fn claims(&self) -> Vec<i64> {
        self.entries().claims.keys().copied().collect()
    }

    /// The claims that are over, once.
    pub(crate) fn take_over(&self) -> Vec<i64> {
        std::mem::take(&mut self.entries().over)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().tasks.len()
    }

    pub(crate) fn cancel(&self, task: &TaskId) {
        if let Some(entry) = self.entries().tasks.get(task) {
            entry.cancel.raise();
        }
    }

    /// Drops a task whose lease is lost, in the middle of whatever it does. True when it was still running.
    pub(crate) fn drop_lost(&self, lease: &Lease) -> bool {
        let Some(entry) = self.entries().take(lease, true) else {
            return false;
        };
        if let Some(abort) = entry.abort {
            abort.abort();
        }
        true
    }

    /// Drops everything; answers what was running.
    pub(crate) fn drop_all(&self) -> Vec<Lease> {
        let entries = std::mem::take(&mut *self.entries());
        entries
            .tasks
            .into_values()
            .map(|entry| {
                if let Some(abort) = entry.abort {
                    abort.abort();
                }
                entry.lease
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(task: &str) -> Lease {
        Lease {
            task: task.into(),
            worker: "w".into(),
            attempt: 1,
        }
    }

    #[test]
    fn a_claim_is_over_with_its_last_task_unless_a_lease_was_lost() {
        let running = Running::default();
        for (task, claim) in [("a", 1), ("b", 1), ("c", 2), ("d", 2)] {
            assert!(running.entries().add(lease(task), claim, CancelFlag::default()));
        }
        running.remove(&lease("a"), false);
        running.remove(&lease("c"), true);
        assert!(running.take_over().is_empty());
        running.remove(&lease("b"), false);
        running.remove(&lease("d"), false);
        assert_eq!(running.take_over(), [1]);
        assert!(
            running.claims().is_empty(),
            "the other one is looked through as unknown"
        );
    }
}
