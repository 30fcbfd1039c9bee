use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use domain::{Result, TaskId};

use super::Faults;
use crate::Cancels;

/// By task and name.
type Signals = dyn Fn(&TaskId, &str) + Send + Sync;

/// Hands what is asked to a table in memory.
#[derive(Clone)]
pub struct FakeCancels {
    table: Arc<dyn Fn(&TaskId) + Send + Sync>,
    signals: Arc<Signals>,
    faults: Faults<CancelOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelOp {
    Cancel,
    Signal,
}

impl FakeCancels {
    /// `table` cancels a task if it is there and not over, `signals` sends it a signal likewise.
    pub fn over(
        table: impl Fn(&TaskId) + Send + Sync + 'static,
        signals: impl Fn(&TaskId, &str) + Send + Sync + 'static,
    ) -> Self {
        Self {
            table: Arc::new(table),
            signals: Arc::new(signals),
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
}
