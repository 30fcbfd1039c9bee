use std::sync::Arc;
use std::time::{Duration, Instant};

use store::{Beat, Store};
use tokio::sync::Notify;
use tracing::{error, warn};

use crate::running::Running;

/// The least time between two heartbeats: how long a running task may not know of its cancel.
const BREATH: Duration = Duration::from_millis(100);

/// Keeps one worker's lease alive until it is lost: returns then, with everything that ran under it dropped.
pub(crate) struct Heartbeat {
    pub(crate) store: Store,
    pub(crate) worker: String,
    pub(crate) lease: Duration,
    pub(crate) running: Running,
    /// Asks for a beat now: somebody may have cancelled a task of ours.
    pub(crate) now: Arc<Notify>,
}

impl Heartbeat {
    pub(crate) async fn keep(self) {
        // Half of what is left where the last answer was slow. With nothing to lose it is enough to keep half.
        let soon = || {
            let half = self.running.lease.left() / 2;
            if self.running.len() == 0 {
                half
            } else {
                half.min(self.lease / 3)
            }
        };
        let mut wait = soon();
        let mut asked = Instant::now();
        loop {
            // Anybody's statement on the table asks for a beat: a flood of them is answered now and then.
            let asked_for = async {
                self.now.notified().await;
                tokio::time::sleep(BREATH.saturating_sub(asked.elapsed())).await;
            };
            // What begins runs under as much of the lease as if there had always been something.
            let due = async {
                let mut pause = wait;
                while tokio::time::timeout(pause, self.running.begun.notified())
                    .await
                    .is_ok()
                {
                    pause = self.running.lease.left().saturating_sub(self.lease * 2 / 3);
                }
            };
            tokio::select! {
                () = due => {}
                () = asked_for => {}
            }
            asked = Instant::now();
            let leases = self.running.leases();
            let left = self.running.lease.left();
            // On our own clock the lease is over at the latest when it is on Postgres's: it was asked for before.
            let beat =
                tokio::time::timeout(left, self.store.heartbeat(&self.worker, self.lease, &leases)).await;
            match beat {
                Ok(Ok(Beat::Alive { cancelled, lost })) => {
                    self.running.lease.prolong(asked, self.lease);
                    wait = soon();
                    cancelled.iter().for_each(|task| self.running.cancel(task));
                    for lease in lost {
                        if self.running.drop_lost(&lease) {
                            metrics::counter!("longshore_leases_lost_total").increment(1);
                            warn!(task.id = %lease.task, "Somebody else has a task that we ran; dropped it");
                        }
                    }
                }
                Ok(Err(error)) if !self.running.lease.left().is_zero() => {
                    warn!(error = %error, "Could not prolong the lease; trying again");
                    wait = (self.lease / 15).min(Duration::from_secs(1));
                }
                Ok(Ok(Beat::Expired) | Err(_)) | Err(_) => {
                    self.running.lease.end();
                    let dropped = self.running.drop_all();
                    metrics::counter!("longshore_leases_lost_total").increment(dropped.len() as u64);
                    error!(
                        tasks = dropped.len(),
                        "The worker's lease ran out; its tasks are dropped and it starts anew"
                    );
                    return;
                }
            }
        }
    }
}
