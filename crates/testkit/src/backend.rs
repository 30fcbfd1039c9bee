use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use domain::{NewTask, Report, Staged, TaskId, TaskStatus};
use durable::memory::{Claimed, Settled, World};
use durable::{Journal, Lease, Outcome, Wake};
use serde_json::Value;

/// A task table with its journal, as a worker and the outside use it: what the crash matrix, the conformance
/// suite and the property test run on. Implementations panic when their store fails: these are tests.
#[async_trait]
pub trait Backend: Clone + Send + Sync + 'static {
    fn journal(&self) -> Arc<dyn Journal>;

    async fn enqueue(&self, task: NewTask) -> TaskId;

    /// Takes a task that is due, whatever its type.
    async fn claim(&self, worker: &str) -> Option<Claimed>;

    /// Takes a task away from a worker that is held to be dead; nothing when no worker has it.
    async fn take_over(&self, task: &TaskId, worker: &str) -> Option<Claimed>;

    /// The lease of a worker runs out, and nobody has taken its tasks yet.
    async fn expire(&self, worker: &str);

    async fn settle(&self, lease: &Lease, outcome: Outcome) -> Settled;

    /// As anybody may ask for it, whatever state the task is in.
    async fn cancel(&self, task: &TaskId);

    async fn signal(&self, task: &TaskId, name: &str, value: Value);

    /// Lets a held task go on.
    async fn resume(&self, task: &TaskId);

    async fn advance(&self, by: Duration);

    /// How long until a parked task is due by time alone.
    async fn until_next(&self) -> Option<Duration>;

    /// All tasks.
    async fn seen(&self) -> Vec<Seen>;

    /// What memory ports recorded.
    async fn staged(&self) -> Vec<Staged>;

    /// What was told of a task while it ran.
    async fn told(&self, task: &TaskId) -> Vec<Report>;

    /// The holder of a resource and those behind it.
    async fn queue_of(&self, resource: &str) -> Vec<TaskId>;

    async fn one(&self, task: &TaskId) -> Seen {
        let seen = self.seen().await;
        seen.into_iter()
            .find(|seen| seen.id == *task)
            .unwrap_or_else(|| panic!("there is no task {task}"))
    }
}

/// What anybody can see of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    pub id: TaskId,
    pub parent: Option<TaskId>,
    pub task_type: String,
    pub payload: Value,
    pub status: TaskStatus,
    /// Why it waits for a person.
    pub held: Option<String>,
    pub waits_for: Option<Wake>,
    /// Who runs it.
    pub worker: Option<String>,
    pub report: Option<Report>,
    pub error: Option<String>,
    /// `scope/key` of the done steps.
    pub done: Vec<String>,
}

impl Seen {
    /// Nothing will happen to it any more.
    pub fn is_over(&self) -> bool {
        self.status.is_terminal() && self.waits_for.is_none() && self.worker.is_none()
    }

    pub fn is_unwinding(&self) -> bool {
        self.done.iter().any(|step| step == "unwind/cause")
    }
}

#[async_trait]
impl Backend for World {
    fn journal(&self) -> Arc<dyn Journal> {
        Arc::new(self.clone())
    }
    async fn enqueue(&self, task: NewTask) -> TaskId {
        World::enqueue(self, task)
    }
    async fn claim(&self, worker: &str) -> Option<Claimed> {
        World::claim(self, worker)
    }
    async fn take_over(&self, task: &TaskId, worker: &str) -> Option<Claimed> {
        World::take_over(self, task, worker)
    }
    async fn expire(&self, worker: &str) {
        World::expire(self, worker);
    }
    async fn settle(&self, lease: &Lease, outcome: Outcome) -> Settled {
        World::settle(self, lease, outcome)
    }
    async fn cancel(&self, task: &TaskId) {
        World::cancel(self, task);
    }
    async fn signal(&self, task: &TaskId, name: &str, value: Value) {
        self.send_signal(task, name, value);
    }
    async fn resume(&self, task: &TaskId) {
        World::resume(self, task);
    }
    async fn advance(&self, by: Duration) {
        World::advance(self, by);
    }
    async fn until_next(&self) -> Option<Duration> {
        let due = self.next_due()?;
        Some((due - self.now()).to_std().unwrap_or_default())
    }
    async fn seen(&self) -> Vec<Seen> {
        self.tasks()
            .into_iter()
            .map(|(id, view)| Seen {
                id,
                parent: view.parent,
                task_type: view.task_type,
                payload: view.payload,
                status: view.status,
                held: view.held,
                waits_for: view.waits_for,
                worker: view.worker,
                report: view.report,
                error: view.error.map(|error| error.to_string()),
                done: view.done,
            })
            .collect()
    }
    async fn staged(&self) -> Vec<Staged> {
        World::staged(self)
    }
    async fn told(&self, task: &TaskId) -> Vec<Report> {
        World::told(self, task)
    }
    async fn queue_of(&self, resource: &str) -> Vec<TaskId> {
        World::queue_of(self, resource)
    }
}
