use std::time::Duration;

use store::Store;
use tracing::{info, warn};

/// The least time between two looks: a run that another worker is firing at this moment is not looked at again and again.
const BREATH: Duration = Duration::from_millis(50);

/// Fires schedules. It remembers when the next one is due, and asks in between only to learn of changes.
pub(crate) struct Cron {
    pub(crate) store: Store,
    /// How long after a change of the schedules it may be noticed.
    pub(crate) every: Duration,
}

impl Cron {
    /// Never returns; dropped at any moment it leaves nothing half done.
    pub(crate) async fn keep(self) {
        loop {
            tokio::time::sleep(self.look().await).await;
        }
    }

    /// Answers how long to wait.
    async fn look(&self) -> Duration {
        match self.store.fire_schedules().await {
            Ok(fired) => {
                for (schedule, task) in &fired.made {
                    metrics::counter!("longshore_schedules_fired_total").increment(1);
                    info!(schedule.name = %schedule, task.id = %task, "A schedule made its task");
                }
                for (schedule, why) in &fired.skipped {
                    metrics::counter!("longshore_schedules_skipped_total").increment(1);
                    warn!(schedule.name = %schedule, why = %why, "A schedule's run made no task");
                }
                fired
                    .next
                    .map_or(self.every, |next| next.clamp(BREATH.min(self.every), self.every))
            }
            Err(error) => {
                warn!(error = %error, "Could not look at the schedules; trying again");
                self.every.min(Duration::from_secs(5))
            }
        }
    }
}
