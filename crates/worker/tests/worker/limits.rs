//! Order, limits, holds and what people do by hand.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{Scripted, fast, insert, start, summary, until, until_status};
use domain::TaskStatus;
use testkit::postgres;
use worker::{Config, TypeLimits};

fn limited(limits: TypeLimits) -> Config {
    Config {
        limits: BTreeMap::from([("scripted".to_owned(), limits)]),
        ..fast()
    }
}

#[tokio::test]
async fn ten_comes_first_then_the_oldest_and_the_future_waits() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, priority, created_at, run_at, payload)
         SELECT id, 'scripted', 'devops', priority, created_at, run_at, '{\"script\": \"count\"}'
           FROM (VALUES ('young five', 5, '2026-01-02'::timestamp, '2026-01-02'::timestamp),
                        ('old five', 5, '2026-01-01', '2026-01-01'), ('one', 1, '2026-01-01', '2026-01-01'),
                        ('ten', 10, '2026-01-03', '2026-01-03'), ('nine', 9, '2026-01-01', '2026-01-01'),
                        ('future ten', 10, '2026-01-01', 'infinity')) AS t(id, priority, created_at, run_at)",
    )
    .await;
    let worker = start(&db, &handler, Config { slots: 1, ..fast() }).await;
    until_status(&db, "one", "completed").await;
    assert_eq!(
        *handler.order.lock().unwrap(),
        ["ten", "nine", "old five", "young five", "one"]
    );
    assert_eq!(
        db.value("SELECT status FROM tasks WHERE id = 'future ten'")
            .await
            .as_deref(),
        Some("pending")
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_flood_of_tens_keeps_the_oldest_waiting_for_sixteen_claims_at_most() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, priority, created_at, payload)
         SELECT id, 'scripted', 'devops', priority, created_at, '{\"script\": \"count\"}'
           FROM (SELECT 'ten ' || i, 10, '2026-02-01'::timestamp + make_interval(secs => i) FROM generate_series(1, 60) i
                  UNION ALL VALUES ('first', 1, '2026-01-01'::timestamp), ('second', 2, '2026-01-02'))
                AS t(id, priority, created_at)",
    )
    .await;
    let worker = start(&db, &handler, Config { slots: 1, ..fast() }).await;
    until_status(&db, "ten 60", "completed").await;
    let order = handler.order.lock().unwrap().clone();
    let place = |id: &str| order.iter().position(|done| done == id);
    assert_eq!(
        (place("first"), place("second")),
        (Some(15), Some(31)),
        "{order:?}"
    );
    assert_eq!(
        place("ten 16"),
        Some(16),
        "the rest goes strictly by priority, then age"
    );
    worker.stop().await;
}

#[tokio::test]
async fn what_one_claim_locked_in_passing_is_begun_at_once_by_another() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    // Of eight agents, each of whom a claim looks at for as many as it wants of all.
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, created_at, payload)
         SELECT 'task ' || i, 'scripted', 'agent ' || i % 8,
                '2026-01-01'::timestamp + make_interval(secs => i), '{\"script\": \"hang\"}'
           FROM generate_series(1, 3600) i",
    )
    .await;
    let patient = Config {
        slots: 4000,
        agents: (0..8).map(|n| format!("agent {n}")).collect(),
        poll: Duration::from_secs(600),
        lease: Duration::from_secs(600),
        ..fast()
    };
    let worker = start(&db, &handler, patient).await;
    until(
        &db,
        "(SELECT count(*) FROM tasks WHERE status = 'in_progress') = 3600",
    )
    .await;
    worker.kill.cancel();
    worker.stop().await;
}

#[tokio::test]
async fn housekeeping_without_a_pause_puts_no_look_for_tasks_off() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "first", "count").await;
    let config = Config {
        housekeeping: Duration::from_millis(1),
        ..fast()
    };
    let worker = start(&db, &handler, config).await;
    until_status(&db, "first", "completed").await;
    insert(&db, "second", "count").await;
    until_status(&db, "second", "completed").await;
    worker.stop().await;
}

#[tokio::test]
async fn attempts_end_and_the_task_fails_with_what_was_in_the_way() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "down", "down").await;
    let worker = start(
        &db,
        &handler,
        limited(TypeLimits {
            max_attempts: 3,
            ..TypeLimits::default()
        }),
    )
    .await;
    until_status(&db, "down", "failed").await;
    assert_eq!(handler.failures.load(Ordering::SeqCst), 3);
    assert_eq!(
        summary(&db, "down").await,
        "gave up after 3 attempts: the registry is down"
    );
    assert_eq!(handler.undone.load(Ordering::SeqCst), 1);
    let retried = "SELECT count(*) FROM longshore.task_events WHERE task_id = 'down' AND kind = 'retried'";
    assert_eq!(db.value(retried).await.as_deref(), Some("2"));
    worker.stop().await;
}

#[tokio::test]
async fn a_type_is_tried_again_as_soon_as_its_own_longest_pause_says() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "down", "down").await;
    let config = Config {
        // A run of the test would never see the second attempt.
        retry_base: Duration::from_secs(10 * 24 * 3600),
        retry_max: Duration::from_secs(10 * 24 * 3600),
        ..limited(TypeLimits {
            max_attempts: 3,
            retry_max: Some(Duration::from_millis(10)),
            ..TypeLimits::default()
        })
    };
    let worker = start(&db, &handler, config).await;
    until_status(&db, "down", "failed").await;
    assert_eq!(handler.failures.load(Ordering::SeqCst), 3);
    worker.stop().await;
}

