//! What was over for long goes while workers run.

use std::time::Duration;

use testkit::postgres;

use crate::common::{Scripted, fast, start, until};

#[tokio::test]
async fn a_worker_deletes_what_was_over_for_long_and_one_that_keeps_all_does_not() {
    let db = postgres::database().await;
    let clock = db.manual_clock("2026-07-01T10:00:00Z".parse().unwrap()).await;
    db.sql(
        "INSERT INTO tasks (task_type, assigned_to, status, attempt, completed_at) SELECT 'x', 'devops', 'completed', 1, longshore.utc_now() FROM generate_series(1, 1200);
         INSERT INTO tasks (task_type, assigned_to, status, completed_at) VALUES ('x', 'builder', 'completed', longshore.utc_now())",
    )
    .await;
    let keeps_all = start(&db, &Scripted::default(), fast()).await;
    let config = worker::Config {
        retention: Some(Duration::from_secs(20)),
        ..fast()
    };
    let deletes = start(&db, &Scripted::default(), config.clone()).await;
    let other = start(&db, &Scripted::default(), config).await;
    until(&db, "EXISTS (SELECT FROM longshore.retention)").await;
    assert_eq!(
        db.value("SELECT count(*) FROM tasks").await.as_deref(),
        Some("1201"),
        "they are young"
    );
    clock.advance(Duration::from_secs(21)).await;
    until(&db, "NOT EXISTS (SELECT FROM tasks WHERE assigned_to = 'devops')").await;
    assert_eq!(
        db.value("SELECT string_agg(assigned_to, ' ') FROM tasks")
            .await
            .as_deref(),
        Some("builder")
    );
    for worker in [keeps_all, deletes, other] {
        worker.stop().await;
    }
}
