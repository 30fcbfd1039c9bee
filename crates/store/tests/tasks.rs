//! Tasks as people and their programs handle them: made, cancelled, retried, reset; events from outside; wake-ups.

use std::sync::Arc;
use std::time::Duration;

use domain::{ErrorKind, NewTask, Priority, TaskId, TaskStatus};
use serde_json::json;
use sqlx::postgres::PgListener;
use store::{Bulk, BulkFilter, Delivery, Received, Store, TaskFilter};
use testkit::postgres::{self, Database, Postgres};
use tokio::sync::Notify;

async fn start() -> (Database, Store) {
    let db = postgres::database().await;
    let store = db.store().await;
    (db, store)
}

fn deploy() -> NewTask {
    NewTask::new("deploy", json!({"instruction": "deploy v1 to staging"})).assigned_to("devops")
}

#[tokio::test]
async fn what_a_new_task_gets_wrong_is_named_and_nothing_is_stored() {
    let (db, store) = start().await;
    db.sql("INSERT INTO tasks (id, task_type, parent_task_id) VALUES ('a', 'x', 'b'), ('b', 'x', 'a')")
        .await;
    let with_parent = |id: &str| NewTask {
        parent: Some(TaskId::from(id)),
        ..deploy()
    };
    for (task, named) in [
        (NewTask::new(" ", json!({})), "`type`"),
        (
            NewTask {
                payload: json!([1]),
                ..deploy()
            },
            "`payload`",
        ),
        (
            NewTask {
                payload: json!({"log": "x".repeat(1 << 20)}),
                ..deploy()
            },
            "1 MiB",
        ),
        (
            NewTask {
                payload: json!({"a": "\0"}),
                ..deploy()
            },
            "`payload.a`",
        ),
        (deploy().repo(Some("nowhere".to_owned())), "`repo_id`"),
        (with_parent("nobody"), "`parent_task_id`"),
        (with_parent("a"), "cycle"),
    ] {
        let error = store.create_task(&task).await.expect_err(named);
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(
            error.to_string().contains(named) && error.next.is_some(),
            "{error}"
        );
    }
    assert_eq!(db.value("SELECT count(*) FROM tasks").await.as_deref(), Some("2"));
}

#[tokio::test]
async fn tasks_are_listed_newest_first_and_page_by_page() {
    let (_db, store) = start().await;
    let mut made = Vec::new();
    for n in 0..5 {
        let priority = Priority::try_from(n + 1).unwrap();
        made.push(store.create_task(&deploy().priority(priority)).await.unwrap());
    }
    made.reverse();
    let filter = TaskFilter {
        limit: 2,
        task_type: Some("deploy".to_owned()),
        ..TaskFilter::default()
    };
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.page(&filter, cursor.as_ref()).await.unwrap();
        seen.extend(page.tasks.into_iter().map(|task| task.id));
        let Some(next) = page.next else { break };
        cursor = Some(next.to_string().parse().unwrap());
    }
    assert_eq!(seen, made);
    assert_eq!(store.task_counts().await.unwrap().by_status["pending"], 5);
}

#[tokio::test]
async fn a_task_that_never_began_is_cancelled_at_once_and_started_ones_are_asked() {
    let (db, store) = start().await;
    let fresh = store.create_task(&deploy()).await.unwrap();
    let task = store.cancel_task(&fresh).await.unwrap();
    assert!(task.status == TaskStatus::Cancelled && !task.is_cancelling() && task.completed_at.is_some());
    let again = store.cancel_task(&fresh).await.unwrap();
    assert_eq!(again, task, "cancelling twice is once");

    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, worker_id, wait) VALUES
             ('running', 'deploy', 'devops', 'in_progress', 'w', NULL),
             ('parked', 'deploy', 'devops', 'waiting', NULL, '{\"why\": \"for a lock\"}'),
             ('reset', 'deploy', 'devops', 'pending', NULL, NULL),
             ('theirs', 'deploy', 'builder', 'pending', NULL, NULL);
         INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, attempt) VALUES ('reset', 'run', 1, 'a', 'step', 1)",
    )
    .await;
    for begun in ["running", "parked", "reset"] {
        let task = store.cancel_task(&begun.into()).await.unwrap();
        assert!(task.is_cancelling() && task.completed_at.is_none(), "{task:?}");
        assert!(
            store.cancel_task(&begun.into()).await.unwrap().is_cancelling(),
            "twice is once"
        );
    }
    let error = store.cancel_task(&"theirs".into()).await.unwrap_err();
    assert!(
        error.kind == ErrorKind::Denied && error.to_string().contains("builder"),
        "{error}"
    );
    assert_eq!(
        db.value("SELECT status FROM tasks WHERE id = 'theirs'")
            .await
            .as_deref(),
        Some("pending")
    );
    assert_eq!(
        store.cancel_task(&"nobody".into()).await.unwrap_err().kind,
        ErrorKind::NotFound
    );
}

