//! Rows that other programs write in plain SQL and no check of ours has seen: each ends with an error that names
//! what is wrong, and none stands in the way of its neighbours.

use crate::common::{Scripted, fast, insert, start, until, until_status};
use store::TaskFilter;
use testkit::postgres::{self, Database};

/// `{"a": {"a": … 1}}`.
fn nested(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

async fn raw(db: &Database, id: &str, columns: &str, values: &str) {
    db.sql(&format!(
        "INSERT INTO tasks (id, task_type, assigned_to, {columns}) VALUES ('{id}', 'scripted', 'devops', {values})"
    ))
    .await;
}

#[tokio::test]
async fn a_row_that_cannot_be_run_says_why_and_lets_its_neighbours_pass() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    db.sql(&format!(
        "INSERT INTO repos (id, settings) VALUES ('deep', '{}')",
        nested(400)
    ))
    .await;
    raw(&db, "deep parent", "payload", &format!("'{}'", nested(400))).await;
    let wrong = [
        ("nested", "payload", format!("'{}'", nested(65)), "payload"),
        ("deep", "payload", format!("'{}'", nested(400)), "payload"),
        ("huge number", "payload", "'{\"n\": 1e400}'".to_owned(), "payload"),
        ("no payload", "payload", "NULL".to_owned(), "payload"),
        ("null", "payload", "'null'".to_owned(), "payload"),
        (
            "text",
            "payload",
            r#"'"{\"script\": \"ok\"}"'"#.to_owned(),
            "payload",
        ),
        ("list", "payload", "'[1]'".to_owned(), "payload"),
        ("wrong type", "payload", "'{\"script\": 7}'".to_owned(), "script"),
        (
            "orphan",
            "parent_task_id",
            "'nobody'".to_owned(),
            "parent_task_id",
        ),
        (
            "itself",
            "parent_task_id",
            "'itself'".to_owned(),
            "parent_task_id",
        ),
        ("one", "parent_task_id", "'two'".to_owned(), "parent_task_id"),
        ("two", "parent_task_id", "'one'".to_owned(), "parent_task_id"),
        ("no repo", "repo_id", "'nowhere'".to_owned(), "repo_id"),
        ("deep repo", "repo_id", "'deep'".to_owned(), "settings"),
    ];
    for (id, column, value, _) in &wrong {
        raw(&db, id, column, value).await;
    }
    let well = [
        ("from the end of time", "created_at", "'infinity'"),
        ("from the beginning", "created_at", "'-infinity'"),
        ("no deadline", "deadline_at", "'infinity'"),
        ("no attempts", "max_attempts", "-1"),
        ("odd parent", "parent_task_id", "'deep parent'"),
    ];
    for (id, column, value) in well {
        raw(&db, id, column, value).await;
    }
    insert(&db, "neighbour", "ok").await;
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('theirs', 'scripted', 'devops ')")
        .await;

    let worker = start(&db, &handler, fast()).await;
    for (id, _, _) in well {
        until_status(&db, id, "completed").await;
    }
    until_status(&db, "neighbour", "completed").await;
    for (id, _, _, named) in &wrong {
        until_status(&db, id, "failed").await;
        let row = db
            .sql(&format!(
                "SELECT error, result->>'verdict', attempt FROM tasks WHERE id = '{id}'"
            ))
            .await;
        let error = row[0][0].clone().unwrap_or_default();
        assert!(error.contains(named), "{id}: {error}");
        assert!(row[0][1].is_some(), "{id} has a result for people to read");
        assert_eq!(
            row[0][2].as_deref(),
            Some("1"),
            "{id} failed at the first attempt"
        );
    }
    until(
        &db,
        "status = 'pending' AND attempt = 0 FROM tasks WHERE id = 'theirs'",
    )
    .await;
    worker.stop().await;

    // People can still list them, and the odd ones of others.
    db.sql(&format!(
        "UPDATE tasks SET result = '{}' WHERE id = 'theirs'",
        nested(400)
    ))
    .await;
    let filter = TaskFilter {
        limit: 100,
        ..TaskFilter::default()
    };
    let listed = db.store().await.tasks(&filter).await.expect("they can be listed");
    assert_eq!(
        db.value("SELECT count(*) FROM tasks").await,
        Some(listed.len().to_string())
    );
}

#[tokio::test]
async fn a_type_of_any_characters_is_answered_with_those_that_there_are() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to) VALUES
         ('empty', '', 'devops'), ('lines', E'fix\\n_build\\t\"', 'devops'), ('slash', 'scripted/1', 'devops'),
         ('snow', '☃', 'devops'), ('long', repeat('x', 100000), 'devops')",
    )
    .await;
    let worker = start(&db, &handler, fast()).await;
    for id in ["empty", "lines", "slash", "snow", "long"] {
        until_status(&db, id, "failed").await;
        let error = db
            .value(&format!("SELECT error FROM tasks WHERE id = '{id}'"))
            .await
            .unwrap_or_default();
        assert!(
            error.starts_with("task_type ") && error.ends_with("Send one of: scripted"),
            "{error}"
        );
    }
    worker.stop().await;
}

#[tokio::test]
async fn words_from_outside_that_postgres_cannot_store_stop_nothing() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    for script in [
        "hold with nul",
        "retry with nul",
        "fail with nul",
        "child with nul",
        "asked to come back late",
        "deep",
    ] {
        insert(&db, script, script).await;
    }
    let worker = start(&db, &handler, fast()).await;
    until(
        &db,
        "wait->>'held' = 'a log says a\u{fffd}b' FROM tasks WHERE id = 'hold with nul'",
    )
    .await;
    until_status(&db, "fail with nul", "failed").await;
    until_status(&db, "retry with nul", "failed").await;
    for id in ["fail with nul", "retry with nul"] {
        let error = db
            .value(&format!("SELECT error FROM tasks WHERE id = '{id}'"))
            .await;
        assert!(
            error
                .as_deref()
                .is_some_and(|e| e.contains("the far side says a\u{fffd}b")),
            "{error:?}"
        );
    }
    until_status(&db, "child with nul", "completed").await;
    until(
        &db,
        "payload->>'excerpt' = 'a\u{fffd}b' FROM tasks WHERE assigned_to = 'builder'",
    )
    .await;
    until(
        &db,
        "status = 'waiting' AND run_at < longshore.utc_now() + interval '2 days' FROM tasks WHERE id = 'asked to come back late'",
    )
    .await;
    until_status(&db, "deep", "failed").await;
    let error = db.value("SELECT error FROM tasks WHERE id = 'deep'").await;
    assert!(
        error
            .as_deref()
            .is_some_and(|e| e.contains("\"read\"") && e.contains("deep")),
        "{error:?}"
    );
    worker.stop().await;
}
