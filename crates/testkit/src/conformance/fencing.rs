use std::time::Duration;

use domain::{NewTask, Report, Staged, TaskStatus, Verdict};
use durable::memory::Settled;
use durable::{Journal, JournalError, Lease, LockPlace, Recorded, StepKind};
use serde_json::json;

use super::{Bench, at, ended, for_signal};
use crate::backend::Backend;

/// Whoever does not hold the lease writes nothing, by any call.
pub async fn fencing<B: Backend>(b: B) {
    let bench = Bench::new(b);

    let lease = bench.running().await;
    let wrong_attempt = Lease {
        attempt: lease.attempt + 1,
        ..lease.clone()
    };
    let wrong_worker = Lease {
        worker: "somebody".into(),
        ..lease.clone()
    };
    refused(&bench, "a later attempt", &wrong_attempt).await;
    refused(&bench, "another worker", &wrong_worker).await;
    refused(
        &bench,
        "no task",
        &Lease {
            task: "nothing".into(),
            ..lease.clone()
        },
    )
    .await;
    bench
        .journal
        .start(&lease, &at("run", 0, "mine"))
        .await
        .expect("the lease itself holds");

    // Taken over: the old lease is dead, the new one holds.
    let rival = bench
        .b
        .take_over(&lease.task, "rival")
        .await
        .expect("a running task can be taken over");
    assert!(
        rival.lease.attempt > lease.attempt,
        "every claim raises the attempt"
    );
    refused(&bench, "the one that was taken over", &lease).await;
    let history = bench
        .journal
        .history(&rival.lease)
        .await
        .expect("the new lease holds");
    assert_eq!(
        history.len(),
        1,
        "only what was written under the lease is there: {history:?}"
    );

    // Run out, though nobody has taken the task yet.
    bench.b.expire(&rival.lease.worker).await;
    refused(&bench, "an expired lease", &rival.lease).await;
    let again = bench.claimed(&lease.task).await;

    // Parked, and ended.
    bench.settle(&again.lease, for_signal("go")).await;
    refused(&bench, "a parked task's last lease", &again.lease).await;
    bench.b.signal(&lease.task, "go", json!(1)).await;
    let last = bench.claimed(&lease.task).await;
    bench.end(&last.lease).await;
    refused(&bench, "an ended task's last lease", &last.lease).await;
    assert!(
        bench.b.staged().await.is_empty(),
        "nothing that was refused was remembered"
    );
    assert!(
        bench.b.told(&lease.task).await.is_empty(),
        "nothing that was refused was told"
    );
    assert!(
        bench.b.queue_of("fenced").await.is_empty(),
        "nobody that was refused queues"
    );
    assert_eq!(
        bench.b.seen().await.len(),
        1,
        "no child was made by a refused spawn"
    );
}

async fn refused<B: Backend>(bench: &Bench<B>, who: &str, lease: &Lease) {
    let lost = Err(JournalError::LeaseLost);
    let j: &dyn Journal = bench.journal.as_ref();
    let staged = vec![Staged {
        memory: "flake".into(),
        record: json!({"repo_id": "r", "job": "j", "git_ref": "main", "sha": "0", "class": "c", "retried": true, "task_id": "t"}),
    }];
    let step = at("run", 7, "refused");
    let ok = Recorded::Ok(json!(1));
    assert_eq!(j.history(lease).await.map(|_| ()), lost, "history by {who}");
    assert_eq!(j.start(lease, &step).await, lost, "start by {who}");
    assert_eq!(
        j.done(lease, &step, StepKind::Step, &ok, staged).await,
        lost,
        "done by {who}"
    );
    assert_eq!(
        j.timer(lease, &step, Duration::ZERO).await.map(|_| ()),
        lost,
        "timer by {who}"
    );
    assert_eq!(
        j.take_signal(lease, &step, &[], None).await.map(|_| ()),
        lost,
        "take_signal by {who}"
    );
    assert_eq!(
        j.lock(lease, &step, "fenced", LockPlace::First).await.map(|_| ()),
        lost,
        "lock by {who}"
    );
    assert_eq!(j.unlock(lease, &step, "fenced").await, lost, "unlock by {who}");
    let child = NewTask::new("work", json!({}));
    assert_eq!(
        j.spawn(lease, &step, &child).await.map(|_| ()),
        lost,
        "spawn by {who}"
    );
    assert_eq!(
        j.child(lease, &step, &lease.task).await.map(|_| ()),
        lost,
        "child by {who}"
    );
    assert_eq!(
        j.cancel_child(lease, &lease.task).await,
        lost,
        "cancel_child by {who}"
    );
    let report = Report::new(Verdict::Running, "refused");
    assert_eq!(j.tell(lease, &step, &report).await, lost, "tell by {who}");
    // Other outcomes than the recorded one: repeating that may be answered as done, since an answer can get lost.
    for outcome in [ended(TaskStatus::Failed), for_signal("another")] {
        let settled = if lease.task.as_str() == "nothing" {
            Settled::LeaseLost
        } else {
            bench.b.settle(lease, outcome).await
        };
        assert_eq!(settled, Settled::LeaseLost, "settle by {who}");
    }
}
