use chrono::DateTime;
use domain::{Error, NewTask, TaskStatus};
use durable::memory::Settled;
use durable::{Outcome, Recorded, StepKind, Wake};
use serde_json::json;

use super::{Bench, at, ended, for_signal};
use crate::backend::Backend;

/// What an attempt's outcome makes of the task, and what a cancel makes of it at each of its stations.
pub async fn outcomes<B: Backend>(b: B) {
    let bench = Bench::new(b);
    written_once(&bench).await;
    cancelled(&bench).await;
}

async fn written_once<B: Backend>(bench: &Bench<B>) {
    let lease = bench.running().await;
    bench
        .settle(&lease, Outcome::Retry(Error::unavailable("the far side is down")))
        .await;
    let again = bench.claimed(&lease.task).await;
    assert_eq!(again.failures, 1, "a transient failure is counted");
    // A worker's death is no failure of the task.
    let next = bench.b.take_over(&lease.task, "next").await.expect("take over");
    assert_eq!(next.failures, 1);
    let due = Outcome::Park(Wake {
        at: Some(DateTime::UNIX_EPOCH),
        ..Wake::default()
    });
    bench.settle(&next.lease, due).await;
    let next = bench.claimed(&lease.task).await;
    assert_eq!(
        next.failures, 0,
        "a new wait is progress: only failures in a row count"
    );

    bench
        .settle(&next.lease, Outcome::Hold("look at the chart".into()))
        .await;
    let held = bench.b.one(&lease.task).await;
    assert_eq!(
        (held.status, held.held.as_deref()),
        (TaskStatus::Waiting, Some("look at the chart"))
    );
    bench.nothing_is_due().await;
    bench.b.advance(std::time::Duration::from_secs(1_000_000)).await;
    bench.nothing_is_due().await;
    bench.b.resume(&lease.task).await;
    let resumed = bench.claimed(&lease.task).await;
    bench.settle(&resumed.lease, ended(TaskStatus::Failed)).await;
    let over = bench.b.one(&lease.task).await;
    assert!(over.is_over(), "{over:?}");
    assert_eq!(
        (over.status, over.error.as_deref()),
        (TaskStatus::Failed, Some("it is bad"))
    );
    assert_eq!(over.report.map(|report| report.summary).as_deref(), Some("over"));
    let again = bench.b.settle(&resumed.lease, ended(TaskStatus::Completed)).await;
    assert_eq!(again, Settled::LeaseLost, "an end is written once");
    bench.nothing_is_due().await;
}

async fn cancelled<B: Backend>(bench: &Bench<B>) {
    // Never started: over, and never claimed.
    let pending = bench.b.enqueue(NewTask::new("work", json!({}))).await;
    bench.b.cancel(&pending).await;
    bench.nothing_is_due().await;
    assert!(bench.b.one(&pending).await.is_over());

    // Parked, and held: claimed at once to be unwound.
    for outcome in [for_signal("never"), Outcome::Hold("for a person".into())] {
        let lease = bench.running().await;
        bench.settle(&lease, outcome).await;
        bench.b.cancel(&lease.task).await;
        assert!(
            !bench.b.one(&lease.task).await.is_over(),
            "it has to be unwound first"
        );
        let claimed = bench.claimed(&lease.task).await;
        assert!(claimed.cancelled, "whoever claims it is told");
        bench.settle(&claimed.lease, ended(TaskStatus::Cancelled)).await;
        assert!(bench.b.one(&lease.task).await.is_over());
    }

    // Running: seen at settling, whatever the outcome; the lease holds, steps can be written.
    let lease = bench.running().await;
    bench.b.cancel(&lease.task).await;
    let park = for_signal("never");
    let hold = Outcome::Hold("for a person".into());
    let retry = Outcome::Retry(Error::unavailable("down"));
    for outcome in [ended(TaskStatus::Completed), park, hold, retry] {
        assert_eq!(bench.b.settle(&lease, outcome).await, Settled::CancelRequested);
    }
    let cause = Recorded::Ok(json!({"cause": "cancelled"}));
    let at_cause = at("unwind", 0, "cause");
    bench
        .journal
        .done(&lease, &at_cause, StepKind::Step, &cause, vec![])
        .await
        .expect("the lease holds");
    // Unwinding may wait, and another worker may go on with it.
    bench.settle(&lease, for_signal("drained")).await;
    bench.b.signal(&lease.task, "drained", json!(1)).await;
    let lease = bench.claimed(&lease.task).await.lease;
    let next = bench.b.take_over(&lease.task, "next").await.expect("take over");
    bench.settle(&next.lease, ended(TaskStatus::Cancelled)).await;
    assert_eq!(bench.b.one(&lease.task).await.status, TaskStatus::Cancelled);

    // Cancelled while it is unwound for a failure: recorded and ignored.
    let lease = bench.running().await;
    bench
        .journal
        .done(&lease, &at_cause, StepKind::Step, &cause, vec![])
        .await
        .expect("done");
    bench.b.cancel(&lease.task).await;
    bench.settle(&lease, ended(TaskStatus::Failed)).await;
    let over = bench.b.one(&lease.task).await;
    assert!(over.is_over() && over.status == TaskStatus::Failed, "{over:?}");
}
