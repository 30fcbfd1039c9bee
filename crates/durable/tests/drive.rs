//! One attempt after another over the in-memory journal.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::{Error, NewTask, Report, TaskId, TaskStatus, Verdict};
use durable::memory::{Claimed, Settled, World};
use durable::{
    AnyHandler, Attempt, CancelFlag, Cause, Handler, Limits, Reconciled, Stop, TaskCx, Waited, drive,
};
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
    run(world, handler.clone()).await
}

async fn run(world: &World, handler: impl Handler) -> Option<(TaskId, Settled)> {
    let claimed = world.claim("w1")?;
    Some((claimed.info.id.clone(), go_on(world, &claimed, handler).await))
}

async fn go_on(world: &World, claimed: &Claimed, handler: impl Handler) -> Settled {
    let cancel = CancelFlag::default();
    if claimed.cancelled {
        cancel.raise();
    }
    let attempt = Attempt {
        task: claimed.info.clone(),
        lease: claimed.lease.clone(),
        first: false,
        journal: Arc::new(world.clone()),
        cancel,
        limits: Limits::default(),
    };
    let outcome = drive(&AnyHandler::new(handler), attempt).await;
    world.settle(&claimed.lease, outcome)
}

/// Whose worker stands still in the middle of an effect, and while it looks for that one.
#[derive(Clone)]
struct Pausing {
    world: World,
    done: Arc<AtomicU32>,
}

impl Handler for Pausing {
    const TASK_TYPES: &'static [&'static str] = &["pause"];
    type Params = serde_json::Value;

    async fn run(&self, cx: &TaskCx, _: &Self::Params) -> Result<Report, Stop> {
        cx.effect("once")
            .reconcile(|_| async {
                self.world.expire("w2");
                Ok(Reconciled::<u32>::Absent)
            })
            .run(|_| async {
                self.world.expire("w1");
                Ok(self.done.fetch_add(1, Ordering::SeqCst))
            })
            .await?;
        Ok(Report::new(Verdict::Succeeded, "done"))
    }

    async fn unwind(&self, _: &TaskCx, _: &Self::Params, cause: &Cause) -> Result<Report, Stop> {
        Ok(cause.report())
    }
}

#[tokio::test]
async fn an_effect_is_not_begun_when_the_lease_ran_out_since_the_last_look() {
    let world = World::new();
    let handler = Pausing {
        world: world.clone(),
        done: Arc::default(),
    };
    let id = world.enqueue(NewTask::new("pause", json!({})));
    let first = world.claim("w1").unwrap();
    assert_eq!(go_on(&world, &first, handler.clone()).await, Settled::LeaseLost);
    let second = world.take_over(&id, "w2").unwrap();
    assert_eq!(go_on(&world, &second, handler.clone()).await, Settled::LeaseLost);
    assert_eq!(
        handler.done.load(Ordering::SeqCst),
        1,
        "the second one left it to the third"
    );
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

/// Asks somebody before it works, and before it undoes.
#[derive(Clone)]
struct Asker;

impl Handler for Asker {
    const TASK_TYPES: &'static [&'static str] = &["ask"];
    type Params = serde_json::Value;

    async fn run(&self, cx: &TaskCx, _: &Self::Params) -> Result<Report, Stop> {
        cx.wait_for_approval("production", None).await?;
        Ok(Report::new(Verdict::Succeeded, "worked"))
    }

    async fn unwind(&self, cx: &TaskCx, _: &Self::Params, cause: &Cause) -> Result<Report, Stop> {
        let answer = cx.wait_for_approval("production", None).await?;
        let mut report = cause.report();
        report.summary = format!(
            "undone, said {}",
            answer.map(|answer| answer.by).unwrap_or_default()
        );
        Ok(report)
    }
}

#[tokio::test]
async fn an_answer_that_came_too_late_for_the_run_is_none_to_the_same_question_of_the_unwinding() {
    let world = World::new();
    let id = world.enqueue(NewTask::new("ask", json!({})));
    run(&world, Asker).await;
    let approved = |by: &str| json!({ "decision": "approved", "by": by, "at": "2026-01-29T12:00:00Z" });
    world.send_signal(&id, &domain::Approval::signal("production"), approved("ada"));
    world.cancel(&id);
    run(&world, Asker).await;
    assert!(world.view(&id).unwrap().report.is_none(), "it asks anew");
    assert!(run(&world, Asker).await.is_none(), "and waits for an answer");
    world.send_signal(
        &id,
        &domain::Approval::signal_of_unwind("production"),
        approved("grace"),
    );
    run(&world, Asker).await;
    let view = world.view(&id).unwrap();
    assert_eq!(
        (view.status, view.report.unwrap().summary.as_str()),
        (TaskStatus::Cancelled, "undone, said grace")
    );
}

/// Undoes by what its run settled, which it reads as another type than it was written.
#[derive(Clone)]
struct Misread;

