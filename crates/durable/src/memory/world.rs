use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{Error, NewTask, Repo, Report, Staged, TaskId, TaskInfo, TaskStatus};
use serde_json::Value;

use crate::{JournalError, Lease, Outcome, Record, Wake};

/// The whole state; clones share it.
#[derive(Clone, Default)]
pub struct World(Arc<Mutex<State>>);

pub(super) struct State {
    pub(super) now: DateTime<Utc>,
    made: u64,
    pub(super) tasks: BTreeMap<TaskId, Row>,
    repos: HashMap<String, Repo>,
    /// Waiting and holding tasks of each resource, the holder first.
    pub(super) locks: HashMap<String, Vec<Queued>>,
    pub(super) staged: Vec<Staged>,
    pub(super) told: Vec<(TaskId, Report)>,
    /// Workers whose lease ran out.
    dead: HashSet<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            now: DateTime::UNIX_EPOCH,
            made: 0,
            tasks: BTreeMap::new(),
            repos: HashMap::new(),
            locks: HashMap::new(),
            staged: Vec::new(),
            told: Vec::new(),
            dead: HashSet::new(),
        }
    }
}

/// A task's place in a queue for a resource.
#[derive(Clone)]
pub(super) struct Queued {
    pub(super) task: TaskId,
    pub(super) first: bool,
}

pub(super) struct Row {
    pub(super) info: TaskInfo,
    dedupe_key: Option<String>,
    pub(super) status: TaskStatus,
    worker: Option<String>,
    attempt: i64,
    failures: u32,
    run_at: Option<DateTime<Utc>>,
    pub(super) wait: Option<Wake>,
    held: Option<String>,
    pub(super) steps: Vec<Record>,
    pub(super) deadlines: HashMap<(String, i32), Option<DateTime<Utc>>>,
    pub(super) signals: Vec<(String, Value)>,
    report: Option<Report>,
    error: Option<Error>,
}

/// A task that a worker may run.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub info: Arc<TaskInfo>,
    pub lease: Lease,
    pub failures: u32,
    pub cancelled: bool,
}

/// What became of an attempt's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Written,
    /// The task was cancelled meanwhile and must be unwound before it can end or park.
    CancelRequested,
    LeaseLost,
}

/// What can be seen of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    pub status: TaskStatus,
    pub held: Option<String>,
    pub waits_for: Option<Wake>,
    pub report: Option<Report>,
    pub error: Option<Error>,
    pub parent: Option<TaskId>,
    pub task_type: String,
    pub payload: Value,
    /// Who runs it.
    pub worker: Option<String>,
    /// `scope/key`, in order within each scope, done steps only.
    pub done: Vec<String>,
}

impl State {
    pub(super) fn insert(&mut self, task: NewTask) -> TaskId {
        let same_key = |row: &Row| row.dedupe_key.is_some() && row.dedupe_key == task.dedupe_key;
        let unfinished = |row: &Row| !(row.status.is_terminal() && row.idle());
        if let Some((id, _)) = self
            .tasks
            .iter()
            .find(|(_, row)| same_key(row) && unfinished(row))
        {
            return id.clone();
        }
        self.made += 1;
        let id = TaskId::from(format!("task-{:04}", self.made));
        let ticket = task
            .parent
            .as_ref()
            .and_then(|parent| self.tasks.get(parent))
            .and_then(|row| row.info.ticket.clone());
        let info = TaskInfo {
            id: id.clone(),
            task_type: task.task_type,
            priority: task.priority,
            payload: task.payload,
            created_by: task.created_by,
            assigned_to: task.assigned_to,
            parent: task.parent,
            repo: task.repo_id.and_then(|id| self.repos.get(&id).cloned()),
            ticket,
        };
        self.tasks.insert(
            id.clone(),
            Row {
                info,
                dedupe_key: task.dedupe_key,
                status: TaskStatus::Pending,
                worker: None,
                attempt: 0,
                failures: 0,
                run_at: task.run_at,
                wait: None,
                held: None,
                steps: Vec::new(),
                deadlines: HashMap::new(),
                signals: Vec::new(),
                report: None,
                error: None,
            },
        );
        id
    }

    pub(super) fn fenced(&mut self, lease: &Lease) -> Result<&mut Row, JournalError> {
        if self.dead.contains(&*lease.worker) {
            return Err(JournalError::LeaseLost);
        }
        let row = self.tasks.get_mut(&lease.task).ok_or(JournalError::LeaseLost)?;
        let running = matches!(row.status, TaskStatus::InProgress | TaskStatus::Cancelled);
        if running && row.attempt == lease.attempt && row.worker.as_deref() == Some(&lease.worker) {
            Ok(row)
        } else {
            Err(JournalError::LeaseLost)
        }
    }

