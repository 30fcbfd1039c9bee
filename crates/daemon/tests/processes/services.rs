//! `serve` and `worker` as two processes over one database, and `tasks watch` beside them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::postgres::{self, Fault, PoolerSetup, Proxy};

use crate::process::{LOG, Process, answer, over, run, until};

#[tokio::test]
async fn a_task_goes_through_http_to_another_process_and_back() {
    let db = postgres::empty_database().await;
    let (code, migrated) = answer(over(&db, &["migrate", "--json"]));
    assert_eq!((code, &migrated["status"]), (0, &json!("migrated")));
    let mut serve = Process::start(over(&db, &["serve", "--bind", "127.0.0.1:0"]));
    let api = serve.api().await;
    let http = reqwest::Client::new();

    let health = http.get(format!("{api}/health")).send().await.unwrap();
    assert_eq!(health.status(), 200);
    let health: Value = health.json().await.unwrap();
    assert_eq!(
        (&health["status"], &health["database"]),
        (&json!("ok"), &json!("ok"))
    );

    let task = json!({ "type": "fix_build", "to": "devops", "payload": { "log": LOG } });
    let created = http
        .post(format!("{api}/api/tasks"))
        .json(&task)
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    let created: Value = created.json().await.unwrap();
    let id = created["task_id"].as_str().unwrap().to_owned();

    let metrics = http.get(format!("{api}/metrics")).send().await.unwrap();
    let kind = metrics.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let metrics = metrics.text().await.unwrap();
    for line in [
        "longshore_database_up 1",
        "longshore_tasks{type=\"fix_build\",status=\"pending\"} 1",
        "longshore_ticket_notes{state=\"due\"} 0",
        "longshore_workers 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line} is not in\n{metrics}");
    }
    assert!(
        metrics.contains("longshore_oldest_pending_task_age_seconds{type=\"fix_build\"} "),
        "{metrics}"
    );
    assert!(metrics.contains("longshore_http_requests_total{"), "{metrics}");

    // Watched from before its start to its end.
    let mut watch = Process::start(over(&db, &["tasks", "watch", &id]));
    watch.says(|said| said.contains("pending").then_some(())).await;
    let mut worker = Process::start(over(&db, &["worker"]));
    assert_eq!(watch.ended().await, 0, "{}", watch.said());
    let said = watch.said();
    assert!(said.contains("completed") && said.lines().count() > 2, "{said}");

    let shown: Value = http
        .get(format!("{api}/api/tasks/{id}"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(shown["task"]["status"], "completed", "{shown}");
    assert!(
        shown["task"]["result"].to_string().contains("mismatched types"),
        "{shown}"
    );

    // One that fails makes the watcher say no; one that does not exist is told at once.
    let (code, asked) = answer(over(
        &db,
        &[
            "create-task",
            "--json",
            "--agent",
            "devops",
            "--task-type",
            "fix_build",
            "--instruction",
            "make it nice",
        ],
    ));
    assert_eq!(code, 0, "{asked}");
    let watched = run(over(&db, &["tasks", "watch", asked["task_id"].as_str().unwrap()]));
    let said = String::from_utf8_lossy(&watched.stdout).into_owned();
    assert_eq!(watched.status.code(), Some(1), "{said}");
    assert!(said.contains("failed") && said.contains("make it nice"), "{said}");
    assert_eq!(
        run(over(&db, &["tasks", "watch", "nowhere"])).status.code(),
        Some(1)
    );

    assert_eq!(worker.stop().await, 0, "{}", worker.said());
    let mut ended_too_soon = Process::start(over(
        &db,
        &["tasks", "watch", "--timeout", "0", &created_again(&db)],
    ));
    assert_eq!(ended_too_soon.ended().await, 3, "{}", ended_too_soon.said());
    assert_eq!(serve.stop().await, 0, "{}", serve.said());
}

/// A task that nobody works on.
fn created_again(db: &postgres::Database) -> String {
    let (_, asked) = answer(over(
        db,
        &[
            "create-task",
            "--json",
            "--agent",
            "devops",
            "--task-type",
            "fix_build",
            "--instruction",
            "fix pipeline 1",
        ],
    ));
    asked["task_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn behind_a_pooler_the_log_says_what_is_missing_and_the_setting_mends_it() {
    let db = postgres::database().await;
    let pooler = db
        .pooler(PoolerSetup {
            lenient: true,
            ..PoolerSetup::default()
        })
        .await;
    let pooled = |args: &[&str], set: &[(&str, &str)]| {
        let mut command = over(&db, args);
        command
            .env("DATABASE_URL", pooler.url())
            .envs(set.iter().copied());
        command
    };
    let (code, refused) = answer(pooled(&["tasks", "list", "--json"], &[]));
    assert_eq!(code, 2, "{refused}");
    assert!(
        refused.to_string().contains("database.pooler = true"),
        "{refused}"
    );
    let (code, refused) = answer(pooled(
        &["tasks", "list", "--json"],
        &[("LONGSHORE_DATABASE_POOLER", "true")],
    ));
    assert_eq!(code, 2, "{refused}");
    assert!(
        refused.to_string().contains("database.listen = false"),
        "{refused}"
    );

    let astray = [
        ("LONGSHORE_DATABASE_POOLER", "true"),
        ("LONGSHORE_DATABASE_DIRECT_URL", pooler.url()),
    ];
    let mut worker = Process::start(pooled(&["worker"], &astray));
    worker
        .says(|said| said.contains("notifications do not arrive").then_some(()))
        .await;
    assert_eq!(worker.stop().await, 0, "{}", worker.said());

    let right = [
        ("LONGSHORE_DATABASE_POOLER", "true"),
        ("LONGSHORE_DATABASE_DIRECT_URL", db.url()),
    ];
    let mut worker = Process::start(pooled(
        &["worker", "--with-api"],
        &[&right[..], &[("LONGSHORE_API_BIND", "127.0.0.1:0")]].concat(),
    ));
    let api = worker.api().await;
    let task = json!({ "type": "fix_build", "payload": { "log": LOG } });
    let created = reqwest::Client::new()
        .post(format!("{api}/api/tasks"))
        .json(&task)
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    until(
        &db,
        &worker,
        "EXISTS (SELECT FROM tasks WHERE status = 'completed')",
    )
    .await;
    assert_eq!(worker.stop().await, 0, "{}", worker.said());
    assert!(
        !worker.said().contains("notifications do not arrive"),
        "{}",
        worker.said()
    );
}

#[tokio::test]
async fn a_database_without_our_tables_is_for_a_person_and_no_bug() {
    let db = postgres::empty_database().await;
    for args in [&["tasks", "list", "--json"][..], &["worker", "--json"]] {
        let ended = run(over(&db, args));
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains("Run `longshore migrate`"), "{args:?}: {said}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_a_worker_whose_database_answers_nothing() {
    let db = postgres::database().await;
    let proxy = Proxy::before(&db).await;
    let mut command = over(&db, &["worker"]);
    command
        .env("DATABASE_URL", proxy.config(db.url()).url)
        .env("LONGSHORE_WORKER_LEASE", "3s");
    // The first heartbeat is sent and never arrives.
    proxy.strike(Fault::Freeze("SET lease_until = clock_timestamp()"));
    let mut worker = Process::start(command);
    worker
        .says(|said| said.contains("The worker is ready").then_some(()))
        .await;
    proxy.struck().await;
    proxy.go_dark();
    worker.signal("TERM");
    worker
        .says(|said| said.contains("a second signal ends at once").then_some(()))
        .await;
    let asked = Instant::now();
    assert_eq!(worker.stop().await, 143, "{}", worker.said());
    // Three seconds are promised; the rest is for a busy machine.
    assert!(asked.elapsed() < Duration::from_secs(8), "{}", worker.said());
}
