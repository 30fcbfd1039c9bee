use std::slice::from_ref;

use domain::{NewTask, TaskStatus};
use durable::LockPlace::{First, Last};
use durable::{Lease, LockState};
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
    who_goes_first(&bench).await;
    let_go(&bench).await;
    let_go_by_a_child(&bench).await;
}

async fn in_turn<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let lock = at("run", 0, "lock/staging");
    let (a, b, c) = (
        bench.running().await,
        bench.running().await,
        bench.running().await,
    );
    assert_eq!(j.lock(&a, &lock, "staging", Last).await, Ok(LockState::Held));
    assert_eq!(
        j.lock(&a, &lock, "staging", Last).await,
        Ok(LockState::Held),
        "asked again"
    );
    assert_eq!(
        j.lock(&a, &at("run", 1, "lock/prod"), "prod", Last).await,
        Ok(LockState::Held),
        "another resource"
    );
    assert_eq!(
        j.lock(&b, &lock, "staging", Last).await,
        Ok(LockState::Behind(a.task.clone()))
    );
    assert_eq!(
        j.lock(&c, &lock, "staging", Last).await,
        Ok(LockState::Behind(b.task.clone()))
    );
    assert_eq!(
        j.lock(&b, &lock, "staging", Last).await,
        Ok(LockState::Behind(a.task.clone())),
        "a place is kept"
    );
    bench.settle(&b, for_lock("staging")).await;
    bench.settle(&c, for_lock("staging")).await;
    bench.nothing_is_due().await;
    bench.end(&a).await;
    let b = bench.claimed(&b.task).await.lease;
    bench.nothing_is_due().await;
    assert_eq!(j.lock(&b, &lock, "staging", Last).await, Ok(LockState::Held));
    assert_eq!(
        bench.b.queue_of("staging").await,
        [b.task.clone(), c.task.clone()]
    );

    // A lock outlives its worker, and parking.
    let b = bench.b.take_over(&b.task, "next").await.expect("take over").lease;
    assert_eq!(j.lock(&b, &lock, "staging", Last).await, Ok(LockState::Held));
    // One that gives up in the queue makes no room for itself.
    bench.b.cancel(&c.task).await;
    let c = bench.claimed(&c.task).await;
    assert!(c.cancelled);
    let d = bench.running().await;
    assert_eq!(
        j.lock(&d, &lock, "staging", Last).await,
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
    assert_eq!(j.lock(&d, &lock, "staging", Last).await, Ok(LockState::Held));
    bench.end(&d).await;
    assert!(bench.b.queue_of("staging").await.is_empty());
    assert!(bench.b.queue_of("prod").await.is_empty());
}