    pub(super) fn cancel(&mut self, id: &TaskId) {
        if let Some(row) = self.tasks.get_mut(id).filter(|row| !row.status.is_terminal()) {
            row.status = TaskStatus::Cancelled;
            row.run_at = None;
        }
    }

    /// The task and its ancestors, itself first.
    pub(super) fn family(&self, task: &TaskId) -> Vec<TaskId> {
        let mut family = vec![task.clone()];
        while let Some(parent) = family
            .last()
            .and_then(|id| self.tasks.get(id))
            .and_then(|row| row.info.parent.clone())
            .filter(|parent| !family.contains(parent))
        {
            family.push(parent);
        }
        family
    }

    fn is_due(&self, row: &Row) -> bool {
        if row
            .worker
            .as_ref()
            .is_some_and(|worker| self.dead.contains(worker))
        {
            return true;
        }
        match row.status {
            TaskStatus::Pending => row.run_at.is_none_or(|at| at <= self.now),
            TaskStatus::Cancelled => row.worker.is_none() && row.wait.is_some(),
            TaskStatus::Waiting => {
                row.held.is_none()
                    && row.wait.as_ref().is_some_and(|wait| {
                        row.run_at.is_some_and(|at| at <= self.now)
                            || wait
                                .signals
                                .iter()
                                .any(|name| row.signals.iter().any(|(got, _)| got == name))
                            || wait.locks.iter().any(|resource| {
                                let holder = self.locks.get(resource).and_then(|queue| queue.first());
                                holder.is_none_or(|holder| self.family(&row.info.id).contains(&holder.task))
                            })
                            || wait.children.iter().any(|child| {
                                self.tasks
                                    .get(child)
                                    .is_none_or(|child| child.status.is_terminal() && child.idle())
                            })
                    })
            }
            _ => false,
        }
    }
}

impl Row {
    /// Not run and not waiting to be unwound.
    pub(super) fn idle(&self) -> bool {
        self.worker.is_none() && self.wait.is_none()
    }
}

impl World {
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a repository known, for tasks that name its id.
    pub fn register(&self, repo: Repo) {
        self.state().repos.insert(repo.id.clone(), repo);
    }

    pub fn enqueue(&self, task: NewTask) -> TaskId {
        self.state().insert(task)
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.state().now
    }

    pub fn advance(&self, by: Duration) {
        let mut state = self.state();
        state.now += chrono::Duration::from_std(by).unwrap_or(chrono::Duration::MAX);
    }

    /// When the next task that is parked or for later is due by time alone.
    pub fn next_due(&self) -> Option<DateTime<Utc>> {
        let state = self.state();
        state
            .tasks
            .values()
            .filter(|row| matches!(row.status, TaskStatus::Waiting | TaskStatus::Pending))
            .filter_map(|row| row.run_at)
            .min()
    }

    pub fn send_signal(&self, task: &TaskId, name: &str, value: Value) {
        if let Some(row) = self.state().tasks.get_mut(task) {
            row.signals.push((name.to_owned(), value));
        }
    }

    pub fn cancel(&self, task: &TaskId) {
        self.state().cancel(task);
    }

    /// Lets a held task go on.
    pub fn resume(&self, task: &TaskId) {
        let mut state = self.state();
        let now = state.now;
        if let Some(row) = state.tasks.get_mut(task).filter(|row| row.held.is_some()) {
            row.held = None;
            row.run_at = Some(now);
        }
    }

    /// Tries a task that failed or was cancelled anew, from its first step.
    pub fn retry(&self, task: &TaskId) {
        let mut state = self.state();
        let now = state.now;
        let ended = |row: &&mut Row| matches!(row.status, TaskStatus::Failed | TaskStatus::Cancelled);
        if let Some(row) = state.tasks.get_mut(task).filter(ended) {
            row.status = TaskStatus::Pending;
            row.run_at = Some(now);
            row.failures = 0;
            (row.worker, row.wait, row.held) = (None, None, None);
            (row.report, row.error) = (None, None);
            row.steps.clear();
            row.deadlines.clear();
            row.signals.clear();
        }
    }

    /// Takes the oldest task that is due.
    pub fn claim(&self, worker: &str) -> Option<Claimed> {
        let mut state = self.state();
        if state.dead.contains(worker) {
            return None;
        }
        let id = state
            .tasks
            .values()
            .find(|row| state.is_due(row))
            .map(|row| row.info.id.clone())?;
        state.take(&id, worker)
    }

    /// Takes a task away from a worker that is held to be dead: its lease is lost from now on.
    pub fn take_over(&self, task: &TaskId, worker: &str) -> Option<Claimed> {
        let mut state = self.state();
        state.tasks.get(task).filter(|row| row.worker.is_some())?;
        state.take(task, worker)
    }

