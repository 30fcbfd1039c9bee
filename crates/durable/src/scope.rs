use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Record, StepKey, StepKind, StepRef, Stop};

/// A sequence of steps that run one at a time: the run, the unwinding, a branch of either.
pub(crate) struct Scope {
    pub(crate) path: String,
    inner: Mutex<Inner>,
}

struct Inner {
    recorded: Vec<Record>,
    next: usize,
    asked: HashSet<String>,
    busy: bool,
    /// How often each resource was let go.
    let_go: HashMap<String, u32>,
    /// Once a handler has been told to stop, it is told the same again instead of going on out of order.
    stopped: Option<Stop>,
}

/// A step that was begun in this run; the scope is free again when it is dropped.
pub(crate) struct Open<'a> {
    pub(crate) at: StepRef,
    pub(crate) recorded: Option<Record>,
    scope: &'a Scope,
}

impl Scope {
    pub(crate) fn new(path: String, recorded: Vec<Record>) -> Self {
        let inner = Inner {
            recorded,
            next: 0,
            asked: HashSet::new(),
            busy: false,
            let_go: HashMap::new(),
            stopped: None,
        };
        Self {
            path,
            inner: Mutex::new(inner),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next step of this scope, with what is recorded of it. Holds the task when the code and the record
    /// disagree: guessing could do an effect twice.
    pub(crate) fn open(&self, key: &StepKey, kind: StepKind) -> Result<Open<'_>, Stop> {
        let mut inner = self.inner();
        if let Some(stop) = &inner.stopped {
            return Err(stop.clone());
        }
        let key = key.as_str();
        let disagreement = if inner.busy {
            Some(format!(
                "step {key:?} was begun while another step of scope {:?} was running; parallel work needs a branch",
                self.path
            ))
        } else if !inner.asked.insert(key.to_owned()) {
            Some(format!(
                "step {key:?} was asked for twice in scope {:?}; keys must be unique in a run",
                self.path
            ))
        } else {
            inner.recorded.get(inner.next).and_then(|record| {
                (record.at.key != key || record.kind != kind).then(|| {
                    format!(
                        "the journal has {} {:?} at place {} of scope {:?}, but the handler now asks for {} {key:?}; \
                         its code changed in a way that this task cannot follow",
                        record.kind.as_str(),
                        record.at.key,
                        record.at.seq,
                        self.path,
                        kind.as_str(),
                    )
                })
            })
        };
        if let Some(reason) = disagreement {
            let stop = Stop::Hold(reason);
            inner.stopped = Some(stop.clone());
            return Err(stop);
        }
        let recorded = inner.recorded.get(inner.next).cloned();
        let seq = i32::try_from(inner.next).unwrap_or(i32::MAX);
        inner.next += 1;
        inner.busy = true;
        Ok(Open {
            at: StepRef {
                scope: self.path.clone(),
                seq,
                key: key.to_owned(),
            },
            recorded,
            scope: self,
        })
    }

    /// The key of a lock's next step: a resource that was let go may be locked again.
    pub(crate) fn lock_key(&self, step: &str, resource: &str) -> StepKey {
        match self.inner().let_go.get(resource) {
            None => StepKey::from((step, resource)),
            Some(times) => StepKey::from(format!("{step}/{resource} ({})", times + 1)),
        }
    }

    pub(crate) fn let_go(&self, resource: &str) {
        *self.inner().let_go.entry(resource.to_owned()).or_default() += 1;
    }

    /// Whether the record has a step of this key at the place that is next.
    pub(crate) fn has_next(&self, key: &StepKey) -> bool {
        let inner = self.inner();
        let next = inner.recorded.get(inner.next);
        next.is_some_and(|record| record.at.key == key.as_str())
    }

    /// Remembers that the handler was told to stop. A permanent failure is not remembered: the handler may
    /// take it as an answer and go another way.
    pub(crate) fn stop(&self, stop: Stop) -> Stop {
        if !matches!(stop, Stop::Fail(_)) {
            self.inner().stopped = Some(stop.clone());
        }
        stop
    }

    /// Remembers that the handler was told to stop, whatever the reason.
    pub(crate) fn stop_for_good(&self, stop: Stop) -> Stop {
        self.inner().stopped = Some(stop.clone());
        stop
    }

    /// A recorded step that the handler ended without asking for.
    pub(crate) fn left_over(&self) -> Option<String> {
        let inner = self.inner();
        inner.recorded.get(inner.next).map(|record| record.at.key.clone())
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.scope.inner().busy = false;
    }
}
