//! Other programs, and people, change rows that we run or have parked.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{Scripted, fast, insert, start, summary, until, until_status};
use domain::TaskId;
use testkit::postgres::{self, Database};
use worker::{Config, TypeLimits};

const CHILD: &str = "(SELECT id FROM tasks WHERE parent_task_id IS NOT NULL)";

fn tidy() -> Config {
    Config {
        housekeeping: Duration::from_millis(50),
        ..fast()
    }
}

async fn count(db: &Database, of: &str) -> Option<String> {
    db.value(&format!("SELECT count(*) FROM {of}")).await
}

#[tokio::test]
async fn a_child_that_somebody_else_ends_wakes_its_parent_in_whatever_state_it_was() {
    for (script, state) in [
        ("parent:wait", "status = 'waiting' AND wait ? 'signals'"),
        ("parent:hang", "status = 'in_progress'"),
    ] {
        let (db, handler) = (postgres::database().await, Scripted::default());
        insert(&db, "parent", script).await;
        let worker = start(&db, &handler, fast()).await;
        until(
            &db,
            "EXISTS (SELECT FROM tasks WHERE id = 'parent' AND status = 'waiting' AND wait ? 'children')",
        )
        .await;
        until(
            &db,
            &format!("EXISTS (SELECT FROM tasks WHERE id = {CHILD} AND {state})"),
        )
        .await;
        db.sql(&format!(
            "UPDATE tasks SET status = 'completed', completed_at = longshore.utc_now(), result = '{{\"by\": \"hand\"}}' WHERE id = {CHILD}"
        ))
        .await;
        until_status(&db, "parent", "completed").await;
        assert_eq!(summary(&db, "parent").await, "child completed");
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_holder_that_somebody_else_ends_passes_its_locks_on() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "holder", "lock").await;
    let worker = start(&db, &handler, tidy()).await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'holder' AND status = 'waiting' AND wait ? 'signals')",
    )
    .await;
    insert(&db, "next", "lock").await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'next' AND status = 'waiting' AND wait ? 'locks')",
    )
    .await;
    db.sql("UPDATE tasks SET status = 'failed', error = 'by hand' WHERE id = 'holder'")
        .await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'next' AND status = 'waiting' AND wait ? 'signals')",
    )
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn a_cancel_reaches_a_task_wherever_it_waits_and_is_undone_once() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    let patient = Config {
        retry_base: Duration::from_secs(3600),
        retry_max: Duration::from_secs(3600),
        ..tidy()
    };
    for (id, script) in [
        ("signal", "wait"),
        ("held", "hold"),
        ("holder", "lock"),
        ("parent", "parent:wait"),
    ] {
        insert(&db, id, script).await;
    }
    db.sql("INSERT INTO repos (id) VALUES ('r')").await;
    insert(&db, "repo gone", "wait").await;
    db.sql("UPDATE tasks SET repo_id = 'r' WHERE id = 'repo gone'")
        .await;
    let worker = start(&db, &handler, patient).await;
    until(
        &db,
        "count(*) = 5 FROM tasks WHERE status = 'waiting' AND parent_task_id IS NULL",
    )
    .await;
    for (id, script) in [("queued", "lock"), ("to be retried", "down")] {
        insert(&db, id, script).await;
    }
    until(&db, "count(*) = 8 FROM tasks WHERE status = 'waiting'").await;
    db.sql("DELETE FROM repos").await;
    db.sql("UPDATE tasks SET status = 'cancelled' WHERE parent_task_id IS NULL")
        .await;
    for id in ["signal", "held", "holder", "parent", "queued", "to be retried"] {
        until_status(&db, id, "cancelled").await;
        until(
            &db,
            &format!("wait IS NULL AND completed_at IS NOT NULL FROM tasks WHERE id = '{id}'"),
        )
        .await;
    }
    until(
        &db,
        &format!("status = 'cancelled' AND wait IS NULL AND worker_id IS NULL FROM tasks WHERE id = {CHILD}"),
    )
    .await;
    assert_eq!(handler.undone.load(Ordering::SeqCst), 7, "each was undone once");
    assert_eq!(count(&db, "longshore.resource_locks").await.as_deref(), Some("0"));
    // What it was for is gone: nobody can undo it but a person. That is said once, not again and again.
    until(
        &db,
        "wait->>'held' LIKE '%repo_id%' FROM tasks WHERE id = 'repo gone'",
    )
    .await;
    let attempts = db.value("SELECT attempt FROM tasks WHERE id = 'repo gone'").await;
    assert_eq!(attempts.as_deref(), Some("2"));
    // Once that is mended the cancel goes on.
    db.sql("INSERT INTO repos (id) VALUES ('r')").await;
    let store = db.store().await;
    store
        .retry_task(&TaskId::from("repo gone"))
        .await
        .expect("let it go on");
    until_status(&db, "repo gone", "cancelled").await;
    assert_eq!(handler.undone.load(Ordering::SeqCst), 8);
    worker.stop().await;
}

