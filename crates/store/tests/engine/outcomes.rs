//! What a worker writes that has lost a task, and who finds what it left.

use std::time::Duration;

use domain::{RepoRef, Report, TaskStatus, TicketKind, TicketRef, Verdict};
use durable::{Lease, Outcome, Wake};
use store::{Settle, Settled, Store, Taken};
use testkit::postgres::{self, Database};

use crate::common::{LONG, claim, register};

fn completed(lease: &Lease) -> Settle {
    Settle {
        lease: lease.clone(),
        parent: None,
        ticket: Some(TicketRef {
            repo: RepoRef {
                provider: "gitlab".to_owned(),
                url: String::new(),
                project: "shop/checkout".to_owned(),
            },
            kind: TicketKind::Issue,
            iid: 7,
        }),
        outcome: Outcome::Ended {
            status: TaskStatus::Completed,
            report: Box::new(Report::new(Verdict::Succeeded, "done")),
            error: None,
        },
        delay: Duration::ZERO,
    }
}

async fn take(store: &Store, worker: &str, most: u32) -> Vec<store::Claimed> {
    store
        .claim(&claim(worker, most), &Taken::default())
        .await
        .expect("claim")
}

/// One task that a worker runs, which has a lock.
async fn running() -> (Database, Store, Lease) {
    let db = postgres::database().await;
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('a', 'deploy', 'devops')")
        .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let lease = take(&store, "w", 1).await.remove(0).lease.clone();
    db.sql("INSERT INTO longshore.resource_locks (resource, task_id) VALUES ('shop', 'a')")
        .await;
    (db, store, lease)
}

/// What only somebody who ends a task may write: nothing of it was.
async fn nothing_was_told(db: &Database) {
    let told = "SELECT (SELECT count(*) FROM longshore.ticket_outbox) + (SELECT count(*) FROM longshore.task_events)";
    assert_eq!(db.value(told).await.as_deref(), Some("0"));
    let locks = "SELECT count(*) FROM longshore.resource_locks";
    assert_eq!(db.value(locks).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_task_that_was_cancelled_meanwhile_does_not_end_as_completed() {
    let (db, store, lease) = running().await;
    db.sql("UPDATE tasks SET status = 'cancelled'").await;
    let settled = store.finish(&[completed(&lease)]).await.expect("finish");
    assert_eq!(settled, [Settled::CancelRequested]);
    nothing_was_told(&db).await;
}

#[tokio::test]
async fn who_lost_the_lease_ends_nothing_alone_or_in_a_batch() {
    let (db, store, lost) = running().await;
    db.sql(
        "UPDATE tasks SET attempt = attempt + 1;
         INSERT INTO tasks (id, task_type, assigned_to) VALUES ('b', 'deploy', 'devops')",
    )
    .await;
    let settled = store.finish(&[completed(&lost)]).await.expect("finish");
    assert_eq!(settled, [Settled::LeaseLost]);
    nothing_was_told(&db).await;

    let held = take(&store, "w", 1).await.remove(0).lease.clone();
    let settled = store
        .finish(&[completed(&lost), completed(&held)])
        .await
        .expect("finish");
    assert_eq!(settled, [Settled::LeaseLost, Settled::Written]);
    let ended = "SELECT string_agg(id, ' ') FROM tasks WHERE status = 'completed'";
    assert_eq!(db.value(ended).await.as_deref(), Some("b"));
}

#[tokio::test]
async fn a_claim_is_not_forgotten_under_a_lease_that_has_run_out() {
    let (db, store, _) = running().await;
    db.sql("UPDATE longshore.workers SET lease_until = clock_timestamp()")
        .await;
    let known: i64 = db
        .value("SELECT id FROM longshore.claims")
        .await
        .and_then(|id| id.parse().ok())
        .expect("a claim");
    let mut next = claim("w", 1);
    next.over = vec![known];
    let claimed = store.claim(&next, &Taken::default()).await.expect("claim");
    assert!(claimed.is_empty());
    register(&store, "heir", LONG).await;
    let taken_over = take(&store, "heir", 1).await;
    assert_eq!(taken_over.len(), 1);
    assert_eq!(taken_over[0].info.id.as_str(), "a");
}

#[tokio::test]
async fn what_another_program_ended_keeps_no_claim_of_a_dead_worker() {
    let (db, store, _) = running().await;
    db.sql(
        "UPDATE tasks SET status = 'completed';
         UPDATE longshore.workers SET lease_until = clock_timestamp()",
    )
    .await;
    store.housekeeping(LONG).await.expect("housekeeping");
    let claims = "SELECT count(*) FROM longshore.claims";
    assert_eq!(db.value(claims).await.as_deref(), Some("0"));
}

#[tokio::test]
async fn what_another_program_claimed_is_found_though_our_worker_had_it() {
    let (db, store, _) = running().await;
    db.sql(
        "UPDATE tasks SET status = 'pending'; UPDATE tasks SET status = 'claimed', assigned_to = 'builder'",
    )
    .await;
    db.sql("UPDATE longshore.workers SET lease_until = clock_timestamp()")
        .await;
    let reset = store.reset_stale(Duration::ZERO).await.expect("reset");
    assert_eq!(reset.len(), 1);
}

#[tokio::test]
async fn a_time_that_few_programs_can_read_stops_no_claim() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (task_type, assigned_to, created_at)
         SELECT 'deploy', 'devops', at::timestamp FROM unnest(ARRAY['12345-01-01', '2026-01-01', '0044-03-15 BC', 'infinity']) AS at",
    )
    .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let taken = Taken::default();
    let mut seen = 0;
    for _ in 0..4 {
        let claimed = store.claim(&claim("w", 1), &taken).await.expect("claim");
        seen += claimed.len();
    }
    assert_eq!(seen, 4);
}

#[tokio::test]
async fn a_quiet_wait_stands_in_the_history_and_is_not_told_on_the_ticket() {
    let (db, store, lease) = running().await;
    for (quiet, told) in [(true, "0"), (false, "1")] {
        let mut park = completed(&lease);
        park.outcome = Outcome::Park(Wake {
            why: "for v2 to become ready".to_owned(),
            quiet,
            ..Wake::default()
        });
        assert_eq!(store.park(&park).await.expect("park"), Settled::Written);
        let notes = "SELECT count(*) FROM longshore.ticket_outbox";
        assert_eq!(db.value(notes).await.as_deref(), Some(told), "{quiet}");
        // As if it ran on.
        db.sql("UPDATE tasks SET status = 'in_progress', worker_id = 'w'")
            .await;
        db.claimed().await;
    }
    let history = "SELECT count(*) FROM longshore.task_events WHERE kind = 'parked'";
    assert_eq!(db.value(history).await.as_deref(), Some("2"));
}
