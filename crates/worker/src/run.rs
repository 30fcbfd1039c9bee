use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use domain::{Error, Report, TaskStatus};
use durable::{Attempt, CancelFlag, Journal, JournalError, Lease, Limits, Outcome, drive};
use store::{Claimed, LeaseClock, Recorder, Settle, Settled, Store, TaskJournal};
use tracing::{info, warn};

use crate::finisher::Finisher;
use crate::{Config, Registry, backoff};

/// What running one task needs.
pub(crate) struct Runner {
    pub(crate) store: Store,
    pub(crate) registry: Registry,
    pub(crate) config: Config,
    pub(crate) recorder: Recorder,
    pub(crate) finisher: Finisher,
}

impl Runner {
    /// Runs one claim to its written outcome; whether its lease was lost before.
    pub(crate) async fn run(&self, claimed: Claimed, cancel: CancelFlag, clock: &LeaseClock) -> bool {
        let started = Instant::now();
        let task_type = claimed.info.task_type.clone();
        info!(task.id = %claimed.info.id, task.type = %task_type, attempt = claimed.lease.attempt, "Running a task");
        let mut first = claimed.lease.attempt == 1;
        let outcome = loop {
            let told = cancel.is_raised();
            let outcome = self
                .attempt(&claimed, &cancel, clock, std::mem::take(&mut first))
                .await;
            if outcome == Outcome::LeaseLost {
                break "lease_lost";
            }
            let name = name_of(&outcome);
            match self.settle(&claimed, outcome).await {
                Settled::Written => break name,
                Settled::LeaseLost => break "lease_lost",
                // It was told of the cancel and could not begin to undo anything: a person must look.
                Settled::CancelRequested if told => {
                    match Box::pin(self.take_up_cancel(&claimed, clock)).await {
                        Ok(()) => {}
                        Err(JournalError::LeaseLost) => break "lease_lost",
                        Err(JournalError::Broken(error)) => {
                            warn!(task.id = %claimed.info.id, error = %error, "Could not take up a cancel; trying again");
                            tokio::time::sleep(self.config.poll).await;
                        }
                    }
                }
                Settled::CancelRequested => cancel.raise(),
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        metrics::counter!("longshore_task_runs_total", "type" => task_type.clone(), "outcome" => outcome)
            .increment(1);
        metrics::histogram!("longshore_task_run_seconds", "type" => task_type).record(seconds);
        let lost = outcome == "lease_lost";
        if lost {
            warn!(task.id = %claimed.info.id, "Lost the lease on a task; another worker goes on with it");
        } else {
            info!(task.id = %claimed.info.id, outcome, seconds, "Ran a task");
        }
        lost
    }

    /// Hands a task back that was dropped because of our own clock: Postgres may have prolonged the lease meanwhile, and nobody
    /// would look for the task while it holds. Does nothing to one that somebody else has.
    pub(crate) async fn give_up(&self, lease: &Lease) {
        if let Err(error) = self.store.release(std::slice::from_ref(lease)).await {
            warn!(task.id = %lease.task, error = %error, "Could not hand a task back; the lease's end will");
        }
    }

    fn journal(&self, claimed: &Claimed, clock: &LeaseClock) -> TaskJournal {
        TaskJournal::new(
            self.store.clone(),
            self.recorder.clone(),
            claimed.info.ticket.clone(),
        )
        .under(clock)
    }

    async fn attempt(
        &self,
        claimed: &Claimed,
        cancel: &CancelFlag,
        clock: &LeaseClock,
        first: bool,
    ) -> Outcome {
        let journal = Arc::new(self.journal(claimed, clock));
        let handler = match &claimed.refusal {
            Some(refusal) => Err(refusal.clone()),
            None => self.registry.find(&claimed.info.task_type),
        };
        let handler = match handler {
            Ok(handler) => handler,
            Err(refusal) => return Box::pin(refuse(claimed, journal.as_ref(), refusal)).await,
        };
        if claimed.crashes > self.config.max_crashes
            && !Box::pin(may_still_unwind(claimed, journal.as_ref())).await
        {
            return Outcome::Hold(format!(
                "{} workers died while they ran this task; look at their logs before it is tried again",
                claimed.crashes
            ));
        }
        let limits = self.config.limits_of(&claimed.info.task_type);
        let limits = Limits {
            failures: claimed.failures,
            max_attempts: claimed.max_attempts.unwrap_or(limits.max_attempts),
            run: limits.run,
            left: claimed.left,
            cancel_grace: self.config.cancel_grace,
        };
        let attempt = Attempt {
            task: claimed.info.clone(),
            lease: claimed.lease.clone(),
            first,
            journal,
            cancel: cancel.clone(),
            limits,
        };
        drive(&handler, attempt).await
    }

    async fn take_up_cancel(&self, claimed: &Claimed, clock: &LeaseClock) -> Result<(), JournalError> {
        let journal = self.journal(claimed, clock);
        durable::take_up_cancel(&journal, &claimed.lease).await
    }

    /// Writes the outcome. While the database is away this waits for it: the heartbeat drops us when the
    /// lease runs out meanwhile.
    async fn settle(&self, claimed: &Claimed, outcome: Outcome) -> Settled {
        let delay = match &outcome {
            Outcome::Retry(error) => {
                let limits = self.config.limits_of(&claimed.info.task_type);
                backoff::delay(&self.config, limits, claimed.failures, error)
            }
            _ => Duration::ZERO,
        };
        let ends = matches!(outcome, Outcome::Ended { .. });
        let mut settle = Arc::new(Settle {
            lease: claimed.lease.clone(),
            parent: claimed.info.parent.clone(),
            ticket: claimed.info.ticket.clone(),
            outcome,
            delay,
        });
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(1))
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            let written = if ends {
                self.finisher.finish(settle.clone()).await
            } else {
                Box::pin(self.store.park(&settle)).await
            };
            match written {
                Ok(settled) => return settled,
                Err(error)
                    if !ends && !error.is_transient() && !matches!(settle.outcome, Outcome::Hold(_)) =>
                {
                    Arc::make_mut(&mut settle).outcome =
                        Outcome::Hold(format!("how it stands could not be stored: {error}"));
                }
                Err(error) => {
                    warn!(task.id = %claimed.info.id, error = %error, "Could not write a task's outcome; trying again");
                    tokio::time::sleep(delays.next().unwrap_or(Duration::from_secs(1))).await;
                }
            }
        }
    }
}

