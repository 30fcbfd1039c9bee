use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Error, NewTask, Report, Staged, TaskId, TaskStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The right to write for a task: this worker, this claim of it. Every write of a running task names it, and
/// a write whose lease is over changes nothing and answers [`JournalError::LeaseLost`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    pub task: TaskId,
    pub worker: Arc<str>,
    /// Raised by every claim: the fencing number.
    pub attempt: i64,
}

/// Where a step stands: its scope (`run`, `unwind`, `run/BRANCH`), its place in it and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRef {
    pub scope: String,
    pub seq: i32,
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    Step,
    Effect,
    Sleep,
    Signal,
    Lock,
    Unlock,
    Spawn,
    Child,
    Tell,
}

impl StepKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Effect => "effect",
            Self::Sleep => "sleep",
            Self::Signal => "signal",
            Self::Lock => "lock",
            Self::Unlock => "unlock",
            Self::Spawn => "spawn",
            Self::Child => "child",
            Self::Tell => "tell",
        }
    }

    pub fn parse(s: &str) -> Option<Self> {
        [
            Self::Step,
            Self::Effect,
            Self::Sleep,
            Self::Signal,
            Self::Lock,
            Self::Unlock,
            Self::Spawn,
            Self::Child,
            Self::Tell,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == s)
    }
}

/// One row of a task's history. Without an outcome it was begun and is not known to be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub at: StepRef,
    pub kind: StepKind,
    pub outcome: Option<Recorded>,
}

/// What a finished step gave: a value, or an error that trying again would not mend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    Ok(Value),
    Err(Error),
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum JournalError {
    #[error("the lease on the task is lost")]
    LeaseLost,
    /// The journal refused or could not be reached for as long as the lease allows to try.
    #[error(transparent)]
    Broken(#[from] Error),
}

#[derive(Clone, Debug, PartialEq)]
pub enum TimerState {
    Due,
    Until(DateTime<Utc>),
}

#[derive(Clone, Debug, PartialEq)]
pub enum SignalState {
    Received(Value),
    /// One of the others that were listened for came first.
    Other(Heard),
    TimedOut,
    Waiting {
        until: Option<DateTime<Utc>>,
    },
}

impl SignalState {
    /// What was heard at a step that listened for others too.
    pub fn of(at: &StepRef, heard: Option<Heard>) -> Self {
        match heard {
            None => Self::TimedOut,
            Some(heard) if heard.signal == at.key => Self::Received(heard.value),
            Some(heard) => Self::Other(heard),
        }
    }
}

/// A signal by its name, as it is recorded where several could have come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heard {
    pub signal: String,
    pub value: Value,
}

/// Where in the queue for a resource a task takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockPlace {
    /// Behind everybody who waits.
    Last,
    /// Before everybody who waits, behind the holder and those who went first before it.
    First,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    Held,
    Behind(TaskId),
}

/// How an awaited child ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChildOutcome {
    pub status: TaskStatus,
    #[serde(default)]
    pub result: Value,
    #[serde(default)]
    pub error: Option<String>,
}

impl ChildOutcome {
    /// The outcome of a child that is not there (any more).
    pub fn gone(child: &TaskId) -> Self {
        Self {
            status: TaskStatus::Failed,
            result: Value::Null,
            error: Some(format!(
                "task {child} is not there: it was deleted before it was seen to end"
            )),
        }
    }
}

/// The durable memory of a running task. Each call is one transaction, fenced by the lease.
#[async_trait]
pub trait Journal: Send + Sync {
    /// All records of the task, each scope's in order.
    /// Whether the lease may still hold by this process's own clock: asked right before an effect, as the process may have
    /// stood still since the journal's last answer.
    fn may_hold(&self, lease: &Lease) -> bool;

    async fn history(&self, lease: &Lease) -> Result<Vec<Record>, JournalError>;

    /// Writes that an effect is about to be tried. Repeating it changes nothing.
    async fn start(&self, lease: &Lease, at: &StepRef) -> Result<(), JournalError>;

    /// Writes what a step or an effect gave, and with it what memory ports staged.
    async fn done(
        &self,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: &Recorded,
        staged: Vec<Staged>,
    ) -> Result<(), JournalError>;

    /// Sets the timer at the first call, and is done once it is due.
    async fn timer(&self, lease: &Lease, at: &StepRef, after: Duration) -> Result<TimerState, JournalError>;

    /// Consumes the oldest signal of that name (the step's key) or of one of `others`, or says until when to wait; done
    /// when one came or its time is over. The limit counts from the first call. Where there are others, what is
    /// recorded is [`Heard`].
    async fn take_signal(
        &self,
        lease: &Lease,
        at: &StepRef,
        others: &[&str],
        limit: Option<Duration>,
    ) -> Result<SignalState, JournalError>;

    /// Queues for a resource at the first call; done once the task, or an ancestor of it, holds it.
    async fn lock(
        &self,
        lease: &Lease,
        at: &StepRef,
        resource: &str,
        place: LockPlace,
    ) -> Result<LockState, JournalError>;

    /// Takes the task out of a resource's queue and is done; who comes next is woken. What an ancestor holds stays held.
    async fn unlock(&self, lease: &Lease, at: &StepRef, resource: &str) -> Result<(), JournalError>;

    /// Inserts a child task and is done, in one transaction.
    async fn spawn(&self, lease: &Lease, at: &StepRef, child: &NewTask) -> Result<TaskId, JournalError>;

    /// Done once the child has ended; until then the child is remembered as awaited.
    async fn child(
        &self,
        lease: &Lease,
        at: &StepRef,
        child: &TaskId,
    ) -> Result<Option<ChildOutcome>, JournalError>;

    /// Asks a child to cancel, if it still runs.
    async fn cancel_child(&self, lease: &Lease, child: &TaskId) -> Result<(), JournalError>;

    /// Writes an event and the ticket's news, and is done.
    async fn tell(&self, lease: &Lease, at: &StepRef, report: &Report) -> Result<(), JournalError>;
}
