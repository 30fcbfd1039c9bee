use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use domain::{Result, TaskId};

use super::Faults;
use crate::{Cancels, Paused};

/// By task and name.
type Signals = dyn Fn(&TaskId, &str) + Send + Sync;
type Pauses = dyn Fn(&TaskId) -> Option<Paused> + Send + Sync;

/// Hands what is asked to a table in memory.
#[derive(Clone)]
pub struct FakeCancels {
    table: Arc<dyn Fn(&TaskId) + Send + Sync>,
    signals: Arc<Signals>,
    paused: Arc<Pauses>,
    faults: Faults<CancelOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelOp {
    Cancel,
    Signal,
    Paused,
}

impl FakeCancels {
    /// `table` cancels a task if it is there and not over, `signals` sends it a signal likewise, `paused` says whether a person
    /// paused it.
    pub fn over(
        table: impl Fn(&TaskId) + Send + Sync + 'static,
        signals: impl Fn(&TaskId, &str) + Send + Sync + 'static,
        paused: impl Fn(&TaskId) -> Option<Paused> + Send + Sync + 'static,
    ) -> Self {
        Self {
            table: Arc::new(table),
            signals: Arc::new(signals),
            paused: Arc::new(paused),
            faults: Faults::default(),
        }
    }

    pub fn faults(&self) -> &Faults<CancelOp> {
        &self.faults
    }
}

impl fmt::Debug for FakeCancels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.faults.fmt(f)
    }
}

#[async_trait]
impl Cancels for FakeCancels {
    async fn cancel(&self, task: &TaskId) -> Result<()> {
        let effect = || {
            (self.table)(task);
            Ok(())
        };
        self.faults.around(CancelOp::Cancel, effect).await
    }

    async fn signal(&self, task: &TaskId, name: &str) -> Result<()> {
        let effect = || {
            (self.signals)(task, name);
            Ok(())
        };
        self.faults.around(CancelOp::Signal, effect).await
    }

    async fn paused(&self, task: &TaskId) -> Result<Option<Paused>> {
        let look = || Ok((self.paused)(task));
        self.faults.around(CancelOp::Paused, look).await
    }
}