/// A task that cannot run fails at its first attempt; one that has done something already is for a person.
async fn refuse(claimed: &Claimed, journal: &TaskJournal, refusal: Error) -> Outcome {
    match journal.history(&claimed.lease).await {
        Ok(steps) if steps.is_empty() && claimed.cancelled => {
            return Outcome::Ended {
                status: TaskStatus::Cancelled,
                report: Box::new(durable::Cause::Cancelled.report()),
                error: None,
            };
        }
        Ok(steps) if steps.is_empty() => {}
        Ok(_) => return Outcome::Hold(format!("the task was started, but now {refusal}")),
        Err(durable::JournalError::LeaseLost) => return Outcome::LeaseLost,
        Err(durable::JournalError::Broken(error)) => return Outcome::Retry(error),
    }
    let mut report = Report::failed(&refusal);
    report.who.clone_from(&claimed.info.created_by);
    Outcome::Ended {
        status: TaskStatus::Failed,
        report: Box::new(report),
        error: Some(refusal),
    }
}

/// Undoing is other code than that which its workers died of; it gets one attempt.
async fn may_still_unwind(claimed: &Claimed, journal: &TaskJournal) -> bool {
    claimed.cancelled
        && journal
            .history(&claimed.lease)
            .await
            .is_ok_and(|steps| steps.iter().all(|step| step.at.scope != "unwind"))
}

fn name_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Ended { status, .. } => status.as_str(),
        Outcome::Park(_) => "parked",
        Outcome::Retry(_) => "retried",
        Outcome::Hold(_) => "held",
        Outcome::LeaseLost => "lease_lost",
    }
}