#[tokio::test]
async fn an_unassigned_task_that_no_worker_serves_is_left_alone_in_clear_words() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, status) VALUES ('mistyped', 'fix_buld', 'pending'), ('broken', 'fix_buld', 'failed');
         INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
         VALUES ('w', 'h', 1, '{devops}', '{fix_build/1}', clock_timestamp() + interval '1 day')",
    )
    .await;
    let refused = [
        store.cancel_task(&"mistyped".into()).await.map(|_| ()),
        store.retry_task(&"broken".into()).await.map(|_| ()),
    ];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
        assert!(
            error
                .to_string()
                .contains("fix_buld, which no worker of ours serves"),
            "{error}"
        );
    }
    for bulk in [Bulk::Cancel, Bulk::Retry] {
        let done = store
            .bulk(bulk, &BulkFilter::default(), None, false)
            .await
            .unwrap();
        assert_eq!((done.matched, done.changed), (1, 0), "{done:?}");
        assert!(done.skipped[0].why.contains("fix_buld"), "{done:?}");
    }
}

#[tokio::test]
async fn a_failed_task_starts_anew_and_a_held_one_goes_on() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, attempt, failures, error, run_at, wait) VALUES
             ('failed', 'deploy', 'devops', 'failed', 4, 3, 'broke', now(), NULL),
             ('held', 'deploy', 'devops', 'waiting', 2, 0, NULL, 'infinity', '{\"held\": \"unsure\", \"why\": \"for a person\"}'),
             ('done', 'deploy', 'devops', 'completed', 1, 0, NULL, now(), NULL);
         INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, attempt) VALUES ('failed', 'run', 1, 'a', 'step', 4)",
    )
    .await;
    let task = store.retry_task(&"failed".into()).await.unwrap();
    assert_eq!(
        (task.status, task.attempt, task.failures, task.error),
        (TaskStatus::Pending, 4, 0, None)
    );
    assert!(
        store.steps(&"failed".into()).await.unwrap().is_empty(),
        "its journal is forgotten"
    );

    assert_eq!(store.task(&"held".into()).await.unwrap().held(), Some("unsure"));
    let task = store.retry_task(&"held".into()).await.unwrap();
    assert!(task.status == TaskStatus::Waiting && task.held().is_none() && task.wait.is_some());
    let due = "SELECT run_at <= longshore.utc_now() FROM tasks WHERE id = 'held'";
    assert_eq!(db.value(due).await.as_deref(), Some("t"));

    assert_eq!(
        store.retry_task(&"done".into()).await.unwrap_err().kind,
        ErrorKind::Conflict
    );
}

#[tokio::test]
async fn stale_claims_are_put_back_and_live_or_waiting_ones_are_not() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
             VALUES ('live', 'h', 1, '{devops}', '{}', clock_timestamp() + interval '1 hour'),
                    ('dead', 'h', 2, '{devops}', '{}', clock_timestamp() - interval '1 hour');
         INSERT INTO tasks (id, task_type, status, assigned_to, worker_id, claimed_at, wait)
         SELECT id, 'x', status, agent, worker, longshore.utc_now() - age, wait FROM (VALUES
             ('stale', 'claimed', 'builder', NULL, interval '3 hours', NULL),
             ('fresh', 'claimed', 'builder', NULL, interval '1 hour', NULL),
             ('live', 'in_progress', 'devops', 'live', interval '3 hours', NULL),
             ('dead', 'in_progress', 'devops', 'dead', interval '3 hours', NULL),
             ('waiting', 'waiting', 'devops', NULL, interval '3 hours', '{}'::jsonb)) AS t(id, status, agent, worker, age, wait)",
    )
    .await;
    db.claimed().await;
    let reset = store.reset_stale(Duration::from_secs(2 * 3600)).await.unwrap();
    assert_eq!(reset, [TaskId::from("dead"), TaskId::from("stale")]);
    assert_eq!(
        store.task(&"stale".into()).await.unwrap().status,
        TaskStatus::Pending
    );
}