async fn freed_by<B: Backend>(bench: &Bench<B>, status: TaskStatus) {
    let lock = at("run", 0, "lock/staging");
    let a = bench.running().await;
    assert_eq!(
        bench.journal.lock(&a, &lock, "staging", Last).await,
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
        j.lock(&parent, &at("run", 0, "lock/r"), "r", Last).await,
        Ok(LockState::Held)
    );
    let child = j
        .spawn(&parent, &at("run", 1, "child"), &NewTask::new("work", json!({})))
        .await
        .expect("spawn");
    let child = bench.claimed(&child).await.lease;
    let stranger = bench.running().await;
    assert_eq!(
        j.lock(&stranger, &at("run", 0, "lock/r"), "r", Last).await,
        Ok(LockState::Behind(parent.task.clone()))
    );
    assert_eq!(
        j.lock(&child, &at("run", 0, "lock/r"), "r", Last).await,
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
    assert_eq!(j.lock(&holder, &lock, "r", Last).await, Ok(LockState::Held));
    let parent = bench.running().await;
    assert_eq!(
        j.lock(&parent, &lock, "r", Last).await,
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
        j.lock(&child, &lock, "r", Last).await,
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
        assert_eq!(j.lock(lease, &lock, "r", Last).await, Ok(LockState::Held));
    }
    for lease in woken.iter().rev() {
        bench.end(lease).await;
    }
    assert!(bench.b.queue_of("r").await.is_empty());
}

/// Before those who wait, behind the holder, and in order among themselves.
async fn who_goes_first<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let lock = at("run", 0, "lock/r");
    let mut tasks = Vec::new();
    for _ in 0..5 {
        tasks.push(bench.running().await);
    }
    let [holder, waiter, one, two, late] = &tasks[..] else {
        panic!("five tasks");
    };
    let behind = |task: &Lease| Ok(LockState::Behind(task.task.clone()));
    assert_eq!(j.lock(holder, &lock, "r", First).await, Ok(LockState::Held));
    assert_eq!(j.lock(waiter, &lock, "r", Last).await, behind(holder));
    assert_eq!(j.lock(one, &lock, "r", First).await, behind(holder));
    assert_eq!(j.lock(two, &lock, "r", First).await, behind(one));
    assert_eq!(j.lock(late, &lock, "r", Last).await, behind(waiter));
    assert_eq!(
        j.lock(one, &lock, "r", First).await,
        behind(holder),
        "a place is kept"
    );
    assert_eq!(
        j.lock(waiter, &lock, "r", First).await,
        behind(two),
        "who waits already does not jump"
    );
    let order = [holder, one, two, waiter, late];
    let tasks: Vec<_> = order.iter().map(|lease| lease.task.clone()).collect();
    assert_eq!(bench.b.queue_of("r").await, tasks);
    assert_eq!(
        j.lock(waiter, &at("run", 1, "lock/other"), "other", First).await,
        Ok(LockState::Held),
        "another resource has a queue of its own"
    );
    for lease in &order[1..] {
        bench.settle(lease, for_lock("r")).await;
    }
    bench.nothing_is_due().await;
    bench.end(holder).await;
    for lease in &order[1..] {
        let next = bench.claimed(&lease.task).await.lease;
        bench.nothing_is_due().await;
        assert_eq!(j.lock(&next, &lock, "r", First).await, Ok(LockState::Held));
        bench.end(&next).await;
    }
    assert!(bench.b.queue_of("r").await.is_empty());
}

/// What is let go passes on at once, and who let it go queues anew, at the end.
async fn let_go<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let lock = at("run", 0, "lock/r");
    let unlock = at("run", 1, "unlock/r");
    let (a, b) = (bench.running().await, bench.running().await);
    assert_eq!(j.lock(&a, &lock, "r", Last).await, Ok(LockState::Held));
    assert_eq!(
        j.lock(&a, &at("run/b", 0, "lock/kept"), "kept", Last).await,
        Ok(LockState::Held)
    );
    assert_eq!(
        j.lock(&b, &lock, "r", Last).await,
        Ok(LockState::Behind(a.task.clone()))
    );
    bench.settle(&b, for_lock("r")).await;
    assert_eq!(j.unlock(&a, &unlock, "r").await, Ok(()));
    let b = bench.claimed(&b.task).await.lease;
    assert_eq!(j.lock(&b, &lock, "r", Last).await, Ok(LockState::Held));
    assert_eq!(bench.b.queue_of("r").await, from_ref(&b.task));
    assert_eq!(bench.b.queue_of("kept").await, from_ref(&a.task));
    let again = at("run", 2, "lock/r (2)");
    assert_eq!(
        j.lock(&a, &again, "r", Last).await,
        Ok(LockState::Behind(b.task.clone()))
    );
    assert_eq!(
        j.unlock(&a, &unlock, "r").await,
        Ok(()),
        "what was let go once is not let go again"
    );
    assert_eq!(bench.b.queue_of("r").await, [b.task.clone(), a.task.clone()]);
    bench.end(&b).await;
    assert_eq!(j.lock(&a, &again, "r", Last).await, Ok(LockState::Held));
    bench.end(&a).await;
}

async fn let_go_by_a_child<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let parent = bench.running().await;
    assert_eq!(
        j.lock(&parent, &at("run", 0, "lock/r"), "r", Last).await,
        Ok(LockState::Held)
    );
    let child = NewTask::new("work", json!({}));
    let child = j.spawn(&parent, &at("run", 1, "child"), &child).await;
    let child = bench.claimed(&child.expect("spawn")).await.lease;
    assert_eq!(
        j.lock(&child, &at("run", 0, "lock/r"), "r", Last).await,
        Ok(LockState::Held)
    );
    assert_eq!(j.unlock(&child, &at("run", 1, "unlock/r"), "r").await, Ok(()));
    assert_eq!(
        bench.b.queue_of("r").await,
        from_ref(&parent.task),
        "what an ancestor holds stays held"
    );
    bench.end(&child).await;
    bench.end(&parent).await;
}
