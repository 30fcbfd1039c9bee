use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Error, Result};

/// What one call of a fake suffers.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing happens, and the caller gets this error.
    Fail(Error),
    /// The effect happens, and the caller gets [`ErrorKind::Timeout`](domain::ErrorKind::Timeout).
    DoThenTimeout,
    /// Nothing happens and no answer ever comes.
    Hang,
    /// The effect happens and no answer ever comes.
    DoThenHang,
}

/// The faults that wait for calls of a fake, by operation. Clones share them.
#[derive(Debug)]
pub struct Faults<Op> {
    waiting: Arc<Mutex<VecDeque<(Op, Fault)>>>,
}

impl<Op> Clone for Faults<Op> {
    fn clone(&self) -> Self {
        Self {
            waiting: Arc::clone(&self.waiting),
        }
    }
}

impl<Op> Default for Faults<Op> {
    fn default() -> Self {
        Self {
            waiting: Arc::default(),
        }
    }
}

impl<Op: Copy + PartialEq + std::fmt::Debug> Faults<Op> {
    /// The next call of `op` that has no fault yet suffers this one.
    pub fn next(&self, op: Op, fault: Fault) {
        self.times(1, op, fault);
    }

    pub fn times(&self, count: usize, op: Op, fault: Fault) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(std::iter::repeat_n((op, fault), count));
    }

    /// How many faults have not struck yet.
    pub fn left(&self) -> usize {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Carries out `effect` as the next fault for `op` will have it.
    pub(super) async fn around<T>(&self, op: Op, effect: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.take(op) {
            None => effect(),
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::DoThenTimeout) => {
                effect()?;
                Err(Error::timeout(format!("no answer to {op:?}")))
            }
            Some(Fault::DoThenHang) => {
                effect()?;
                std::future::pending().await
            }
        }
    }

    fn take(&self, op: Op) -> Option<Fault> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let at = waiting.iter().position(|(of, _)| *of == op)?;
        waiting.remove(at).map(|(_, fault)| fault)
    }
}
