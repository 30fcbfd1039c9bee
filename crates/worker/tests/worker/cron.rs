//! Schedules under running workers.

use std::time::Duration;

use domain::NewTask;
use serde_json::json;
use store::{Missed, NewSchedule, Overlap};
use testkit::postgres;

use crate::common::{Scripted, fast, start, until};

#[tokio::test]
async fn of_two_workers_one_fires_each_run_and_the_task_is_done() {
    let db = postgres::database().await;
    let clock = db.manual_clock("2026-07-01T10:30:00Z".parse().unwrap()).await;
    let store = db.store().await;
    let task = NewTask::new("scripted", json!({"script": "say"})).assigned_to("devops");
    store
        .set_schedule(&NewSchedule {
            name: "hourly".to_owned(),
            cron: "@hourly".to_owned(),
            time_zone: "UTC".to_owned(),
            task,
            overlap: Overlap::Skip,
            missed: Missed::Once,
            enabled: true,
        })
        .await
        .unwrap();
    let config = worker::Config {
        housekeeping: Duration::from_millis(300),
        ..fast()
    };
    let one = start(&db, &Scripted::default(), config.clone()).await;
    let two = start(&db, &Scripted::default(), config).await;
    for run in 1..=3 {
        clock.advance(Duration::from_secs(3600)).await;
        until(
            &db,
            &format!(
                "count(*) = {run} FROM tasks WHERE status = 'completed' AND created_by = 'schedule:hourly'"
            ),
        )
        .await;
    }
    one.stop().await;
    two.stop().await;
    assert_eq!(db.value("SELECT count(*) FROM tasks").await.as_deref(), Some("3"));
    // A worker that has stopped fires nothing.
    clock.advance(Duration::from_secs(3600)).await;
    assert_eq!(
        db.value("SELECT next_run <= longshore.now() FROM longshore.schedules")
            .await
            .as_deref(),
        Some("t")
    );
}

#[tokio::test]
async fn a_run_is_fired_when_it_is_due_and_not_at_the_next_round_of_housekeeping() {
    let db = postgres::database().await;
    let store = db.store().await;
    let task = NewTask::new("scripted", json!({"script": "say"})).assigned_to("devops");
    store
        .set_schedule(&NewSchedule {
            name: "often".to_owned(),
            cron: "* * * * * *".to_owned(),
            time_zone: "UTC".to_owned(),
            task,
            overlap: Overlap::Skip,
            missed: Missed::Once,
            enabled: true,
        })
        .await
        .unwrap();
    let config = worker::Config {
        housekeeping: Duration::from_secs(3600),
        ..fast()
    };
    let worker = start(&db, &Scripted::default(), config).await;
    until(&db, "count(*) >= 2 FROM tasks WHERE status = 'completed'").await;
    worker.stop().await;
}