#[tokio::test]
async fn the_same_event_twice_makes_one_task_and_a_refused_one_is_not_stored() {
    let (db, store) = start().await;
    let body = json!({"text": "a\0b"});
    let event = Delivery {
        source: "gitlab",
        key: "pipeline:1",
        event: "Pipeline Hook",
        body: &body,
    };
    let task = deploy();
    let (one, two) = tokio::join!(
        store.receive(&event, Some(&task)),
        store.receive(&event, Some(&task))
    );
    let made = |received: &Received| match received {
        Received::New(id) | Received::Known(id) => id.clone(),
    };
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(made(&one), made(&two));
    assert!(matches!(
        (&one, &two),
        (Received::New(_), Received::Known(_)) | (Received::Known(_), Received::New(_))
    ));
    assert_eq!(db.value("SELECT count(*) FROM tasks").await.as_deref(), Some("1"));

    let other = Delivery {
        key: "pipeline:2",
        ..event
    };
    store
        .receive(&other, Some(&task.clone().repo(Some("nowhere".to_owned()))))
        .await
        .expect_err("refused");
    assert!(
        matches!(
            store.receive(&other, Some(&task)).await.unwrap(),
            Received::New(Some(_))
        ),
        "it may come again"
    );
}

#[tokio::test]
async fn the_listener_wakes_at_once_and_again_after_the_server_came_back() {
    let server = Postgres::own().await;
    let db = server.database().await;
    let store = db.store().await;
    let wake = Arc::new(Notify::new());
    let _listener = store.listen(wake.clone()).expect("listens");
    let soon = async || {
        tokio::time::timeout(Duration::from_secs(20), wake.notified())
            .await
            .expect("a wake-up")
    };
    soon().await;
    store.create_task(&deploy()).await.unwrap();
    soon().await;
    server.kill().await;
    server.start().await;
    soon().await;
    db.sql("INSERT INTO tasks (task_type) VALUES ('deploy')").await;
    soon().await;
    store
        .create_task(&deploy())
        .await
        .expect("and the pool has recovered");
}

#[tokio::test]
async fn who_puts_in_one_task_tells_which() {
    let db = postgres::database().await;
    let mut listener = PgListener::connect(db.url()).await.expect("connects");
    listener.listen("longshore").await.expect("listens");
    let mut told = async |statements: &str| {
        db.sql(statements).await;
        db.sql("SELECT pg_notify('longshore', 'the end')").await;
        let mut told = Vec::new();
        loop {
            let heard = listener.recv().await.expect("a notification");
            match heard.payload() {
                "the end" => return told,
                payload => told.push(payload.to_owned()),
            }
        }
    };
    assert_eq!(
        told("INSERT INTO tasks (id, task_type) VALUES ('a', 'deploy')").await,
        ["a"]
    );
    for unnamed in [
        "INSERT INTO tasks (task_type) VALUES ('deploy'), ('deploy')",
        "UPDATE tasks SET status = 'cancelled'",
        "INSERT INTO tasks (id, task_type) VALUES ('a', 'deploy') ON CONFLICT DO NOTHING",
        "INSERT INTO tasks (id, task_type) VALUES (repeat('x', 500), 'deploy')",
        "INSERT INTO tasks (id, task_type) VALUES ('two words', 'deploy')",
        "INSERT INTO tasks (id, task_type) VALUES ('\u{e4}', 'deploy')",
    ] {
        assert_eq!(told(unnamed).await, [""], "{unnamed}");
    }
    let many: String = (0..100)
        .map(|n| format!("INSERT INTO tasks (id, task_type) VALUES ('n{n}', 'deploy');"))
        .collect();
    let mut expected: Vec<String> = (0..16).map(|n| format!("n{n}")).collect();
    expected.push(String::new());
    assert_eq!(
        told(&format!("BEGIN; {many} COMMIT")).await,
        expected,
        "in one transaction"
    );
}
