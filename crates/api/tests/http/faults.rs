//! What Postgres denies longshore is not what a caller did wrong.

use serde_json::Value;
use store::Store;
use testkit::postgres;

use crate::served::{Served, config};

/// An API whose user of Postgres, which is named, may read and write all that longshore does, for now.
async fn as_a_user_of_its_own() -> (Served, String) {
    let database = postgres::database().await;
    // Users are the server's, which other tests may share.
    let user = format!("of_{}", database.url().rsplit('/').next().unwrap());
    database
        .sql(&format!(
            "CREATE ROLE {user} LOGIN;
             GRANT USAGE ON SCHEMA public, longshore TO {user};
             GRANT ALL ON ALL TABLES IN SCHEMA public, longshore TO {user}"
        ))
        .await;
    let mut store = database.config();
    store.url = store.url.replacen("//postgres@", &format!("//{user}@"), 1);
    let store = Store::connect(store).await.expect("connect as another user");
    (Served::over(database, store, config()).await, user)
}

fn told(answer: &(u16, Value)) -> (u16, &str, &str) {
    let error = &answer.1["error"];
    let text = |field: &str| error[field].as_str().unwrap_or_default();
    (answer.0, text("kind"), text("next"))
}

#[tokio::test]
async fn a_right_that_the_database_user_lacks_is_the_servers_fault_and_a_wrong_field_stays_the_callers() {
    let (served, user) = as_a_user_of_its_own().await;
    let task = r#"{"type": "deploy", "payload": {}}"#;
    assert_eq!(served.post("/api/tasks", task).await.0, 201);
    let revoke = format!("REVOKE INSERT ON tasks FROM {user}");
    served.database.sql(&revoke).await;
    let refused = served.post("/api/tasks", task).await;
    let (status, kind, next) = told(&refused);
    assert_eq!((status, kind), (503, "unavailable"), "{refused:?}");
    assert!(next.contains("lacks a right"), "{next}");
    assert!(
        !refused.1.to_string().contains("permission denied"),
        "what lies beneath is for our log: {refused:?}"
    );
    let wrong = served
        .post(
            "/api/tasks",
            r#"{"type": "deploy", "repo_id": "none", "payload": {}}"#,
        )
        .await;
    let (status, kind, _) = told(&wrong);
    assert_eq!((status, kind), (422, "invalid"), "{wrong:?}");
}

#[tokio::test]
async fn a_database_that_lets_us_in_no_more_is_unavailable() {
    let (served, user) = as_a_user_of_its_own().await;
    assert_eq!(served.get("/api/tasks").await.0, 200);
    let shut = format!("ALTER ROLE {user} NOLOGIN");
    served.database.sql(&shut).await;
    served.database.kill_sessions().await;
    let refused = served.get("/api/tasks").await;
    let (status, kind, next) = told(&refused);
    assert_eq!((status, kind), (503, "unavailable"), "{refused:?}");
    assert!(next.contains("does not let this longshore in"), "{next}");
}

#[tokio::test]
async fn a_database_that_is_away_is_not_taken_for_a_pool_that_is_too_small() {
    let postgres = postgres::Postgres::own().await;
    let database = postgres.database().await;
    let mut store = database.config();
    store.acquire_timeout = std::time::Duration::from_millis(2500);
    let store = Store::connect(store).await.expect("connect");
    let served = Served::over(database, store, config()).await;
    assert_eq!(served.get("/api/tasks").await.0, 200);
    postgres.stop().await;
    // What was connected finds out at its first use; from then on none can be made.
    served.get("/api/tasks").await;
    let refused = served.get("/api/tasks").await;
    let (status, kind, next) = told(&refused);
    assert_eq!((status, kind), (503, "unavailable"), "{refused:?}");
    assert!(!next.contains("pool's size"), "{refused:?}");
    assert!(next.contains("Does Postgres answer?"), "{refused:?}");
    postgres.start().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_statement_says_what_to_do() {
    let served = Served::new().await;
    let mut other = served.database.session().await;
    other.sql("BEGIN; LOCK tasks IN ACCESS EXCLUSIVE MODE").await;
    let cut = async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while served.count(waits).await == 0 {}
        served.database.kill_sessions().await;
    };
    let (refused, ()) = tokio::join!(served.get("/api/tasks"), cut);
    let (status, kind, next) = told(&refused);
    assert_eq!((status, kind), (503, "unavailable"), "{refused:?}");
    assert!(next.contains("Call again in a moment"), "{refused:?}");
}
