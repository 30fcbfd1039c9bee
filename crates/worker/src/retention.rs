use std::time::Duration;

use store::Store;
use tracing::{info, warn};

/// Between two steps while there is more to delete: other statements come first.
const BREATH: Duration = Duration::from_millis(100);
/// Between two looks when all is done, at most and at least.
const LONGEST: Duration = Duration::from_secs(600);
const SHORTEST: Duration = Duration::from_secs(1);

/// Deletes what was over for long.
#[derive(Clone)]
pub(crate) struct Retention {
    pub(crate) store: Store,
    pub(crate) agents: Vec<String>,
    pub(crate) keep: Duration,
}

impl Retention {
    /// Never returns; dropped at any moment it leaves nothing half done.
    pub(crate) async fn keep(self) {
        let pause = (self.keep / 20).clamp(SHORTEST, LONGEST);
        loop {
            let (mut tasks, mut events) = (0, 0);
            loop {
                match self.store.sweep(&self.agents, self.keep).await {
                    Ok(swept) => {
                        tasks += swept.tasks;
                        events += swept.events;
                        if !swept.more {
                            break;
                        }
                    }
                    Err(error) => {
                        warn!(error = %error, "Could not delete old tasks; the next round will");
                        break;
                    }
                }
                tokio::time::sleep(BREATH).await;
            }
            if tasks + events > 0 {
                metrics::counter!("longshore_tasks_deleted_total").increment(tasks);
                info!(tasks, events, "Deleted what was over for long");
            }
            tokio::time::sleep(pause).await;
        }
    }
}
