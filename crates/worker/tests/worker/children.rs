//! A parent waits for its children in the table: it wakes however they end, and costs nothing until then.

use std::sync::atomic::Ordering;

use testkit::postgres::{self, Database};

use crate::common::{Scripted, fast, insert, start, summary, until, until_status};

fn child(of: &str) -> String {
    format!("(SELECT id FROM tasks WHERE parent_task_id = '{of}' ORDER BY id LIMIT 1)")
}

async fn parked(db: &Database, parent: &str) {
    until(
        db,
        &format!(
            "EXISTS (SELECT FROM tasks WHERE id = '{parent}' AND status = 'waiting' AND worker_id IS NULL AND wait ? 'children' AND run_at = 'infinity')"
        ),
    )
    .await;
}

#[tokio::test]
async fn however_another_agent_ends_the_child_in_plain_sql_the_parent_wakes() {
    let db = postgres::database().await;
    let worker = start(&db, &Scripted::default(), fast()).await;
    let ends = [
        (
            "p1",
            "UPDATE tasks SET status = 'completed', completed_at = now()",
            "child completed ",
        ),
        (
            "p2",
            "UPDATE tasks SET status = 'failed', error = 'no wool'",
            "child failed no wool",
        ),
        ("p3", "UPDATE tasks SET status = 'cancelled'", "child cancelled "),
        (
            "p4",
            "DELETE FROM tasks",
            "it was deleted before it was seen to end",
        ),
    ];
    for (parent, _, _) in ends {
        insert(&db, parent, "parent of theirs").await;
    }
    for (parent, _, _) in ends {
        parked(&db, parent).await;
    }
    // The children are worked on meanwhile, which notifies us.
    db.sql("UPDATE tasks SET status = 'in_progress', claimed_at = now() WHERE assigned_to = 'builder'")
        .await;
    insert(&db, "other", "say").await;
    until_status(&db, "other", "completed").await;
    let left_alone = "SELECT count(*) FROM tasks WHERE id LIKE 'p_' AND status = 'waiting' AND attempt = 1 AND run_at = 'infinity'";
    assert_eq!(db.value(left_alone).await.as_deref(), Some("4"));
    for (parent, by, said) in ends {
        db.sql(&format!("{by} WHERE id = {}", child(parent))).await;
        until_status(&db, parent, "completed").await;
        let summary = summary(&db, parent).await;
        assert!(summary.contains(said), "{by}: {summary}");
    }
    let attempts = db
        .value("SELECT string_agg(attempt::text, ' ') FROM tasks WHERE id LIKE 'p_'")
        .await;
    assert_eq!(
        attempts.as_deref(),
        Some("2 2 2 2"),
        "each ran twice: to its wait, and from there"
    );
    worker.stop().await;
}

