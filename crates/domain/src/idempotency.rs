use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The identity of one step of one task: the same on every attempt, different for every step.
///
/// A step's closure hands it to whatever it calls. Far sides that honour idempotency keys get [`Idem::key`];
/// memory ports stage their records on it, and these commit in the transaction of the step's *done* row.
#[derive(Clone, Debug)]
pub struct Idem {
    key: Arc<str>,
    staged: Arc<Mutex<Vec<Staged>>>,
}

/// A record that a memory port wants written together with the step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Staged {
    /// Which memory it belongs to, as its port names it: `flake`, `deployment`…
    pub memory: String,
    pub record: Value,
}

impl Idem {
    pub fn new(key: impl Into<Arc<str>>) -> Self {
        Self {
            key: key.into(),
            staged: Arc::default(),
        }
    }

    /// `TASK/SCOPE/KEY`: stable over attempts and workers.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Keeps a record until the step is done. Dropped with the step when it fails.
    pub fn stage(&self, memory: &str, record: Value) {
        let mut staged = self.staged.lock().unwrap_or_else(PoisonError::into_inner);
        staged.push(Staged {
            memory: memory.to_owned(),
            record,
        });
    }

    /// Takes what was staged; the journal calls this once, when the step is done.
    pub fn take_staged(&self) -> Vec<Staged> {
        std::mem::take(&mut *self.staged.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
