//! Dedupe keys: while a task with the key is unfinished, whoever wants another gets that one.

use std::time::Duration;

use domain::{ErrorKind, NewTask};
use futures_util::future::join_all;
use serde_json::json;
use store::{Delivery, Received, Store};
use testkit::postgres::{self, Database};

async fn start() -> (Database, Store) {
    let db = postgres::database().await;
    let store = db.store().await;
    (db, store)
}

fn keyed() -> NewTask {
    NewTask::new("deploy", json!({}))
        .assigned_to("devops")
        .dedupe_key("deploy checkout to staging")
}

#[tokio::test]
async fn a_second_wish_finds_the_unfinished_task_in_every_state_and_a_new_one_is_made_after_its_end() {
    let (db, store) = start().await;
    let first = store.make_task(&keyed()).await.unwrap();
    assert!(!first.exists);
    for unfinished in [
        "status = 'pending'",
        "status = 'claimed'",
        "status = 'in_progress', worker_id = 'w'",
        "status = 'cancelled'",
        "status = 'waiting', worker_id = NULL, wait = '{}'",
        "status = 'cancelled'",
    ] {
        db.sql(&format!(
            "UPDATE tasks SET {unfinished} WHERE id = '{}'",
            first.id
        ))
        .await;
        let again = store.make_task(&keyed()).await.unwrap();
        assert!(again.exists && again.id == first.id, "{unfinished}: {again:?}");
        assert_eq!(again.assigned_to.as_deref(), Some("devops"));
    }
    let mut before = first.id;
    for over in ["completed", "failed", "cancelled"] {
        db.sql(&format!(
            "UPDATE tasks SET status = '{over}', worker_id = NULL, wait = NULL WHERE id = '{before}'"
        ))
        .await;
        let next = store.make_task(&keyed()).await.unwrap();
        assert!(!next.exists && next.id != before, "{over}: {next:?}");
        before = next.id;
    }
    let other = store.make_task(&keyed().dedupe_key("another")).await.unwrap();
    assert!(!other.exists);
}

#[tokio::test]
async fn of_many_at_once_one_makes_the_task_and_all_get_it() {
    let (db, store) = start().await;
    let task = keyed();
    for _ in 0..5 {
        let made = join_all((0..8).map(|_| store.make_task(&task))).await;
        let made: Vec<_> = made.into_iter().map(|made| made.expect("no error")).collect();
        assert_eq!(made.iter().filter(|made| !made.exists).count(), 1, "{made:?}");
        assert!(made.iter().all(|one| one.id == made[0].id), "{made:?}");
        db.sql("UPDATE tasks SET status = 'completed'").await;
    }
    // One that is still open in somebody's transaction is waited for.
    let mut session = db.session().await;
    session.sql("BEGIN; INSERT INTO tasks (id, task_type, dedupe_key) VALUES ('theirs', 'deploy', 'deploy checkout to staging')").await;
    let blocked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let (made, ()) = tokio::join!(store.make_task(&task), async {
        let waits = async {
            while db.value(blocked).await.as_deref() != Some("1") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waits)
            .await
            .expect("it waits");
        session.sql("COMMIT").await;
    });
    let made = made.unwrap();
    assert!(made.exists && made.id.as_str() == "theirs", "{made:?}");
}

#[tokio::test]
async fn plain_sql_inserts_on_conflict_do_nothing_and_rows_without_a_key_are_not_indexed() {
    let (db, store) = start().await;
    let made = store.make_task(&keyed()).await.unwrap();
    let insert = "INSERT INTO tasks (task_type, dedupe_key) VALUES ('deploy', 'deploy checkout to staging')";
    assert!(
        db.sql(&format!("{insert} ON CONFLICT DO NOTHING RETURNING id"))
            .await
            .is_empty(),
        "nothing was inserted"
    );
    let refused = db.try_sql(insert).await.unwrap_err();
    assert!(refused.contains("longshore_tasks_dedupe"), "{refused}");
    db.sql(&format!(
        "UPDATE tasks SET status = 'completed' WHERE id = '{}'",
        made.id
    ))
    .await;
    assert_eq!(
        db.sql(&format!("{insert} ON CONFLICT DO NOTHING RETURNING id"))
            .await
            .len(),
        1
    );

    let pages = "SELECT pg_relation_size('longshore_tasks_dedupe')";
    let before = db.value(pages).await;
    db.sql("INSERT INTO tasks (task_type, dedupe_key) SELECT 'deploy', '' FROM generate_series(1, 10000)")
        .await;
    db.sql("INSERT INTO tasks (task_type) SELECT 'deploy' FROM generate_series(1, 10000)")
        .await;
    assert_eq!(db.value(pages).await, before);
}

#[tokio::test]
async fn a_key_that_cannot_be_kept_is_refused_and_an_event_may_have_one() {
    let (_db, store) = start().await;
    for wrong in [" ".to_owned(), "x".repeat(201), "a\0".to_owned()] {
        let error = store.make_task(&keyed().dedupe_key(wrong)).await.unwrap_err();
        assert!(
            error.kind == ErrorKind::Invalid && error.to_string().contains("`dedupe_key`"),
            "{error}"
        );
    }
    store
        .make_task(&keyed().dedupe_key("ü".repeat(200)))
        .await
        .expect("the longest");

    let known = store.make_task(&keyed()).await.unwrap();
    let body = json!({});
    let event = Delivery {
        source: "gitlab",
        key: "pipeline:1",
        event: "Pipeline Hook",
        body: &body,
    };
    let received = store.receive(&event, Some(&keyed())).await.unwrap();
    assert_eq!(
        received,
        Received::New(Some(known.id)),
        "a new event, and no new task"
    );
}