/// An idle worker looks for these before it claims.
#[tokio::test]
async fn a_parent_that_somebody_has_or_whose_wait_is_none_keeps_nobody_from_claiming() {
    let db = postgres::database().await;
    let worker = start(&db, &Scripted::default(), fast()).await;
    for parent in ["locked", "broken", "whole"] {
        insert(&db, parent, "parent of theirs").await;
        parked(&db, parent).await;
    }
    db.sql(r#"UPDATE tasks SET wait = '{"children": null}' WHERE id = 'broken'"#)
        .await;
    let mut somebody = db.session().await;
    somebody
        .sql("BEGIN; SELECT FROM tasks WHERE id = 'locked' FOR UPDATE")
        .await;
    db.sql("UPDATE tasks SET status = 'completed', completed_at = now() WHERE assigned_to = 'builder'")
        .await;
    until_status(&db, "whole", "completed").await;
    insert(&db, "other", "say").await;
    until_status(&db, "other", "completed").await;
    somebody.sql("COMMIT").await;
    until_status(&db, "locked", "completed").await;
    worker.stop().await;
}

#[tokio::test]
async fn however_our_own_child_ends_the_parent_wakes() {
    let db = postgres::database().await;
    let handler = Scripted::default();
    let worker = start(&db, &handler, fast()).await;
    for script in ["say", "fail", "panic", "hang", "wait"] {
        insert(&db, script, &format!("parent:{script}")).await;
    }
    for (script, said) in [
        ("say", "child completed"),
        ("fail", "child failed"),
        ("panic", "child failed"),
    ] {
        until_status(&db, script, "completed").await;
        assert_eq!(summary(&db, script).await, said);
    }
    // One is cancelled while it runs, one while it waits; the parents wake when both are undone.
    let undone = handler.undone.load(Ordering::SeqCst);
    for (script, status) in [("hang", "in_progress"), ("wait", "waiting")] {
        parked(&db, script).await;
        until(
            &db,
            &format!(
                "EXISTS (SELECT FROM tasks WHERE id = {} AND status = '{status}')",
                child(script)
            ),
        )
        .await;
        db.sql(&format!(
            "UPDATE tasks SET status = 'cancelled' WHERE id = {}",
            child(script)
        ))
        .await;
        until_status(&db, script, "completed").await;
        assert_eq!(summary(&db, script).await, "child cancelled");
    }
    assert_eq!(handler.undone.load(Ordering::SeqCst), undone + 2);
    worker.stop().await;
}

#[tokio::test]
async fn what_is_cancelled_with_its_parent_tells_by_whom() {
    let db = postgres::database().await;
    let handler = Scripted::default();
    let worker = start(&db, &handler, fast()).await;
    let told = async |task: &str| {
        db.value(&format!(
            "SELECT string_agg(summary, ' | ' ORDER BY id) FROM longshore.task_events
              WHERE task_id = {task} AND kind = 'cancel asked'"
        ))
        .await
    };
    for (top, by) in [("p1", Some("ada")), ("p2", None)] {
        insert(&db, top, "parent:parent:hang").await;
        handler.entered.notified().await;
        let middle = db.value(&format!("SELECT {}", child(top))).await.unwrap();
        parked(&db, &middle).await;
        match by {
            Some(by) => {
                let store = db.store().await.by(by);
                store.cancel_task(&top.into()).await.unwrap();
            }
            None => {
                db.sql(&format!(
                    "UPDATE tasks SET status = 'cancelled' WHERE id = '{top}'"
                ))
                .await;
            }
        }
        until(
            &db,
            "bool_and(status = 'cancelled' AND completed_at IS NOT NULL) FROM tasks",
        )
        .await;
        let by = by.map_or_else(String::new, |by| format!(" by {by},"));
        assert_eq!(
            told(&child(top)).await,
            Some(format!("Cancelled{by} with its parent {top}"))
        );
        assert_eq!(
            told(&child(&middle)).await,
            Some(format!("Cancelled{by} with its parent {middle}"))
        );
    }
    // Who asked once did not ask again.
    let store = db.store().await;
    store.retry_task(&"p1".into()).await.unwrap();
    handler.entered.notified().await;
    db.sql("UPDATE tasks SET status = 'cancelled' WHERE id = 'p1'")
        .await;
    let newest = "(SELECT id FROM tasks WHERE parent_task_id = 'p1' ORDER BY created_at DESC LIMIT 1)";
    until(
        &db,
        &format!(
            "EXISTS (SELECT FROM longshore.task_events WHERE task_id = {newest} AND kind = 'cancel asked')"
        ),
    )
    .await;
    assert_eq!(
        told(newest).await.as_deref(),
        Some("Cancelled with its parent p1")
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_parent_of_several_goes_on_when_the_last_has_ended() {
    let db = postgres::database().await;
    let worker = start(&db, &Scripted::default(), fast()).await;
    insert(&db, "p", "parent of two").await;
    parked(&db, "p").await;
    let end = |which: &str| {
        format!(
            "UPDATE tasks SET status = 'completed' WHERE id = (SELECT id FROM tasks WHERE parent_task_id = 'p' ORDER BY id {which} LIMIT 1)"
        )
    };
    // The second first: it is not the one that is waited for.
    db.sql(&end("DESC")).await;
    insert(&db, "other", "say").await;
    until_status(&db, "other", "completed").await;
    assert_eq!(
        db.value("SELECT status FROM tasks WHERE id = 'p'")
            .await
            .as_deref(),
        Some("waiting")
    );
    db.sql(&end("ASC")).await;
    until_status(&db, "p", "completed").await;
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_would_wait_for_itself_by_a_dedupe_key_fails_and_says_so() {
    let db = postgres::database().await;
    let worker = start(&db, &Scripted::default(), fast()).await;
    db.sql(
        r#"INSERT INTO tasks (id, task_type, assigned_to, payload, dedupe_key)
           VALUES ('itself', 'scripted', 'devops', '{"script": "parent by key:say"}', 'the only one')"#,
    )
    .await;
    until_status(&db, "itself", "failed").await;
    let error = db
        .value("SELECT error FROM tasks WHERE id = 'itself'")
        .await
        .unwrap();
    assert!(error.contains("that of the task itself"), "{error}");
    assert!(error.contains("keys of their own"), "{error}");
    // The child asks for its parent.
    db.sql(
        r#"INSERT INTO tasks (id, task_type, assigned_to, payload, dedupe_key)
           VALUES ('above', 'scripted', 'devops', '{"script": "parent:parent by key:say"}', 'the only one')"#,
    )
    .await;
    until_status(&db, "above", "completed").await;
    assert_eq!(summary(&db, "above").await, "child failed");
    let error = db
        .value("SELECT error FROM tasks WHERE parent_task_id = 'above'")
        .await
        .unwrap();
    assert!(
        error.contains("that of task above, of which it is a part"),
        "{error}"
    );
    assert_eq!(db.value("SELECT count(*) FROM tasks").await.as_deref(), Some("3"));
    worker.stop().await;
}
