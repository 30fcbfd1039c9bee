//! The worker over a real Postgres: what goes in by SQL comes out by SQL.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{Scripted, fast, insert, start, summary, until, until_status};
use testkit::postgres;
use worker::Config;

#[tokio::test]
async fn tasks_end_as_their_handlers_say() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    for script in [
        "ok",
        "fail",
        "panic",
        "panic while reading",
        "flaky",
        "nul",
        "parent",
    ] {
        insert(&db, script, script).await;
    }
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('odd', 'knit', 'devops'), ('free', 'scripted', NULL), ('theirs', 'scripted', 'builder')").await;
    db.sql("INSERT INTO tasks (id, task_type, repo_id) VALUES ('norepo', 'scripted', 'nowhere')")
        .await;
    let worker = start(&db, &handler, fast()).await;
    for id in ["ok", "flaky", "nul", "free", "parent"] {
        until_status(&db, id, "completed").await;
    }
    for id in ["fail", "panic", "panic while reading", "odd", "norepo"] {
        until_status(&db, id, "failed").await;
    }
    assert_eq!(summary(&db, "ok").await, "done");
    assert_eq!(summary(&db, "flaky").await, "at the third try");
    assert_eq!(summary(&db, "nul").await, "nul \u{fffd} in it");
    assert_eq!(summary(&db, "parent").await, "child completed");
    let error = |id: &str| {
        let sql = format!("SELECT error FROM tasks WHERE id = '{id}'");
        let db = &db;
        async move { db.value(&sql).await.unwrap_or_default() }
    };
    assert!(
        error("panic while reading")
            .await
            .contains("it was told to panic")
    );
    assert!(
        error("panic").await.contains("it was told to panic") && error("panic").await.contains("common.rs:")
    );
    assert_eq!(
        error("odd").await,
        "task_type \"knit\" is not one that this worker serves. Send one of: scripted"
    );
    assert!(
        error("norepo")
            .await
            .starts_with("repo_id \"nowhere\" is not in the table repos")
    );
    assert_eq!(
        handler.undone.load(Ordering::SeqCst),
        2,
        "the failed and the panicked were undone"
    );
    assert_eq!(
        db.value("SELECT status FROM tasks WHERE id = 'theirs'")
            .await
            .as_deref(),
        Some("pending")
    );
    worker.stop().await;
    assert_eq!(
        db.value("SELECT count(*) FROM longshore.workers")
            .await
            .as_deref(),
        Some("0")
    );
}

#[tokio::test]
async fn a_foreign_cancel_of_a_running_and_of_a_parked_task_unwinds_it() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "running", "hang").await;
    insert(&db, "parked", "wait").await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "parked", "waiting").await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'running' AND status = 'in_progress')",
    )
    .await;
    db.sql("UPDATE tasks SET status = 'cancelled' WHERE id IN ('running', 'parked')")
        .await;
    for id in ["running", "parked"] {
        until(&db, &format!("EXISTS (SELECT FROM tasks WHERE id = '{id}' AND status = 'cancelled' AND completed_at IS NOT NULL AND result IS NOT NULL)")).await;
    }
    assert_eq!(handler.undone.load(Ordering::SeqCst), 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_signal_wakes_a_parked_task_and_a_lock_passes_on() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    let store = db.store().await;
    insert(&db, "asks", "wait").await;
    insert(&db, "a", "lock").await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "asks", "waiting").await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'a' AND wait->'signals' IS NOT NULL)",
    )
    .await;
    db.sql(
        "INSERT INTO repos (id, name, gitlab_url, gitlab_project_id) VALUES ('shop', 'shop', 'https://forge.example', '7');
         INSERT INTO tasks (id, task_type, assigned_to, repo_id, payload)
         VALUES ('b', 'scripted', 'devops', 'shop', '{\"script\": \"lock\", \"issue_iid\": 12}')",
    )
    .await;
    until(
        &db,
        "EXISTS (SELECT FROM tasks WHERE id = 'b' AND wait->>'why' = 'pending, behind task a on shared')",
    )
    .await;
    // Who waits is told of it on the ticket.
    until(
        &db,
        "EXISTS (SELECT FROM longshore.ticket_outbox
                  WHERE task_id = 'b' AND report->>'summary' = 'Waiting: pending, behind task a on shared')",
    )
    .await;
    assert!(
        store
            .signal(&"asks".into(), "approval", &serde_json::json!("ada"))
            .await
            .unwrap()
    );
    assert!(
        store
            .signal(&"a".into(), "go", &serde_json::json!(""))
            .await
            .unwrap()
    );
    assert!(
        store
            .signal(&"b".into(), "go", &serde_json::json!(""))
            .await
            .unwrap()
    );
    for id in ["asks", "a", "b"] {
        until_status(&db, id, "completed").await;
    }
    assert_eq!(summary(&db, "asks").await, "approved by ada");
    assert_eq!(
        db.value("SELECT count(*) FROM longshore.resource_locks")
            .await
            .as_deref(),
        Some("0")
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_drained_worker_hands_back_what_does_not_end_and_a_second_signal_ends_the_grace() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    insert(&db, "hangs", "hang").await;
    let config = Config {
        grace: Duration::from_secs(3600),
        ..fast()
    };
    let worker = start(&db, &handler, config).await;
    handler.entered.notified().await;
    worker.stop.cancel();
    worker.kill.cancel();
    worker.done.await.unwrap().unwrap();
    let row = db.sql("SELECT status, worker_id, crashes FROM tasks").await;
    assert_eq!(row, [[Some("waiting".to_owned()), None, Some("0".to_owned())]]);
    let next = start(&db, &handler, fast()).await;
    handler.entered.notified().await;
    assert_eq!(db.value("SELECT attempt FROM tasks").await.as_deref(), Some("2"));
    next.kill.cancel();
    next.stop().await;
}

#[tokio::test]
async fn a_dead_workers_task_is_taken_over_when_its_lease_is_over() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    db.sql(
        "INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
         VALUES ('dead', 'h', 1, '{devops}', '{scripted/1}', clock_timestamp() + interval '1 second');
         INSERT INTO tasks (id, task_type, assigned_to, status, worker_id, attempt, handler_version)
         VALUES ('orphan', 'scripted', 'devops', 'in_progress', 'dead', 1, 1)",
    )
    .await;
    db.claimed().await;
    let worker = start(&db, &handler, fast()).await;
    until_status(&db, "orphan", "completed").await;
    let row = db.sql("SELECT attempt, crashes FROM tasks").await;
    assert_eq!(row, [[Some("2".to_owned()), Some("1".to_owned())]]);
    worker.stop().await;
}
