//! A journal in which things go wrong at chosen calls.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::{Error, NewTask, Report, Staged, TaskId};
use durable::memory::Claimed;
use durable::{
    CancelFlag, ChildOutcome, Journal, JournalError, Lease, LockPlace, LockState, Record, Recorded,
    SignalState, StepKind, StepRef, TimerState,
};
use tokio::sync::{Notify, mpsc};

use crate::backend::Backend;

/// A place where something may go wrong: just before a call of the journal reaches it (what the step did
/// outside has happened and is not recorded) or just after (it is recorded, and the caller was not told).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// Number of the call, counted over all tasks and attempts from 0.
    pub call: usize,
    pub side: Side,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The worker is dead from here on; another one takes the task over.
    Crash,
    /// The journal says that it cannot be reached.
    Broken,
    /// Another worker takes the task over, and this one goes on without knowing.
    LeaseLoss,
    /// The worker stands still until another one has taken the task over and ended it; then it goes on.
    Pause,
    /// The first task is cancelled; `told` when its running handler hears of it at once.
    Cancel {
        told: bool,
    },
    Advance(Duration),
    /// Every signal that the scene has an answer for is sent, before anybody waits for it.
    EarlySignals,
}

/// What goes wrong, and where.
pub type Plan = Vec<(Point, Fault)>;

/// One call of the journal, or of settling, as it came in.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub op: &'static str,
    pub task: TaskId,
    pub at: Option<StepRef>,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            Some(at) => write!(
                f,
                "{} {} of {}",
                self.op,
                format_args!("{}/{}", at.scope, at.key),
                self.task
            ),
            None => write!(f, "{} of {}", self.op, self.task),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Event {
    Crashed(Lease),
    Paused(Lease),
}

/// A call that reaches the journal.
#[derive(Clone, Copy)]
pub(crate) struct Entered {
    call: usize,
    /// Its lease was lost before that.
    lost: bool,
}

/// Carries a plan out over all attempts of a run.
pub(crate) struct Faults<B> {
    backend: B,
    inner: Arc<Mutex<Inner>>,
    events: mpsc::UnboundedSender<Event>,
    /// Wakes paused workers.
    release: Arc<Notify>,
}