#[tokio::test]
async fn a_rows_own_max_attempts_counts_more_than_the_types() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "down", "down").await;
    db.sql("UPDATE tasks SET max_attempts = 1").await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "down", "failed").await;
    assert_eq!(handler.failures.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_hung_run_is_stopped_and_a_late_task_fails() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "hangs", "hang").await;
    let hung = TypeLimits {
        run: Duration::from_millis(50),
        max_attempts: 2,
        ..TypeLimits::default()
    };
    let worker = start(&db, &handler, limited(hung)).await;
    until_status(&db, "hangs", "failed").await;
    assert!(
        summary(&db, "hangs")
            .await
            .contains("gave up after 2 attempts: the attempt ran longer than")
    );
    worker.stop().await;

    insert(&db, "waits", "wait").await;
    let late = TypeLimits {
        deadline: Some(Duration::from_millis(200)),
        ..TypeLimits::default()
    };
    let worker = start(&db, &handler, limited(late)).await;
    until_status(&db, "waits", "failed").await;
    assert_eq!(
        summary(&db, "waits").await,
        "the task did not end within its time limit"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_held_task_waits_for_a_person_and_goes_on_where_it_stopped() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    let store = db.store().await;
    insert(&db, "held", "hold").await;
    let worker = start(&db, &handler, fast()).await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE wait->>'held' = 'somebody must look' AND run_at = 'infinity')",
    )
    .await;
    store.retry_task(&"held".into()).await.unwrap();
    until_status(&db, "held", "completed").await;
    assert_eq!(
        summary(&db, "held").await,
        "went on after 0",
        "the step before the hold was not run again"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_failed_task_is_tried_again_by_hand_from_the_start() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    let store = db.store().await;
    insert(&db, "fails", "fail").await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "fails", "failed").await;
    db.sql("UPDATE tasks SET payload = '{}'").await;
    assert_eq!(
        store.retry_task(&"fails".into()).await.unwrap().status,
        TaskStatus::Pending
    );
    until_status(&db, "fails", "completed").await;
    assert_eq!(db.value("SELECT error FROM tasks").await, None);
    assert!(
        store.retry_task(&"fails".into()).await.is_err(),
        "a completed task is not tried again"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_started_task_of_an_unknown_version_is_held_after_its_time_and_its_cancel_is_kept() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    for id in ["newer", "cancelled", "young"] {
        insert(&db, id, "count").await;
    }
    db.sql(
        "UPDATE tasks SET status = 'waiting', handler_version = 99, wait = '{\"why\": \"later\"}',
                run_at = longshore.utc_now() - interval '11 minutes' WHERE id = 'newer';
         UPDATE tasks SET status = 'cancelled', handler_version = 99, worker_id = 'gone', attempt = 1,
                claimed_at = longshore.utc_now() - interval '11 minutes' WHERE id = 'cancelled';
         UPDATE tasks SET status = 'in_progress', handler_version = 99, worker_id = 'gone', attempt = 1,
                claimed_at = longshore.utc_now() WHERE id = 'young'",
    )
    .await;
    db.claimed().await;
    let config = Config {
        housekeeping: Duration::from_millis(50),
        ..fast()
    };
    let worker = start(&db, &handler, config).await;
    for id in ["newer", "cancelled"] {
        until(
            &db,
            &format!("wait->>'held' LIKE '%version 99 of scripted%' FROM tasks WHERE id = '{id}'"),
        )
        .await;
        let told = format!("SELECT kind || ' ' || summary FROM longshore.task_events WHERE task_id = '{id}'");
        assert!(
            db.value(&told)
                .await
                .is_some_and(|e| e.starts_with("held no worker"))
        );
    }
    assert!(handler.order.lock().unwrap().is_empty());
    until(&db, "status = 'in_progress' FROM tasks WHERE id = 'young'").await;
    // A worker that can go on comes, and a person lets it.
    db.sql("UPDATE tasks SET handler_version = 1 WHERE id = 'cancelled'")
        .await;
    let store = db.store().await;
    store.retry_task(&"cancelled".into()).await.expect("let it go on");
    until_status(&db, "cancelled", "cancelled").await;
    until(&db, "completed_at IS NOT NULL FROM tasks WHERE id = 'cancelled'").await;
    assert_eq!(handler.undone.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_kills_its_workers_is_held_and_locks_of_gone_tasks_are_freed() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "deadly", "count").await;
    db.sql(
        "UPDATE tasks SET crashes = 10, status = 'in_progress', worker_id = 'gone', handler_version = 1;
         INSERT INTO longshore.resource_locks (resource, task_id) VALUES ('shared', 'no such task')",
    )
    .await;
    db.claimed().await;
    insert(&db, "next", "lock").await;
    let config = Config {
        housekeeping: Duration::from_millis(50),
        ..fast()
    };
    let worker = start(&db, &handler, config).await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'deadly' AND wait->>'held' LIKE '11 workers died%')",
    )
    .await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'next' AND wait->'signals' IS NOT NULL)",
    )
    .await;
    worker.stop().await;
}
