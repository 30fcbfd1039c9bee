//! The test servers themselves: copies are apart, faults are real, and nothing is left running.

use std::time::Duration;

use testkit::postgres::{self, Postgres};

#[tokio::test]
async fn each_test_has_a_migrated_database_of_its_own() {
    let (one, two) = (postgres::database().await, postgres::database().await);
    one.sql("INSERT INTO tasks (task_type) VALUES ('deploy')").await;
    assert_eq!(
        one.value("SELECT count(*) FROM tasks").await.as_deref(),
        Some("1")
    );
    assert_eq!(
        two.value("SELECT count(*) FROM tasks").await.as_deref(),
        Some("0")
    );
}

#[tokio::test]
async fn the_manual_clock_stands_until_it_is_moved() {
    let database = postgres::database().await;
    let clock = database
        .manual_clock("2026-01-29T16:28:00Z".parse().unwrap())
        .await;
    let now = "SELECT longshore.utc_now()";
    assert_eq!(database.value(now).await.as_deref(), Some("2026-01-29 16:28:00"));
    clock.advance(Duration::from_millis(90_500)).await;
    assert_eq!(
        database.value(now).await.as_deref(),
        Some("2026-01-29 16:29:30.5")
    );
}

#[tokio::test]
async fn what_a_worker_does_to_tasks_is_heard_of_though_workers_are_not_told() {
    let database = postgres::database().await;
    let (mut told, mut changes) = (database.notifications().await, database.changes().await);
    let mut worker = database.session().await;
    worker
        .sql("SET application_name = 'longshore-worker'; INSERT INTO tasks (id, task_type) VALUES ('t', 'deploy')")
        .await;
    changes.next().await;
    assert_eq!(told.count().await, 0);
    worker
        .sql("BEGIN; UPDATE tasks SET status = 'failed' WHERE id = 't'")
        .await;
    let early = tokio::time::timeout(Duration::from_millis(50), changes.next()).await;
    assert!(early.is_err(), "it is not committed yet");
    worker.sql("COMMIT").await;
    changes.next().await;
}

#[tokio::test]
async fn a_killed_server_keeps_what_was_committed_and_ends_with_its_owner() {
    let server = Postgres::own().await;
    let database = server.database().await;
    database
        .sql("INSERT INTO tasks (task_type) VALUES ('deploy')")
        .await;
    server.kill().await;
    assert!(database.try_sql("SELECT 1").await.is_err(), "the server is down");
    server.start().await;
    assert_eq!(
        database.value("SELECT count(*) FROM tasks").await.as_deref(),
        Some("1")
    );

    let (dir, url) = (server.dir().await, database.url().to_owned());
    assert!(dir.exists());
    drop((database, server));
    assert!(!dir.exists(), "the folder is gone");
    assert!(
        store::Store::connect(store::Config {
            connect_timeout: Duration::ZERO,
            acquire_timeout: Duration::from_millis(200),
            ..store::Config::new(url)
        })
        .await
        .is_err()
    );
}
