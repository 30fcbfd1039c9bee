//! One attempt after another over the in-memory journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::{Error, NewTask, Report, TaskId, TaskStatus, Verdict};
use durable::memory::{Settled, World};
use durable::{AnyHandler, Attempt, CancelFlag, Cause, Handler, Limits, Reconciled, Stop, TaskCx, drive};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize, JsonSchema)]
struct Params {
    name: String,
}

#[derive(Clone, Default)]
struct Greeter {
    looked: Arc<AtomicU32>,
    greeted: Arc<AtomicU32>,
    undone: Arc<AtomicU32>,
}

impl Handler for Greeter {
    const TASK_TYPES: &'static [&'static str] = &["greet"];
    type Params = Params;

    async fn run(&self, cx: &TaskCx, params: &Params) -> Result<Report, Stop> {
        let name = cx
            .step("look", |_| async {
                self.looked.fetch_add(1, Ordering::SeqCst);
                if params.name == "boom" {
                    panic!("no such person");
                }
                if params.name == "nobody" {
                    return Err(Error::not_found("nobody is there"));
                }
                Ok(params.name.clone())
            })
            .await?;
        cx.sleep("breathe", Duration::from_secs(60)).await?;
        cx.effect("greet")
            .reconcile(|_| async { Ok(Reconciled::<u32>::Absent) })
            .run(|_| async { Ok(self.greeted.fetch_add(1, Ordering::SeqCst)) })
            .await?;
        Ok(Report::new(Verdict::Succeeded, format!("greeted {name}")))
    }

    async fn unwind(&self, cx: &TaskCx, _: &Params, cause: &Cause) -> Result<Report, Stop> {
        cx.step("undo", |_| async {
            self.undone.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .await?;
        Ok(cause.report())
    }
}

async fn attempt(world: &World, handler: &Greeter) -> Option<(TaskId, Settled)> {
    let claimed = world.claim("w1")?;
    let cancel = CancelFlag::default();
    if claimed.cancelled {
        cancel.raise();
    }
    let attempt = Attempt {
        task: claimed.info.clone(),
        lease: claimed.lease.clone(),
        journal: Arc::new(world.clone()),
        cancel,
        limits: Limits::default(),
    };
    let outcome = drive(&AnyHandler::new(handler.clone()), attempt).await;
    Some((claimed.info.id, world.settle(&claimed.lease, outcome)))
}

#[tokio::test]
async fn a_task_sleeps_without_a_slot_and_goes_on_where_it_stopped() {
    let (world, handler) = (World::new(), Greeter::default());
    let id = world.enqueue(NewTask::new("greet", json!({"name": "Ada"})));
    attempt(&world, &handler).await.unwrap();
    assert_eq!(world.view(&id).unwrap().status, TaskStatus::Waiting);
    assert!(attempt(&world, &handler).await.is_none(), "it is not due yet");
    world.advance(Duration::from_secs(60));
    attempt(&world, &handler).await.unwrap();
    let view = world.view(&id).unwrap();
    assert_eq!(
        (view.status, view.report.unwrap().summary.as_str()),
        (TaskStatus::Completed, "greeted Ada")
    );
    assert_eq!(
        handler.looked.load(Ordering::SeqCst),
        1,
        "the finished step was not run again"
    );
    assert_eq!(handler.greeted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_permanent_error_and_a_panic_are_unwound_and_told() {
    for (name, said) in [("nobody", "nobody is there"), ("boom", "no such person")] {
        let (world, handler) = (World::new(), Greeter::default());
        let id = world.enqueue(NewTask::new("greet", json!({ "name": name })));
        attempt(&world, &handler).await.unwrap();
        let view = world.view(&id).unwrap();
        assert_eq!(view.status, TaskStatus::Failed);
        assert!(
            view.error.as_ref().unwrap().to_string().contains(said),
            "{:?}",
            view.error
        );
        assert_eq!(handler.undone.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_cancelled_task_is_unwound_and_ends_cancelled() {
    let (world, handler) = (World::new(), Greeter::default());
    let id = world.enqueue(NewTask::new("greet", json!({"name": "Ada"})));
    attempt(&world, &handler).await.unwrap();
    world.cancel(&id);
    attempt(&world, &handler).await.unwrap();
    let view = world.view(&id).unwrap();
    assert_eq!(
        (view.status, handler.undone.load(Ordering::SeqCst)),
        (TaskStatus::Cancelled, 1)
    );
    assert_eq!(handler.greeted.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_payload_that_does_not_fit_fails_at_the_first_attempt_with_nothing_done() {
    let (world, handler) = (World::new(), Greeter::default());
    let id = world.enqueue(NewTask::new("greet", json!({"nom": "Ada"})));
    attempt(&world, &handler).await.unwrap();
    let view = world.view(&id).unwrap();
    assert_eq!(view.status, TaskStatus::Failed);
    assert!(view.error.unwrap().to_string().contains("missing field `name`"));
    assert_eq!(handler.undone.load(Ordering::SeqCst), 0);
}
