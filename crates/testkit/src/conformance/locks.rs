use domain::{NewTask, TaskStatus};
use durable::LockState;
use serde_json::json;

use super::{Bench, at, ended, for_lock};
use crate::backend::Backend;

/// First come, first served; inherited by children; free at the end, and the next is woken.
pub async fn locks<B: Backend>(b: B) {
    let bench = Bench::new(b);
    in_turn(&bench).await;
    for status in [TaskStatus::Failed, TaskStatus::Cancelled] {
        freed_by(&bench, status).await;
    }
    inherited(&bench).await;
    behind_the_parent(&bench).await;
}

async fn in_turn<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let lock = at("run", 0, "lock/staging");
    let (a, b, c) = (
        bench.running().await,
        bench.running().await,
        bench.running().await,
    );
    assert_eq!(j.lock(&a, &lock, "staging").await, Ok(LockState::Held));
    assert_eq!(
        j.lock(&a, &lock, "staging").await,
        Ok(LockState::Held),
        "asked again"
    );
    assert_eq!(
        j.lock(&a, &at("run", 1, "lock/prod"), "prod").await,
        Ok(LockState::Held),
        "another resource"
    );
    assert_eq!(
        j.lock(&b, &lock, "staging").await,
        Ok(LockState::Behind(a.task.clone()))
    );
    assert_eq!(
        j.lock(&c, &lock, "staging").await,
        Ok(LockState::Behind(b.task.clone()))
    );
    assert_eq!(
        j.lock(&b, &lock, "staging").await,
        Ok(LockState::Behind(a.task.clone())),
        "a place is kept"
    );
    bench.settle(&b, for_lock("staging")).await;
    bench.settle(&c, for_lock("staging")).await;
    bench.nothing_is_due().await;
    bench.end(&a).await;
    let b = bench.claimed(&b.task).await.lease;
    bench.nothing_is_due().await;
    assert_eq!(j.lock(&b, &lock, "staging").await, Ok(LockState::Held));
    assert_eq!(
        bench.b.queue_of("staging").await,
        [b.task.clone(), c.task.clone()]
    );

    // A lock outlives its worker, and parking.
    let b = bench.b.take_over(&b.task, "next").await.expect("take over").lease;
    assert_eq!(j.lock(&b, &lock, "staging").await, Ok(LockState::Held));
    // One that gives up in the queue makes no room for itself.
    bench.b.cancel(&c.task).await;
    let c = bench.claimed(&c.task).await;
    assert!(c.cancelled);
    let d = bench.running().await;
    assert_eq!(
        j.lock(&d, &lock, "staging").await,
        Ok(LockState::Behind(c.lease.task.clone()))
    );
    bench.settle(&c.lease, ended(TaskStatus::Cancelled)).await;
    assert_eq!(
        bench.b.queue_of("staging").await,
        [b.task.clone(), d.task.clone()]
    );
    // Freed between the question and the parking.
    bench.end(&b).await;
    bench.settle(&d, for_lock("staging")).await;
    let d = bench.claimed(&d.task).await.lease;
    assert_eq!(j.lock(&d, &lock, "staging").await, Ok(LockState::Held));
    bench.end(&d).await;
    assert!(bench.b.queue_of("staging").await.is_empty());
    assert!(bench.b.queue_of("prod").await.is_empty());
}

async fn freed_by<B: Backend>(bench: &Bench<B>, status: TaskStatus) {
    let lock = at("run", 0, "lock/staging");
    let a = bench.running().await;
    assert_eq!(
        bench.journal.lock(&a, &lock, "staging").await,
        Ok(LockState::Held)
    );
    bench.settle(&a, ended(status)).await;
    assert!(
        bench.b.queue_of("staging").await.is_empty(),
        "{status} frees the lock"
    );
}

async fn inherited<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let parent = bench.running().await;
    assert_eq!(
        j.lock(&parent, &at("run", 0, "lock/r"), "r").await,
        Ok(LockState::Held)
    );
    let child = j
        .spawn(&parent, &at("run", 1, "child"), &NewTask::new("work", json!({})))
        .await
        .expect("spawn");
    let child = bench.claimed(&child).await.lease;
    let stranger = bench.running().await;
    assert_eq!(
        j.lock(&stranger, &at("run", 0, "lock/r"), "r").await,
        Ok(LockState::Behind(parent.task.clone()))
    );
    assert_eq!(
        j.lock(&child, &at("run", 0, "lock/r"), "r").await,
        Ok(LockState::Held),
        "a child has what its parent holds, whoever waits"
    );
    bench.end(&child).await;
    assert_eq!(
        bench.b.queue_of("r").await.first(),
        Some(&parent.task),
        "the child's end does not free the parent's lock"
    );
    bench.settle(&stranger, for_lock("r")).await;
    bench.nothing_is_due().await;
    bench.end(&parent).await;
    let stranger = bench.claimed(&stranger.task).await.lease;
    bench.end(&stranger).await;
}

/// A child that queues behind its own queueing parent gets the lock when the parent does: the parent may be
/// waiting for that very child.
async fn behind_the_parent<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let lock = at("run", 0, "lock/r");
    let holder = bench.running().await;
    assert_eq!(j.lock(&holder, &lock, "r").await, Ok(LockState::Held));
    let parent = bench.running().await;
    assert_eq!(
        j.lock(&parent, &lock, "r").await,
        Ok(LockState::Behind(holder.task.clone()))
    );
    let child = j
        .spawn(
            &parent,
            &at("run/b", 0, "child"),
            &NewTask::new("work", json!({})),
        )
        .await
        .expect("spawn");
    let child = bench.claimed(&child).await.lease;
    assert_eq!(
        j.lock(&child, &lock, "r").await,
        Ok(LockState::Behind(parent.task.clone()))
    );
    bench.settle(&child, for_lock("r")).await;
    bench.settle(&parent, for_lock("r")).await;
    bench.nothing_is_due().await;
    bench.end(&holder).await;
    let mut woken = Vec::new();
    while let Some(claimed) = bench.b.claim("worker").await {
        woken.push(claimed.lease);
    }
    woken.sort_by_key(|lease| lease.task != parent.task);
    let tasks: Vec<_> = woken.iter().map(|lease| lease.task.clone()).collect();
    assert_eq!(
        tasks,
        [parent.task.clone(), child.task.clone()],
        "parent and child are both woken"
    );
    for lease in &woken {
        assert_eq!(j.lock(lease, &lock, "r").await, Ok(LockState::Held));
    }
    for lease in woken.iter().rev() {
        bench.end(lease).await;
    }
    assert!(bench.b.queue_of("r").await.is_empty());
}
