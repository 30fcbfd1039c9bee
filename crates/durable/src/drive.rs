use std::sync::Arc;
use std::time::Duration;

use domain::{Error, Report, TaskInfo, TaskStatus};

use crate::cx::{RUN, Shared, UNWIND};
use crate::panics::catch;
use crate::{
    AnyHandler, CancelFlag, Cause, Journal, JournalError, Lease, Recorded, StepKind, StepRef, Stop, TaskCx,
    Wake,
};

/// The first step of every unwinding.
const CAUSE: &str = "cause";
const HANDLER: &str = "the handler";

/// One claim of a task, ready to be run.
pub struct Attempt {
    pub task: Arc<TaskInfo>,
    pub lease: Lease,
    /// Nothing ever ran of the task, neither in an earlier claim nor in this one, so that its journal is empty and need not be
    /// read.
    pub first: bool,
    pub journal: Arc<dyn Journal>,
    pub cancel: CancelFlag,
    pub limits: Limits,
}

/// How long and how often a task may be tried.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Earlier attempts that stopped for a transient error.
    pub failures: u32,
    /// How many attempts may stop so before the task fails.
    pub max_attempts: u32,
    /// How long one run may last; a hung one is stopped and counts as a failed attempt.
    pub run: Duration,
    /// What is left until the task as a whole is late; nothing when it has no limit.
    pub left: Option<Duration>,
    /// How long a step may go on after a cancel before it is dropped.
    pub cancel_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            failures: 0,
            max_attempts: 5,
            run: Duration::from_secs(15 * 60),
            left: None,
            cancel_grace: Duration::from_secs(30),
        }
    }
}

/// How an attempt ended, and what is to be written of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The task is over.
    Ended {
        status: TaskStatus,
        report: Box<Report>,
        error: Option<Error>,
    },
    Park(Wake),
    Retry(Error),
    /// Parked for a person.
    Hold(String),
    /// Nothing may be written.
    LeaseLost,
}

/// Runs one attempt: the handler from the top over what the journal has, or its unwinding if that was begun.
pub async fn drive(handler: &AnyHandler, attempt: Attempt) -> Outcome {
    let Attempt {
        task,
        lease,
        first,
        journal,
        cancel,
        limits,
    } = attempt;
    let history = if first {
        Ok(Vec::new())
    } else {
        journal.history(&lease).await
    };
    let history = match history {
        Ok(history) => history,
        Err(JournalError::LeaseLost) => return Outcome::LeaseLost,
        Err(JournalError::Broken(error)) => return Outcome::Retry(error),
    };
    let untouched = history.is_empty();
    let cause = history
        .iter()
        .find(|record| record.at.scope == UNWIND && record.at.seq == 0);
    let cause = match cause.and_then(|record| record.outcome.clone()) {
        Some(Recorded::Ok(value)) => match serde_json::from_value::<Cause>(value) {
            Ok(cause) => Some(cause),
            Err(error) => {
                return Outcome::Hold(format!("the recorded cause of unwinding cannot be read: {error}"));
            }
        },
        _ => None,
    };
    let shared = Arc::new(Shared::new(task, lease, journal, cancel, history));

    let fits = catch(HANDLER, async { handler.check(&shared.task.payload) }).await;
    if let Err(error) = fits.flatten() {
        return Box::pin(unfit(&shared, error, untouched, cause)).await;
    }
    let cause = match cause {
        Some(cause) => cause,
        None => match run(handler, &shared, &limits).await {
            Ok(outcome) => return outcome,
            // What was to be cancelled ends as cancelled, however its run came to stop: a crash just here
            // would make the next attempt see nothing but the cancel.
            Err(_) if shared.cancel.is_raised() => Cause::Cancelled,
            Err(cause) => cause,
        },
    };
    Box::pin(unwind(handler, &shared, &limits, cause)).await
}

/// A payload that the handler cannot read: nothing can be done or undone with it.
async fn unfit(shared: &Arc<Shared>, error: Error, untouched: bool, cause: Option<Cause>) -> Outcome {
    let cancelled = shared.cancel.is_raised();
    if untouched && cancelled {
        return ended(&Cause::Cancelled, Cause::Cancelled.report());
    }
    if untouched {
        return ended(&Cause::Failure { error: error.clone() }, Report::failed(&error));
    }
    // The cancel is taken up, so that holding answers it.
    if cancelled
        && cause.is_none()
        && let Some(scope) = shared.scope(UNWIND)
        && let Err(outcome) = record_cause(&TaskCx::new(shared.clone(), scope), &Cause::Cancelled).await
    {
        return outcome;
    }
    Outcome::Hold(format!(
        "the payload was changed while the task was running: {error}"
    ))
}

