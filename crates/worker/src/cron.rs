use std::time::{Duration, Instant};

use store::Store;
use tracing::{info, warn};

/// The least time between two looks: a run that another worker is firing at this moment is not looked at again and again.
const BREATH: Duration = Duration::from_millis(50);
/// Of so many looks for changes one asks whether the clock was set back, which is seldom.
const RECOUNT: u32 = 5;
/// Until another try after a fault.
const AGAIN: Duration = Duration::from_secs(5);

/// Fires schedules. It remembers when the next one is due, and asks in between only to learn of changes.
#[derive(Clone)]
pub(crate) struct Cron {
    pub(crate) store: Store,
    /// How long after a change of the schedules it may be noticed.
    pub(crate) every: Duration,
}

impl Cron {
    /// Never returns; dropped at any moment it leaves nothing half done.
    pub(crate) async fn keep(self) {
        let mut recounted: Option<Instant> = None;
        loop {
            if recounted.is_none_or(|at| at.elapsed() >= self.every * RECOUNT) && self.recount().await {
                recounted = Some(Instant::now());
            }
            tokio::time::sleep(self.look().await).await;
        }
    }

    /// The database's clock may have been set back. False when it could not be asked.
    async fn recount(&self) -> bool {
        match self.store.recount_schedules().await {
            Ok(schedules) => {
                for name in schedules {
                    warn!(schedule.name = %name, "The clock was set back: a schedule's next run is counted anew");
                }
                true
            }
            Err(error) => {
                warn!(error = %error, "Could not look for schedules that an earlier clock planned; looking again");
                false
            }
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
                for (schedule, error) in &fired.failed {
                    warn!(schedule.name = %schedule, error = %error, "Could not fire a schedule; trying again");
                }
                let longest = if fired.failed.is_empty() {
                    self.every
                } else {
                    self.every.min(AGAIN)
                };
                fired
                    .next
                    .map_or(longest, |next| next.clamp(BREATH.min(longest), longest))
            }
            Err(error) => {
                warn!(error = %error, "Could not look at the schedules; trying again");
                self.every.min(AGAIN)
            }
        }
    }
}