#[tokio::test]
async fn what_was_begun_and_put_back_by_hand_is_undone_when_it_is_cancelled() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "begun", "wait").await;
    db.sql(
        "UPDATE tasks SET status = 'in_progress', worker_id = 'dead', attempt = 1, claimed_at = '2026-01-01',
                handler_version = 1;
         INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, outcome, attempt)
         VALUES ('begun', 'run', 0, 'approval', 'signal', NULL, 1)",
    )
    .await;
    db.claimed().await;
    let store = db.store().await;
    assert_eq!(
        store
            .reset_stale(Duration::from_secs(60))
            .await
            .expect("reset")
            .len(),
        1
    );
    db.sql("UPDATE tasks SET status = 'cancelled' WHERE id = 'begun'")
        .await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "begun", "cancelled").await;
    until(&db, "completed_at IS NOT NULL FROM tasks WHERE id = 'begun'").await;
    assert_eq!(handler.undone.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_killed_its_workers_can_be_cancelled_and_is_held_if_undoing_kills_them_too() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    for id in ["deadly", "deadly to undo"] {
        insert(&db, id, "ok").await;
        db.sql(&format!(
            "INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, outcome, attempt)
             VALUES ('{id}', 'run', 0, 'say', 'step', '{{\"ok\": \"done\"}}', 1)"
        ))
        .await;
    }
    db.sql(
        "INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, outcome, attempt)
         VALUES ('deadly to undo', 'unwind', 0, 'cause', 'step', '{\"ok\": {\"cause\": \"cancelled\"}}', 1);
         UPDATE tasks SET crashes = 10, status = 'cancelled', worker_id = 'gone', handler_version = 1, attempt = 11",
    )
    .await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "deadly", "cancelled").await;
    until(
        &db,
        "wait->>'held' LIKE '11 workers died%' FROM tasks WHERE id = 'deadly to undo'",
    )
    .await;
    until(&db, "completed_at IS NOT NULL FROM tasks WHERE id = 'deadly'").await;
    assert_eq!(handler.undone.load(Ordering::SeqCst), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_parked_task_that_is_given_to_another_agent_is_left_to_it() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "given", "wait").await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "given", "waiting").await;
    db.sql("UPDATE tasks SET assigned_to = 'builder', status = 'pending' WHERE id = 'given'")
        .await;
    insert(&db, "ours", "ok").await;
    until_status(&db, "ours", "completed").await;
    until(
        &db,
        "status = 'pending' AND attempt = 1 FROM tasks WHERE id = 'given'",
    )
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn a_deadline_passes_in_a_step_while_parked_and_while_retried_but_not_while_held() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    for (id, script) in [
        ("in a step", "hang"),
        ("parked", "wait"),
        ("retried", "down"),
        ("held", "hold with nul"),
    ] {
        insert(&db, id, script).await;
    }
    let config = Config {
        retry_base: Duration::from_secs(3600),
        retry_max: Duration::from_secs(3600),
        default_limits: TypeLimits {
            deadline: Some(Duration::from_millis(1500)),
            ..TypeLimits::default()
        },
        ..fast()
    };
    let worker = start(&db, &handler, config).await;
    for id in ["in a step", "parked", "retried"] {
        until_status(&db, id, "failed").await;
        assert!(summary(&db, id).await.contains("time limit"), "{id}");
    }
    assert_eq!(handler.undone.load(Ordering::SeqCst), 3);
    until(
        &db,
        "status = 'waiting' AND wait ? 'held' FROM tasks WHERE id = 'held'",
    )
    .await;
    worker.stop().await;
}
