//! `longshore tasks watch` where its database, its reader or its user goes away.

use std::process::Stdio;

use testkit::postgres::{self, Postgres, Proxy};

use crate::process::{Process, over, words};

const PENDING: &str =
    "INSERT INTO tasks (id, task_type, assigned_to, status) VALUES ('t', 'x', 'devops', 'pending')";

#[tokio::test]
async fn ctrl_c_ends_it_although_the_database_answers_nothing() {
    let db = postgres::database().await;
    db.sql(PENDING).await;
    let proxy = Proxy::before(&db).await;
    let mut command = over(&db, &["tasks", "watch", "t"]);
    command.env("DATABASE_URL", proxy.config(db.url()).url);
    let mut watch = Process::start(command);
    watch.says(|said| said.contains("pending").then_some(())).await;
    proxy.go_dark();
    let asked = std::time::Instant::now();
    watch.signal("INT");
    assert_eq!(watch.ended().await, 130, "{}", watch.said());
    // Less than what it takes to give up on a statement or on closing a connection.
    assert!(
        asked.elapsed() < std::time::Duration::from_secs(4),
        "{}",
        watch.said()
    );
}

#[tokio::test]
async fn a_database_that_is_away_is_told_once_and_waited_for() {
    let server = Postgres::own().await;
    let db = server.database().await;
    db.sql(PENDING).await;
    let mut watch = Process::start(over(&db, &["tasks", "watch", "t"]));
    watch.says(|said| said.contains("pending").then_some(())).await;
    server.stop().await;
    watch
        .says(|said| said.contains("looked again until it answers").then_some(()))
        .await;
    server.start().await;
    db.sql("UPDATE tasks SET status = 'completed', completed_at = now() WHERE id = 't'")
        .await;
    assert_eq!(watch.ended().await, 0, "{}", watch.said());
    let told = watch.said().matches("looked again").count();
    assert_eq!(told, 1, "{}", watch.said());
}

#[tokio::test]
async fn it_ends_with_its_reader_and_takes_any_timeout() {
    let db = postgres::database().await;
    db.sql(PENDING).await;
    let mut child = over(&db, &["tasks", "watch", "t", "--timeout", "18446744073709551615"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = tokio::task::spawn_blocking(move || child.wait().unwrap());
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), ended)
        .await
        .expect("it does not end")
        .unwrap();
    assert_eq!(ended.code(), Some(3));
    db.sql("UPDATE tasks SET status = 'completed', completed_at = now() WHERE id = 't'")
        .await;
    let all = ["tasks", "watch", "t", "--timeout", "18446744073709551615"];
    assert_eq!(words(over(&db, &all)).0, 0);
}