    /// The lease of a worker runs out: it can write nothing more, and its tasks can be claimed.
    pub fn expire(&self, worker: &str) {
        self.state().dead.insert(worker.to_owned());
    }

    pub fn settle(&self, lease: &Lease, outcome: Outcome) -> Settled {
        let mut state = self.state();
        let now = state.now;
        let Ok(row) = state.fenced(lease) else {
            return Settled::LeaseLost;
        };
        let unwinding = row.steps.iter().any(|step| step.at.scope == "unwind");
        if row.status == TaskStatus::Cancelled
            && !unwinding
            && !matches!(
                outcome,
                Outcome::Ended {
                    status: TaskStatus::Cancelled,
                    ..
                }
            )
        {
            return Settled::CancelRequested;
        }
        row.worker = None;
        match outcome {
            Outcome::Ended {
                status,
                report,
                error,
            } => {
                row.status = status;
                row.wait = None;
                row.report = Some(*report);
                row.error = error;
                for queue in state.locks.values_mut() {
                    queue.retain(|queued| queued.task != lease.task);
                }
            }
            Outcome::Park(wake) => {
                row.failures = 0;
                row.status = TaskStatus::Waiting;
                row.run_at = wake.at;
                row.wait = Some(wake);
            }
            Outcome::Retry(error) => {
                row.status = TaskStatus::Waiting;
                row.failures += 1;
                row.run_at = Some(now);
                row.wait = Some(Wake {
                    at: Some(now),
                    why: error.to_string(),
                    ..Wake::default()
                });
            }
            Outcome::Hold(reason) => {
                row.status = TaskStatus::Waiting;
                row.run_at = None;
                row.wait = Some(Wake::default());
                row.held = Some(reason);
            }
            Outcome::LeaseLost => row.worker = Some(lease.worker.to_string()),
        }
        Settled::Written
    }

    pub fn view(&self, task: &TaskId) -> Option<TaskView> {
        self.state().tasks.get(task).map(Row::view)
    }

    pub fn tasks(&self) -> Vec<(TaskId, TaskView)> {
        self.state()
            .tasks
            .iter()
            .map(|(id, row)| (id.clone(), row.view()))
            .collect()
    }

    pub fn is_cancelled(&self, task: &TaskId) -> bool {
        self.state()
            .tasks
            .get(task)
            .is_some_and(|row| row.status == TaskStatus::Cancelled)
    }

    /// What memory ports recorded, in the order of their steps.
    pub fn staged(&self) -> Vec<Staged> {
        self.state().staged.clone()
    }

    pub fn told(&self, task: &TaskId) -> Vec<Report> {
        self.state()
            .told
            .iter()
            .filter(|(id, _)| id == task)
            .map(|(_, report)| report.clone())
            .collect()
    }

    /// The holder of a resource and those behind it.
    pub fn queue_of(&self, resource: &str) -> Vec<TaskId> {
        let state = self.state();
        let queue = state.locks.get(resource).into_iter().flatten();
        queue.map(|queued| queued.task.clone()).collect()
    }
}

impl State {
    fn take(&mut self, id: &TaskId, worker: &str) -> Option<Claimed> {
        let row = self.tasks.get_mut(id)?;
        let cancelled = row.status == TaskStatus::Cancelled;
        if !cancelled {
            row.status = TaskStatus::InProgress;
        }
        row.worker = Some(worker.to_owned());
        row.attempt += 1;
        row.run_at = None;
        row.wait = None;
        row.held = None;
        let lease = Lease {
            task: id.clone(),
            worker: worker.into(),
            attempt: row.attempt,
        };
        Some(Claimed {
            info: Arc::new(row.info.clone()),
            lease,
            failures: row.failures,
            cancelled,
        })
    }
}

impl Row {
    pub(super) fn outcome(&self) -> crate::ChildOutcome {
        crate::ChildOutcome {
            status: self.status,
            result: serde_json::json!(self.report),
            error: self.error.as_ref().map(ToString::to_string),
        }
    }

    fn view(&self) -> TaskView {
        TaskView {
            status: self.status,
            held: self.held.clone(),
            waits_for: self.wait.clone(),
            report: self.report.clone(),
            error: self.error.clone(),
            parent: self.info.parent.clone(),
            task_type: self.info.task_type.clone(),
            payload: self.info.payload.clone(),
            worker: self.worker.clone(),
            done: self
                .steps
                .iter()
                .filter(|step| step.outcome.is_some())
                .map(|step| format!("{}/{}", step.at.scope, step.at.key))
                .collect(),
        }
    }
}
