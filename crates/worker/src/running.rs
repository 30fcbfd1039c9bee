use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::TaskId;
use durable::{CancelFlag, Lease};
use tokio::task::AbortHandle;

/// The tasks that this worker runs right now.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<HashMap<TaskId, Entry>>>);

struct Entry {
    lease: Lease,
    cancel: CancelFlag,
    /// Known once the task is spawned.
    abort: Option<AbortHandle>,
}

impl Running {
    fn entries(&self) -> MutexGuard<'_, HashMap<TaskId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, lease: Lease, cancel: CancelFlag) {
        self.entries().insert(
            lease.task.clone(),
            Entry {
                lease,
                cancel,
                abort: None,
            },
        );
    }

    /// Makes a spawned task abortable, unless it has ended already.
    pub(crate) fn attach(&self, lease: &Lease, abort: AbortHandle) {
        if let Some(entry) = self
            .entries()
            .get_mut(&lease.task)
            .filter(|entry| entry.lease == *lease)
        {
            entry.abort = Some(abort);
        }
    }

    pub(crate) fn remove(&self, lease: &Lease) {
        let mut entries = self.entries();
        if entries
            .get(&lease.task)
            .is_some_and(|entry| entry.lease == *lease)
        {
            entries.remove(&lease.task);
        }
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.entries().values().map(|entry| entry.lease.clone()).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries().len()
    }

    pub(crate) fn cancel(&self, task: &TaskId) {
        if let Some(entry) = self.entries().get(task) {
            entry.cancel.raise();
        }
    }

    /// Drops a task whose lease is lost, in the middle of whatever it does. True when it was still running.
    pub(crate) fn drop_lost(&self, lease: &Lease) -> bool {
        let mut entries = self.entries();
        if entries.get(&lease.task).is_none_or(|entry| entry.lease != *lease) {
            return false;
        }
        if let Some(Entry {
            abort: Some(abort), ..
        }) = entries.remove(&lease.task)
        {
            abort.abort();
        }
        true
    }

    /// Drops everything; answers what was running.
    pub(crate) fn drop_all(&self) -> Vec<Lease> {
        let entries: Vec<Entry> = self.entries().drain().map(|(_, entry)| entry).collect();
        entries
            .into_iter()
            .map(|entry| {
                if let Some(abort) = entry.abort {
                    abort.abort();
                }
                entry.lease
            })
            .collect()
    }
}
