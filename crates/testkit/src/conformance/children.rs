use domain::{NewTask, TaskStatus};
use durable::memory::Settled;
use serde_json::json;

use super::{Bench, at, ended, for_child};
use crate::backend::Backend;

/// Children are made once, end as values, wake who awaits them, and are cancelled when asked.
pub async fn children<B: Backend>(b: B) {
    let bench = Bench::new(b);
    let j = &bench.journal;
    let parent = bench.running().await;
    let work = |name: &str| NewTask::new("work", json!({ "name": name }));

    // Once, whoever asks again.
    let spawn = at("run", 0, "spawn");
    let child = j.spawn(&parent, &spawn, &work("one")).await.expect("spawn");
    assert_eq!(
        j.spawn(&parent, &spawn, &work("one")).await,
        Ok(child.clone()),
        "asked again"
    );
    let next = bench
        .b
        .take_over(&parent.task, "next")
        .await
        .expect("take over")
        .lease;
    assert_eq!(
        j.spawn(&next, &spawn, &work("one")).await,
        Ok(child.clone()),
        "by the next worker"
    );
    assert_eq!(bench.b.seen().await.len(), 2);
    let seen = bench.b.one(&child).await;
    assert_eq!(
        (seen.parent.as_ref(), seen.status),
        (Some(&next.task), TaskStatus::Pending)
    );
    assert_eq!(seen.payload, json!({"name": "one"}));

    // Not over yet: awaited, parked, woken by the end; how it ended is a value.
    let wait = at("run", 1, &format!("child/{child}"));
    assert_eq!(j.child(&next, &wait, &child).await, Ok(None));
    assert_eq!(j.child(&next, &wait, &child).await, Ok(None), "asked again");
    bench.settle(&next, for_child(&child)).await;
    let running = bench.claimed(&child).await.lease;
    bench.nothing_is_due().await;
    bench.settle(&running, ended(TaskStatus::Failed)).await;
    let mut lease = bench.claimed(&parent.task).await.lease;
    let outcome = j
        .child(&lease, &wait, &child)
        .await
        .expect("child")
        .expect("it is over");
    assert_eq!(
        (outcome.status, outcome.error.as_deref()),
        (TaskStatus::Failed, Some("it is bad"))
    );
    assert_eq!(outcome.result["summary"], json!("over"));
    assert_eq!(
        j.child(&lease, &wait, &child).await,
        Ok(Some(outcome)),
        "the answer stays"
    );

    // Ends between the question and the parking.
    let child = j
        .spawn(&lease, &at("run", 2, "quick"), &work("two"))
        .await
        .expect("spawn");
    let running = bench.claimed(&child).await.lease;
    let wait = at("run", 3, &format!("child/{child}"));
    assert_eq!(j.child(&lease, &wait, &child).await, Ok(None));
    bench.end(&running).await;
    bench.settle(&lease, for_child(&child)).await;
    lease = bench.claimed(&parent.task).await.lease;
    let outcome = j
        .child(&lease, &wait, &child)
        .await
        .expect("child")
        .expect("it is over");
    assert_eq!(outcome.status, TaskStatus::Completed);

    // One that is not there, or no more: whoever awaits it would wait for ever.
    let gone = j
        .child(&lease, &at("run", 4, "child/none"), &"none".into())
        .await
        .expect("child")
        .expect("it is over");
    assert_eq!(
        (gone.status, gone.error.as_deref()),
        (
            TaskStatus::Failed,
            Some("task none is not there: it was deleted before it was seen to end")
        )
    );

    // Cancelling: one that was never run is over at once; a running one is asked, and unwinds first; one that is
    // over stays as it is.
    let pending = j
        .spawn(&lease, &at("run/c", 0, "pending"), &work("three"))
        .await
        .expect("spawn");
    j.cancel_child(&lease, &pending).await.expect("cancel");
    let seen = bench.b.one(&pending).await;
    assert!(seen.is_over() && seen.status == TaskStatus::Cancelled, "{seen:?}");
    bench.nothing_is_due().await;
    let running = j
        .spawn(&lease, &at("run/c", 1, "running"), &work("four"))
        .await
        .expect("spawn");
    let running = bench.claimed(&running).await.lease;
    j.cancel_child(&lease, &running.task).await.expect("cancel");
    assert!(
        !bench.b.one(&running.task).await.is_over(),
        "it has to be unwound first"
    );
    let wait = at("run/c", 2, &format!("child/{}", running.task));
    assert_eq!(
        j.child(&lease, &wait, &running.task).await,
        Ok(None),
        "cancelling is not over"
    );
    assert_eq!(
        bench.b.settle(&running, ended(TaskStatus::Completed)).await,
        Settled::CancelRequested
    );
    bench.settle(&running, ended(TaskStatus::Cancelled)).await;
    let outcome = j
        .child(&lease, &wait, &running.task)
        .await
        .expect("child")
        .expect("it is over");
    assert_eq!(outcome.status, TaskStatus::Cancelled);
    j.cancel_child(&lease, &child).await.expect("cancel what is over");
    assert_eq!(bench.b.one(&child).await.status, TaskStatus::Completed);
    bench.end(&lease).await;
}