/// The handler's own run. The error is the cause for which it is to be unwound.
async fn run(handler: &AnyHandler, shared: &Arc<Shared>, limits: &Limits) -> Result<Outcome, Cause> {
    if shared.cancel.is_raised() {
        return Err(Cause::Cancelled);
    }
    let late = || Cause::Deadline {
        error: Error::rejected("the task did not end within its time limit")
            .next("Look at its last step; raise the type's `deadline` if it needs longer"),
    };
    if limits.left.is_some_and(|left| left.is_zero()) {
        return Err(late());
    }
    let Some(scope) = shared.scope(RUN) else {
        return Ok(Outcome::Hold("the run's scope was opened twice".to_owned()));
    };
    let cx = TaskCx::new(shared.clone(), scope);
    let cancelled = async {
        shared.cancel.raised().await;
        tokio::time::sleep(limits.cancel_grace).await;
    };
    let deadline = async {
        match limits.left {
            Some(left) => tokio::time::sleep(left).await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        biased;
        result = catch(HANDLER, handler.run(&cx)) => result,
        () = cancelled => return Err(Cause::Cancelled),
        () = deadline => return Err(late()),
        () = tokio::time::sleep(limits.run) => Ok(Err(Stop::Retry(hung(limits)))),
    };
    match result {
        Err(error) => Err(Cause::Panic { error }),
        Ok(Ok(report)) => Ok(match shared.left_over(RUN) {
            Some(key) => Outcome::Hold(format!(
                "the handler ended without asking for the recorded step {key:?}; its code changed in a way that \
                 this task cannot follow"
            )),
            None => Outcome::Ended {
                status: TaskStatus::Completed,
                report: Box::new(report),
                error: None,
            },
        }),
        Ok(Err(stop)) => match stop {
            Stop::Park(wake) => Ok(Outcome::Park(wake)),
            Stop::Retry(error) if limits.failures + 1 < limits.max_attempts => Ok(Outcome::Retry(error)),
            Stop::Retry(error) => Err(Cause::Failure {
                error: gave_up(error, limits),
            }),
            Stop::Fail(error) => Err(Cause::Failure { error }),
            Stop::Hold(reason) => Ok(Outcome::Hold(reason)),
            Stop::Cancelled => Err(Cause::Cancelled),
            Stop::LeaseLost => Ok(Outcome::LeaseLost),
        },
    }
}

async fn unwind(handler: &AnyHandler, shared: &Arc<Shared>, limits: &Limits, cause: Cause) -> Outcome {
    let Some(scope) = shared.scope(UNWIND) else {
        return Outcome::Hold("the unwinding's scope was opened twice".to_owned());
    };
    let cx = TaskCx::new(shared.clone(), scope);
    if let Err(outcome) = record_cause(&cx, &cause).await {
        return outcome;
    }
    for child in shared.awaited().iter().filter(|_| cause == Cause::Cancelled) {
        match shared.journal.cancel_child(&shared.lease, child).await {
            Ok(()) => {}
            Err(JournalError::LeaseLost) => return Outcome::LeaseLost,
            Err(JournalError::Broken(error)) => return Outcome::Retry(error),
        }
    }
    let result = tokio::select! {
        biased;
        result = catch(HANDLER, handler.unwind(&cx, &cause)) => result,
        () = tokio::time::sleep(limits.run) => Ok(Err(Stop::Retry(hung(limits)))),
    };
    let hold = |error: &Error| Outcome::Hold(format!("undoing what was done ({cause}) failed: {error}"));
    match result {
        Err(error) => hold(&error),
        Ok(Ok(report)) => match shared.left_over(UNWIND) {
            Some(key) => Outcome::Hold(format!(
                "the unwinding ended without asking for the recorded step {key:?}"
            )),
            None => ended(&cause, report),
        },
        Ok(Err(stop)) => match stop {
            Stop::Park(wake) => Outcome::Park(wake),
            // Unwinding has as many attempts again as the run had.
            Stop::Retry(error) if limits.failures + 1 < limits.max_attempts.saturating_mul(2) => {
                Outcome::Retry(error)
            }
            Stop::Retry(error) | Stop::Fail(error) => hold(&error),
            Stop::Hold(reason) => Outcome::Hold(reason),
            Stop::Cancelled => {
                Outcome::Hold("the unwinding stopped as if cancelled, which it cannot be".to_owned())
            }
            Stop::LeaseLost => Outcome::LeaseLost,
        },
    }
}

/// Writes down that a cancelled task is to be unwound, so that it can be held for a person where it cannot be
/// run: a mended one is then unwound.
pub async fn take_up_cancel(journal: &dyn Journal, lease: &Lease) -> Result<(), JournalError> {
    let cause = StepRef {
        scope: UNWIND.to_owned(),
        seq: 0,
        key: CAUSE.to_owned(),
    };
    let recorded = Recorded::Ok(serde_json::json!(Cause::Cancelled));
    journal
        .done(lease, &cause, StepKind::Step, &recorded, Vec::new())
        .await
}

async fn record_cause(cx: &TaskCx, cause: &Cause) -> Result<(), Outcome> {
    let value = cause.clone();
    let recorded: Result<Cause, Stop> = cx.step(CAUSE, |_| async move { Ok(value) }).await;
    match recorded {
        Ok(_) => Ok(()),
        Err(Stop::LeaseLost) => Err(Outcome::LeaseLost),
        Err(Stop::Retry(error) | Stop::Fail(error)) => Err(Outcome::Retry(error)),
        Err(_) => Err(Outcome::Hold(
            "the cause of unwinding could not be recorded".to_owned(),
        )),
    }
}

fn ended(cause: &Cause, report: Report) -> Outcome {
    let status = if *cause == Cause::Cancelled {
        TaskStatus::Cancelled
    } else {
        TaskStatus::Failed
    };
    Outcome::Ended {
        status,
        report: Box::new(report),
        error: cause.error().cloned(),
    }
}

fn hung(limits: &Limits) -> Error {
    Error::timeout(format!(
        "the attempt ran longer than {} s and was stopped",
        limits.run.as_secs()
    ))
}

fn gave_up(error: Error, limits: &Limits) -> Error {
    let attempts = limits.max_attempts;
    let mut error = error.context(format!("gave up after {attempts} attempts"));
    // Final now: what was transient is not retried any more.
    error.kind = domain::ErrorKind::Rejected;
    error.retry_after_ms = None;
    error
}