impl Handler for Misread {
    const TASK_TYPES: &'static [&'static str] = &["misread"];
    type Params = serde_json::Value;

    async fn run(&self, cx: &TaskCx, _: &Self::Params) -> Result<Report, Stop> {
        cx.step("plan", |_| async { Ok("v2".to_owned()) }).await?;
        Err(Stop::Fail(Error::rejected("it did not do well")))
    }

    async fn unwind(&self, cx: &TaskCx, _: &Self::Params, cause: &Cause) -> Result<Report, Stop> {
        assert_eq!(cx.recorded::<u64>("never")?, None, "what is not there is none");
        match cx.recorded::<u64>("plan")? {
            Some(_) => Ok(cause.report()),
            None => Ok(Report::new(Verdict::Failed, "nothing was touched")),
        }
    }
}

#[tokio::test]
async fn what_the_unwinding_cannot_read_holds_the_task() {
    let world = World::new();
    let id = world.enqueue(NewTask::new("misread", json!({})));
    run(&world, Misread).await;
    let view = world.view(&id).unwrap();
    assert_eq!(view.report, None, "it is not taken for never done");
    let why = view.held.unwrap();
    assert!(
        why.contains("the recorded result of step \"plan\" does not fit"),
        "{why}"
    );
}

/// Holds a shop, lets it go while it asks, and takes it again.
#[derive(Clone)]
struct Polite {
    first: bool,
}

impl Handler for Polite {
    const TASK_TYPES: &'static [&'static str] = &["polite"];
    type Params = serde_json::Value;

    async fn run(&self, cx: &TaskCx, _: &Self::Params) -> Result<Report, Stop> {
        let mut heard = Vec::new();
        for _ in 0..2 {
            match self.first {
                true => cx.lock_first("shop").await?,
                false => cx.lock("shop").await?,
            }
            if heard.is_empty() {
                cx.unlock("shop").await?;
                let answer = cx.wait_for_approval_or("opening", None, &["newer"]).await?;
                heard.push(match answer {
                    Waited::Got(answer) => answer.by,
                    Waited::Interrupted(heard) => heard.signal,
                    Waited::TimedOut => "nobody".to_owned(),
                });
            }
        }
        let woken = cx
            .sleep_or(
                "rest",
                "for the shop to rest",
                Duration::from_secs(60),
                &["newer"],
            )
            .await?;
        heard.push(woken.map_or("slept".to_owned(), |heard| heard.value.to_string()));
        Ok(Report::new(Verdict::Succeeded, heard.join(", ")))
    }

    async fn unwind(&self, _: &TaskCx, _: &Self::Params, cause: &Cause) -> Result<Report, Stop> {
        Ok(cause.report())
    }
}

#[tokio::test]
async fn a_lock_is_let_go_and_taken_again_and_a_signal_ends_a_wait_early() {
    let world = World::new();
    let polite = || Polite { first: false };
    let one = world.enqueue(NewTask::new("polite", json!({})));
    run(&world, polite()).await;
    assert!(world.queue_of("shop").is_empty(), "it asks without it");
    let two = world.enqueue(NewTask::new("polite", json!({})));
    run(&world, polite()).await;
    let three = world.enqueue(NewTask::new("polite", json!({})));
    run(&world, Polite { first: true }).await;
    let approved = json!({ "decision": "approved", "by": "ada", "at": "2026-01-29T12:00:00Z" });
    world.send_signal(&one, &domain::Approval::signal("opening"), approved);
    run(&world, polite()).await;
    assert_eq!(world.queue_of("shop"), std::slice::from_ref(&one));
    for task in [&two, &three] {
        world.send_signal(task, "newer", json!("two"));
    }
    run(&world, polite()).await;
    run(&world, Polite { first: true }).await;
    assert_eq!(
        world.queue_of("shop"),
        [one.clone(), three.clone(), two.clone()],
        "the third goes before the second, which waited longer"
    );
    let why = world.view(&three).unwrap().waits_for.unwrap().why;
    assert_eq!(why, format!("pending, behind task {one} on shop"));
    let rests = world.view(&one).unwrap().waits_for.unwrap();
    assert!(
        rests.why.starts_with("for the shop to rest until "),
        "{}",
        rests.why
    );
    world.advance(Duration::from_secs(60));
    run(&world, polite()).await;
    assert_eq!(world.view(&one).unwrap().report.unwrap().summary, "ada, slept");
    run(&world, Polite { first: true }).await;
    assert!(run(&world, polite()).await.is_none(), "the second waits on");
    world.send_signal(&three, "newer", json!(7));
    run(&world, Polite { first: true }).await;
    assert_eq!(world.view(&three).unwrap().report.unwrap().summary, "newer, 7");
    assert_eq!(
        world.view(&three).unwrap().done,
        [
            "run/lock/shop",
            "run/unlock/shop",
            "run/approval/opening",
            "run/lock/shop (2)",
            "run/rest"
        ]
    );
    assert_eq!(world.queue_of("shop"), [two]);
}
