//! A second client, in another language and with its own driver, at the same table at the same time.

use std::path::Path;

use domain::NewTask;
use serde_json::{Value, json};
use store::{Store, TaskFilter};
use testkit::postgres::{self, Database};
use tokio::process::Command;

async fn orchestrator(arguments: &[&str]) -> Value {
    let python = std::env::var("LONGSHORE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/orchestrator.py");
    let output = Command::new(&python)
        .arg(script)
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap_or_else(|error| {
            panic!("{python} could not be started: {error}. Run the tests through scripts/test")
        });
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

async fn ours(store: &Store, count: i32) {
    for number in 0..count {
        let task = NewTask::new("deploy", json!({"number": number})).assigned_to("devops");
        let id = store.create_task(&task).await.expect("we create");
        if number % 2 == 0 {
            store.cancel_task(&id).await.expect("we cancel");
        }
    }
}

async fn counts(db: &Database) -> Vec<postgres::Row> {
    db.sql("SELECT assigned_to, status, count(*) FROM tasks GROUP BY 1, 2 ORDER BY 1, 2")
        .await
}

#[tokio::test]
async fn both_work_at_once_and_neither_touches_the_others_rows() {
    let db = postgres::database().await;
    let store = db.store().await;
    let theirs = ["work", db.url(), "builder", "40"];
    let (done, ()) = tokio::join!(orchestrator(&theirs), ours(&store, 40));
    let claimed = done["claimed"].as_array().expect("a list");
    assert_eq!(claimed.len(), 40);
    assert!(
        claimed
            .iter()
            .all(|row| row["status"] == "claimed" && row["payload"]["instruction"].is_string())
    );
    let priorities: Vec<i64> = claimed
        .iter()
        .filter_map(|row| row["priority"].as_i64())
        .collect();
    assert!(priorities.is_sorted_by(|a, b| a >= b), "10 first: {priorities:?}");
    let words = |row: [&str; 3]| row.map(|word| Some(word.to_owned())).to_vec();
    assert_eq!(
        counts(&db).await,
        [
            words(["builder", "completed", "40"]),
            words(["devops", "cancelled", "20"]),
            words(["devops", "pending", "20"])
        ]
    );
}

#[tokio::test]
async fn its_start_up_before_ours_and_after_leaves_both_working() {
    let db = postgres::empty_database().await;
    orchestrator(&["start-up", db.url()]).await;
    orchestrator(&["work", db.url(), "builder", "3"]).await;
    let store = db.store().await;
    store.migrate().await.expect("adopts its tables");
    ours(&store, 2).await;
    let again = orchestrator(&["start-up", db.url()]).await;
    assert_eq!(
        again["refused"].as_array().map(Vec::len),
        Some(1),
        "only the column that is there: {again}"
    );
    ours(&store, 2).await;
    let done = orchestrator(&["work", db.url(), "builder", "3"]).await;
    assert_eq!(done["claimed"].as_array().map(Vec::len), Some(3));
    let all = store
        .tasks(&TaskFilter {
            limit: 100,
            ..TaskFilter::default()
        })
        .await
        .expect("we read");
    assert_eq!(all.len(), 10);
}
