use domain::{NewTask, TaskStatus};
use durable::LockPlace::{First, Last};
use durable::memory::Settled;
use durable::{LockState, SignalState};
use serde_json::json;

use super::{Bench, at, ended, for_child, for_lock, for_signal};
use crate::backend::Backend;

/// What waits and what wakes it meet at the same moment, again and again: no wake-up is ever lost.
pub async fn races<B: Backend>(b: B, rounds: u32) {
    let bench = Bench::new(b);
    for round in 0..rounds {
        lock_against_release(&bench, round).await;
        first_against_unlock(&bench).await;
        park_against_signal(&bench).await;
        park_against_child(&bench).await;
        settle_against_cancel(&bench).await;
    }
}

/// One asks for a lock, for the first time or again, and parks, while its holder ends.
async fn lock_against_release<B: Backend>(bench: &Bench<B>, round: u32) {
    let j = &bench.journal;
    let lock = at("run", 0, "lock/r");
    let (holder, waiter) = (bench.running().await, bench.running().await);
    assert_eq!(j.lock(&holder, &lock, "r", Last).await, Ok(LockState::Held));
    if round % 2 == 1 {
        assert_eq!(
            j.lock(&waiter, &lock, "r", Last).await,
            Ok(LockState::Behind(holder.task.clone()))
        );
    }
    let asks = async {
        let state = j.lock(&waiter, &lock, "r", Last).await.expect("lock");
        if state != LockState::Held {
            bench.settle(&waiter, for_lock("r")).await;
        }
        state
    };
    let ((), state) = tokio::join!(bench.end(&holder), asks);
    let waiter = if state == LockState::Held {
        waiter
    } else {
        bench.claimed(&waiter.task).await.lease
    };
    assert_eq!(j.lock(&waiter, &lock, "r", Last).await, Ok(LockState::Held));
    bench.end(&waiter).await;
}

/// One goes first while the holder lets go and another waits: exactly one of the two has it, and the other comes next.
async fn first_against_unlock<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let lock = at("run", 0, "lock/r");
    let (holder, waiter, first) = (
        bench.running().await,
        bench.running().await,
        bench.running().await,
    );
    assert_eq!(j.lock(&holder, &lock, "r", Last).await, Ok(LockState::Held));
    assert_eq!(
        j.lock(&waiter, &lock, "r", Last).await,
        Ok(LockState::Behind(holder.task.clone()))
    );
    bench.settle(&waiter, for_lock("r")).await;
    let unlock = at("run", 1, "unlock/r");
    let asks = async {
        let state = j.lock(&first, &lock, "r", First).await.expect("lock");
        if state != LockState::Held {
            bench.settle(&first, for_lock("r")).await;
        }
    };
    let (let_go, ()) = tokio::join!(j.unlock(&holder, &unlock, "r"), asks);
    let_go.expect("unlock");
    for _ in 0..2 {
        let next = bench.b.queue_of("r").await.remove(0);
        let claimed = bench.claimed(&next).await.lease;
        assert_eq!(j.lock(&claimed, &lock, "r", Last).await, Ok(LockState::Held));
        bench.end(&claimed).await;
    }
    bench.end(&holder).await;
    assert!(bench.b.queue_of("r").await.is_empty());
}

async fn park_against_signal<B: Backend>(bench: &Bench<B>) {
    let lease = bench.running().await;
    let go = at("run", 0, "go");
    let asks = async {
        let state = bench
            .journal
            .take_signal(&lease, &go, &[], None)
            .await
            .expect("take a signal");
        if matches!(state, SignalState::Waiting { .. }) {
            bench.settle(&lease, for_signal("go")).await;
            return bench.journal_after(&lease.task).await;
        }
        lease.clone()
    };
    let sends = bench.b.signal(&lease.task, "go", json!(1));
    let (lease, ()) = tokio::join!(asks, sends);
    assert_eq!(
        bench.journal.take_signal(&lease, &go, &[], None).await,
        Ok(SignalState::Received(json!(1)))
    );
    bench.end(&lease).await;
}

async fn park_against_child<B: Backend>(bench: &Bench<B>) {
    let j = &bench.journal;
    let parent = bench.running().await;
    let child = j
        .spawn(&parent, &at("run", 0, "c"), &NewTask::new("work", json!({})))
        .await
        .expect("spawn");
    let running = bench.claimed(&child).await.lease;
    let wait = at("run", 1, &format!("child/{child}"));
    let asks = async {
        let over = j.child(&parent, &wait, &child).await.expect("child").is_some();
        if !over {
            bench.settle(&parent, for_child(&child)).await;
        }
        over
    };
    let (over, ()) = tokio::join!(asks, bench.end(&running));
    let parent = if over {
        parent
    } else {
        bench.claimed(&parent.task).await.lease
    };
    assert!(j.child(&parent, &wait, &child).await.expect("child").is_some());
    bench.end(&parent).await;
}

/// A cancel either comes before the end, and is obeyed, or after it, and changes nothing.
async fn settle_against_cancel<B: Backend>(bench: &Bench<B>) {
    let lease = bench.running().await;
    let ends = bench.b.settle(&lease, ended(TaskStatus::Completed));
    let (settled, ()) = tokio::join!(ends, bench.b.cancel(&lease.task));
    if settled == Settled::CancelRequested {
        bench.settle(&lease, ended(TaskStatus::Cancelled)).await;
        assert_eq!(bench.b.one(&lease.task).await.status, TaskStatus::Cancelled);
    } else {
        assert_eq!(settled, Settled::Written);
        assert_eq!(bench.b.one(&lease.task).await.status, TaskStatus::Completed);
    }
    assert!(bench.b.one(&lease.task).await.is_over());
}

impl<B: Backend> Bench<B> {
    /// The lease of a task that parked while something woke it, as soon as that has come.
    async fn journal_after(&self, task: &domain::TaskId) -> durable::Lease {
        loop {
            if let Some(claimed) = self.b.claim("worker").await {
                assert_eq!(claimed.info.id, *task);
                return claimed.lease;
            }
            tokio::task::yield_now().await;
        }
    }
}