impl<B: Clone> Clone for Faults<B> {
    fn clone(&self) -> Self {
        Self {
            backend: self.backend.clone(),
            inner: self.inner.clone(),
            events: self.events.clone(),
            release: self.release.clone(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Inner {
    plan: Plan,
    pub(crate) first: Option<TaskId>,
    pub(crate) early: Vec<(String, serde_json::Value)>,
    pub(crate) calls: Vec<Call>,
    /// How many of the plan's faults came to pass.
    pub(crate) hits: usize,
    crashed: HashSet<Lease>,
    pub(crate) lost: HashSet<Lease>,
    pub(crate) stash: Vec<Claimed>,
    pub(crate) flags: HashMap<TaskId, CancelFlag>,
    /// A cancel that has to be obeyed came in.
    pub(crate) must_cancel: bool,
    /// Steps of the first task's run that were begun before it was told to cancel.
    told_after: Option<HashSet<(String, i32)>>,
    pub(crate) violations: Vec<String>,
}

impl<B: Backend> Faults<B> {
    pub(crate) fn new(backend: B, plan: Plan) -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (events, receiver) = mpsc::unbounded_channel();
        let inner = Inner {
            plan,
            ..Inner::default()
        };
        let faults = Self {
            backend,
            inner: Arc::new(Mutex::new(inner)),
            events,
            release: Arc::default(),
        };
        (faults, receiver)
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn release(&self) {
        self.release.notify_waiters();
    }

    /// Before a call. Never returns in a worker that is dead.
    pub(crate) async fn enter(
        &self,
        op: &'static str,
        lease: &Lease,
        at: Option<&StepRef>,
    ) -> Result<Entered, JournalError> {
        let (call, dead) = {
            let mut inner = self.inner();
            inner.calls.push(Call {
                op,
                task: lease.task.clone(),
                at: at.cloned(),
            });
            inner.watch_cancel(lease, at);
            (inner.calls.len() - 1, inner.crashed.contains(lease))
        };
        if dead {
            pending::<()>().await;
        }
        self.pass(
            Point {
                call,
                side: Side::Before,
            },
            lease,
        )
        .await?;
        let lost = self.inner().lost.contains(lease);
        Ok(Entered { call, lost })
    }

    /// After a call; `ok` when it wrote what it was asked to. One that was under way when the lease was lost may have
    /// been carried out before that and be told of it afterwards.
    pub(crate) async fn leave(&self, entered: Entered, lease: &Lease, ok: bool) -> Result<(), JournalError> {
        let Entered { call, lost } = entered;
        if ok && lost {
            let mut inner = self.inner();
            let what = inner.calls[call].to_string();
            inner.violations.push(format!(
                "call {call} ({what}) was carried out although the lease was lost"
            ));
        }
        self.pass(
            Point {
                call,
                side: Side::After,
            },
            lease,
        )
        .await
    }

    async fn pass(&self, point: Point, lease: &Lease) -> Result<(), JournalError> {
        let planned: Vec<Fault> = {
            let mut inner = self.inner();
            let here: Vec<Fault> = inner
                .plan
                .iter()
                .filter(|(at, _)| *at == point)
                .map(|(_, f)| *f)
                .collect();
            inner.hits += here.len();
            here
        };
        for fault in planned {
            match fault {
                Fault::Crash => {
                    self.inner().crashed.insert(lease.clone());
                    let _ = self.events.send(Event::Crashed(lease.clone()));
                    pending::<()>().await;
                }
                Fault::Broken => return Err(Error::unavailable("the journal cannot be reached").into()),
                Fault::LeaseLoss => {
                    if self.inner().lost.contains(lease) {
                        continue;
                    }
                    if let Some(claimed) = self.backend.take_over(&lease.task, "rival").await {
                        let mut inner = self.inner();
                        inner.lost.insert(lease.clone());
                        inner.stash.push(claimed);
                    }
                }
                Fault::Pause => {
                    let woken = self.release.notified();
                    let _ = self.events.send(Event::Paused(lease.clone()));
                    woken.await;
                }
                Fault::Cancel { told } => self.cancel(told).await,
                Fault::Advance(by) => self.backend.advance(by).await,
                Fault::EarlySignals => self.send_early().await,
            }
        }
        Ok(())
    }

    async fn cancel(&self, told: bool) {
        let Some(first) = self.inner().first.clone() else {
            return;
        };
        let seen = self.backend.one(&first).await;
        self.backend.cancel(&first).await;
        let mut inner = self.inner();
        // Once the cause of unwinding is being written, it is too late.
        let unwinds =
            |call: &Call| call.task == first && call.at.as_ref().is_some_and(|at| at.scope == "unwind");
        if !seen.is_over() && !seen.is_unwinding() && !inner.calls.iter().any(unwinds) {
            inner.must_cancel = true;
        }
        if told && let Some(flag) = inner.flags.get(&first).cloned() {
            flag.raise();
            let begun = inner
                .calls
                .iter()
                .filter(|call| call.task == first)
                .filter_map(|call| call.at.as_ref().map(|at| (at.scope.clone(), at.seq)))
                .collect();
            inner.told_after.get_or_insert(begun);
        }
    }

    async fn send_early(&self) {
        let (first, early) = {
            let mut inner = self.inner();
            (inner.first.clone(), std::mem::take(&mut inner.early))
        };
        for (name, value) in early {
            if let Some(first) = &first {
                self.backend.signal(first, &name, value).await;
            }
        }
    }
}

impl Inner {
    /// A handler that was told to cancel begins no further step of its run. Branches may be inside a step
    /// whose first call is still to come, so only runs without branches are watched.
    fn watch_cancel(&mut self, lease: &Lease, at: Option<&StepRef>) {
        let (Some(at), Some(begun)) = (at, &self.told_after) else {
            return;
        };
        let branches = self
            .calls
            .iter()
            .any(|call| call.at.as_ref().is_some_and(|at| at.scope.starts_with("run/")));
        let in_run = at.scope == "run" && self.first.as_ref() == Some(&lease.task);
        if in_run && !branches && !begun.contains(&(at.scope.clone(), at.seq)) {
            self.violations.push(format!(
                "step {:?} was begun after the handler was told to cancel",
                at.key
            ));
        }
    }
}

/// A journal that fails as planned.
pub(crate) struct Faulty<B> {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) faults: Faults<B>,
}

/// One call through the gates on both sides of it.
macro_rules! through {
    ($self:ident, $lease:ident, $at:expr, $op:ident($($arg:expr),*)) => {{
        let entered = $self.faults.enter(stringify!($op), $lease, $at).await?;
        let answer = $self.journal.$op($lease $(, $arg)*).await;
        $self.faults.leave(entered, $lease, answer.is_ok()).await?;
        answer
    }};
}

type Answer<T> = Result<T, JournalError>;

#[async_trait]
impl<B: Backend> Journal for Faulty<B> {
    fn may_hold(&self, lease: &Lease) -> bool {
        self.journal.may_hold(lease)
    }
    async fn history(&self, lease: &Lease) -> Answer<Vec<Record>> {
        through!(self, lease, None, history())
    }
    async fn start(&self, lease: &Lease, at: &StepRef) -> Answer<()> {
        through!(self, lease, Some(at), start(at))
    }
    async fn done(
        &self,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: &Recorded,
        staged: Vec<Staged>,
    ) -> Answer<()> {
        through!(self, lease, Some(at), done(at, kind, outcome, staged))
    }
    async fn timer(&self, lease: &Lease, at: &StepRef, after: Duration) -> Answer<TimerState> {
        through!(self, lease, Some(at), timer(at, after))
    }
    async fn take_signal(
        &self,
        lease: &Lease,
        at: &StepRef,
        others: &[&str],
        limit: Option<Duration>,
    ) -> Answer<SignalState> {
        through!(self, lease, Some(at), take_signal(at, others, limit))
    }
    async fn lock(&self, lease: &Lease, at: &StepRef, resource: &str, place: LockPlace) -> Answer<LockState> {
        through!(self, lease, Some(at), lock(at, resource, place))
    }
    async fn unlock(&self, lease: &Lease, at: &StepRef, resource: &str) -> Answer<()> {
        through!(self, lease, Some(at), unlock(at, resource))
    }
    async fn spawn(&self, lease: &Lease, at: &StepRef, child: &NewTask) -> Answer<TaskId> {
        through!(self, lease, Some(at), spawn(at, child))
    }
    async fn child(&self, lease: &Lease, at: &StepRef, child: &TaskId) -> Answer<Option<ChildOutcome>> {
        through!(self, lease, Some(at), child(at, child))
    }
    async fn cancel_child(&self, lease: &Lease, child: &TaskId) -> Answer<()> {
        through!(self, lease, None, cancel_child(child))
    }
    async fn tell(&self, lease: &Lease, at: &StepRef, report: &Report) -> Answer<()> {
        through!(self, lease, Some(at), tell(at, report))
    }
}
