//! What every [`Cancels`] must do.

use async_trait::async_trait;
use domain::{TaskId, TaskStatus};

use crate::{Cancels, PAUSE_CHANGED};

/// A table with tasks of ours.
#[async_trait]
pub trait CancelWorld: Send + Sync {
    fn port(&self) -> &dyn Cancels;
    /// A task that began and waits.
    async fn waiting(&self) -> TaskId;
    async fn completed(&self) -> TaskId;
    async fn status(&self, task: &TaskId) -> Option<TaskStatus>;
    /// The names of the signals that are kept for it.
    async fn signals(&self, task: &TaskId) -> Vec<String>;
    /// A person pauses it, with a reason, or lets it go on.
    async fn pause(&self, task: &TaskId, why: Option<&str>);
}

/// Makes a test of every function of the suite.
#[macro_export]
macro_rules! cancels_conformance {
    ($world:expr) => {
        $crate::cancels_conformance!(@tests $world;
            what_waits_is_asked_to_stop_and_nothing_else_is
            what_is_over_or_unknown_needs_no_asking
            a_signal_is_kept_for_what_is_not_over
            what_a_person_paused_is_so_until_somebody_lets_it_go_on);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::cancels::$test(&$world).await;
            }
        )+
    };
}

pub async fn what_waits_is_asked_to_stop_and_nothing_else_is(world: &dyn CancelWorld) {
    let (task, other) = (world.waiting().await, world.waiting().await);
    for _ in 0..2 {
        world.port().cancel(&task).await.expect("asks");
        assert_eq!(world.status(&task).await, Some(TaskStatus::Cancelled));
    }
    assert_eq!(world.status(&other).await, Some(TaskStatus::Waiting));
}

pub async fn what_is_over_or_unknown_needs_no_asking(world: &dyn CancelWorld) {
    let over = world.completed().await;
    world.port().cancel(&over).await.expect("is over already");
    assert_eq!(world.status(&over).await, Some(TaskStatus::Completed));
    let unknown = TaskId::from("no such task");
    world.port().cancel(&unknown).await.expect("is gone already");
    assert_eq!(world.status(&unknown).await, None);
}

pub async fn a_signal_is_kept_for_what_is_not_over(world: &dyn CancelWorld) {
    let (task, over) = (world.waiting().await, world.completed().await);
    let unknown = TaskId::from("no such task");
    for to in [&task, &over, &unknown] {
        world.port().signal(to, "newer").await.expect("sends it");
    }
    assert_eq!(world.signals(&task).await, ["newer"]);
    assert_eq!(world.status(&task).await, Some(TaskStatus::Waiting));
    for to in [&over, &unknown] {
        assert!(world.signals(to).await.is_empty(), "{to}");
    }
}

pub async fn what_a_person_paused_is_so_until_somebody_lets_it_go_on(world: &dyn CancelWorld) {
    let (task, other) = (world.waiting().await, world.waiting().await);
    let port = world.port();
    assert_eq!(port.paused(&task).await, Ok(None));
    world.pause(&task, Some("the stock is counted")).await;
    let paused = port.paused(&task).await.expect("is told").expect("is paused");
    assert_eq!(paused.why.as_deref(), Some("the stock is counted"));
    assert!(!paused.by.is_empty());
    assert_eq!(port.paused(&other).await, Ok(None));
    assert!(
        world
            .signals(&task)
            .await
            .iter()
            .any(|name| name == PAUSE_CHANGED)
    );
    world.pause(&task, None).await;
    assert_eq!(port.paused(&task).await, Ok(None));
    let unknown = TaskId::from("no such task");
    assert_eq!(port.paused(&unknown).await, Ok(None));
}
