//! What every journal and task table must do. One suite; the one in memory and the one in Postgres pass it.
//!
//! Each function is handed an empty backend that serves the type `work`.

mod children;
mod fencing;
mod locks;
mod outcomes;
mod races;
mod steps;
mod waits;

pub use children::children;
pub use fencing::fencing;
pub use locks::locks;
pub use outcomes::outcomes;
pub use races::races;
pub use steps::steps;
pub use waits::waits;

use std::sync::Arc;

use domain::{NewTask, Report, TaskId, TaskStatus, Verdict};
use durable::memory::{Claimed, Settled};
use durable::{Journal, Lease, Outcome, StepRef, Wake};
use serde_json::json;

use crate::backend::Backend;

pub(crate) fn at(scope: &str, seq: i32, key: &str) -> StepRef {
    StepRef {
        scope: scope.to_owned(),
        seq,
        key: key.to_owned(),
    }
}

pub(crate) fn ended(status: TaskStatus) -> Outcome {
    Outcome::Ended {
        status,
        report: Box::new(Report::new(Verdict::Succeeded, "over")),
        error: (status == TaskStatus::Failed).then(|| domain::Error::rejected("it is bad")),
    }
}

pub(crate) fn for_signal(name: &str) -> Outcome {
    Outcome::Park(Wake {
        signals: vec![name.to_owned()],
        why: format!("for {name}"),
        ..Wake::default()
    })
}

pub(crate) fn for_lock(resource: &str) -> Outcome {
    Outcome::Park(Wake {
        locks: vec![resource.to_owned()],
        why: format!("for {resource}"),
        ..Wake::default()
    })
}

pub(crate) fn for_child(child: &TaskId) -> Outcome {
    Outcome::Park(Wake {
        children: vec![child.clone()],
        why: format!("for {child}"),
        ..Wake::default()
    })
}

/// A backend in the hands of a test.
pub(crate) struct Bench<B> {
    pub(crate) b: B,
    pub(crate) journal: Arc<dyn Journal>,
}

impl<B: Backend> Bench<B> {
    pub(crate) fn new(b: B) -> Self {
        let journal = b.journal();
        Self { b, journal }
    }

    /// A new task that is being run.
    pub(crate) async fn running(&self) -> Lease {
        let id = self.b.enqueue(NewTask::new("work", json!({}))).await;
        self.claimed(&id).await.lease
    }

    /// The next task that can be claimed, which must be this one.
    pub(crate) async fn claimed(&self, task: &TaskId) -> Claimed {
        let claimed = self.b.claim("worker").await;
        let claimed = claimed.unwrap_or_else(|| panic!("task {task} should be there to be claimed"));
        assert_eq!(claimed.info.id, *task, "another task was claimed");
        claimed
    }

    pub(crate) async fn nothing_is_due(&self) {
        let claimed = self.b.claim("worker").await;
        assert!(claimed.is_none(), "nothing should be due, but {claimed:?} is");
    }

    pub(crate) async fn settle(&self, lease: &Lease, outcome: Outcome) {
        let settled = self.b.settle(lease, outcome).await;
        assert_eq!(settled, Settled::Written, "settling {}", lease.task);
    }

    pub(crate) async fn end(&self, lease: &Lease) {
        self.settle(lease, ended(TaskStatus::Completed)).await;
    }
}
