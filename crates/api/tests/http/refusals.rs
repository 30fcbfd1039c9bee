//! What is refused is refused in words of our own, with the part of the request that is wrong, and what is fine is not.

use serde_json::{Value, json};

use crate::served::{Served, answer};

fn at(answer: &(u16, Value)) -> (u16, &str) {
    let field = answer.1["error"]["field"].as_str();
    (answer.0, field.unwrap_or_default())
}

#[tokio::test]
async fn a_parameter_without_a_value_is_none_and_one_that_is_unknown_is_named() {
    let served = Served::new().await;
    served
        .database
        .sql(
            "INSERT INTO tasks (id, task_type, assigned_to, status, error, claimed_at) VALUES
               ('broken', 'deploy', 'devops', 'failed', 'broke', NULL),
               ('old', 'deploy', NULL, 'claimed', NULL, longshore.utc_now() - interval '5 hours')",
        )
        .await;
    let (status, list) = served
        .get("/api/tasks?status=&limit=&type=&to=&repo_id=&before=")
        .await;
    assert_eq!(
        (status, list["tasks"].as_array().map(Vec::len)),
        (200, Some(2)),
        "{list}"
    );
    let (status, dead) = served
        .get("/api/tasks/dead?type=&to=&repo_id=&created_after=")
        .await;
    assert_eq!((status, &dead["total"]), (200, &json!(1)), "{dead}");
    let events = served.http.get(served.url("/api/events?type=&repo_id="));
    assert_eq!(events.send().await.unwrap().status(), 200);

    // With 24 hours, which are taken where nothing is said, nothing would be stale.
    let wrong = served.post("/api/tasks/reset-stale?hour=1", "").await;
    assert_eq!(at(&wrong), (422, "hour"), "{wrong:?}");
    assert_eq!(wrong.1["error"]["next"], "Known are hours");
    for (path, status, field) in [
        ("/api/tasks?limit=1&limit=2", 422, "limit"),
        ("/api/tasks/broken?full=1", 422, "full"),
        ("/api/events?kind=x", 422, "kind"),
        ("/api/tasks?type=%F", 400, ""),
    ] {
        assert_eq!(at(&served.get(path).await), (status, field), "{path}");
    }
}

#[tokio::test]
async fn what_postgres_cannot_hold_never_reaches_it() {
    let served = Served::new().await;
    for path in ["/api/tasks/%00", "/api/tasks/%00/events", "/api/schedules/%00"] {
        let answer = served.get(path).await;
        assert_eq!(at(&answer), (404, ""), "{path}: {answer:?}");
    }
    for path in [
        "/api/tasks/%00/cancel",
        "/api/tasks/%00/approve",
        "/api/schedules/%00/run",
    ] {
        assert_eq!(at(&served.post(path, "").await), (404, ""), "{path}");
    }
    for (method, path) in [("PUT", "/api/queue/repo/%00"), ("DELETE", "/api/queue/type/%00")] {
        let rule = served.send(method, path, r#"{"paused": true}"#).await;
        assert_eq!(at(&rule), (404, ""), "{path}");
    }
    let page = served.http.get(served.url("/tasks/%00")).send().await.unwrap();
    assert_eq!(page.status(), 404);
    for (path, field) in [
        ("/api/tasks?type=%00", "type"),
        ("/api/tasks/dead?to=%00", "to"),
        ("/api/tasks?before=9999-99-99T00:00:00~x", "before"),
        (
            "/api/tasks/dead?created_after=9999-99-99T00:00:00Z",
            "created_after",
        ),
    ] {
        let answer = served.get(path).await;
        assert_eq!(at(&answer), (422, field), "{path}: {answer:?}");
        assert!(!answer.1.to_string().contains("date/time"), "{answer:?}");
    }
    for (body, field) in [
        (json!({"type": "a\u{0}"}), "type"),
        (json!({"error": "a\u{0}"}), "error"),
        (json!({"all": true, "before": "9999-99-99T00:00:00~x"}), "before"),
    ] {
        let answer = served.post("/api/tasks/cancel", body.to_string()).await;
        assert_eq!(at(&answer), (422, field), "{body}: {answer:?}");
    }
}

#[tokio::test]
async fn a_task_that_names_what_is_not_there_is_told_the_field() {
    let served = Served::new().await;
    for field in ["repo_id", "parent_task_id"] {
        let mut body = json!({"type": "deploy"});
        body[field] = "none".into();
        let answer = served.post("/api/tasks", body.to_string()).await;
        assert_eq!(at(&answer), (422, field), "{answer:?}");
    }
}

#[tokio::test]
async fn to_cancel_twice_is_once_and_held_is_a_state_to_ask_for() {
    let served = Served::new().await;
    served
        .database
        .sql(
            r#"INSERT INTO tasks (id, task_type, assigned_to) VALUES ('one', 'deploy', 'devops');
               INSERT INTO tasks (id, task_type, assigned_to, status, wait) VALUES
                 ('held', 'deploy', 'devops', 'waiting', '{"held": "look"}'), ('parked', 'deploy', 'devops', 'waiting', '{"why": "x"}'),
                 ('done', 'deploy', 'devops', 'completed', NULL)"#,
        )
        .await;
    for _ in 0..2 {
        let (status, cancelled) = served.post("/api/tasks/one/cancel", "").await;
        assert_eq!((status, &cancelled["task"]["state"]), (200, &json!("cancelled")));
    }
    let told = "SELECT count(*) FROM longshore.task_events WHERE task_id = 'one'";
    assert_eq!(served.count(told).await, 1);
    assert_eq!(served.post("/api/tasks/done/cancel", "").await.0, 409);
    for (query, found) in [("held", vec!["held"]), ("held,completed", vec!["done", "held"])] {
        let (status, list) = served.get(&format!("/api/tasks?status={query}")).await;
        let mut ids: Vec<&str> = list["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|task| task["id"].as_str())
            .collect();
        ids.sort_unstable();
        assert_eq!((status, ids), (200, found), "{query}");
    }
}

#[tokio::test]
async fn a_pause_can_lose_its_reason_and_a_reason_needs_a_pause() {
    let served = Served::new().await;
    let set = async |body: &str| {
        served
            .send("PUT", "/api/queue/type/deploy", body.to_owned())
            .await
    };
    let alone = set(r#"{"max_running": 3, "reason": "x"}"#).await;
    assert_eq!(at(&alone), (422, "reason"), "{alone:?}");
    let (_, paused) = set(r#"{"paused": true, "reason": "a dump"}"#).await;
    assert_eq!(paused["rule"]["reason"], "a dump");
    let (status, cleared) = set(r#"{"reason": null}"#).await;
    let rule = &cleared["rule"];
    assert_eq!(
        (status, &rule["reason"], &rule["paused"]),
        (200, &json!(null), &json!(true)),
        "{cleared}"
    );
}

#[tokio::test]
async fn a_cut_off_token_is_not_none() {
    let served = Served::new().await;
    let with = |token: &str| served.http.get(served.url("/api/tasks")).bearer_auth(token);
    assert_eq!(answer(with("lsh_0123")).await.0, 401);
    assert_eq!(answer(with("for-the-proxy-in-front")).await.0, 200);
}

#[tokio::test]
async fn a_place_among_events_that_is_ahead_of_all_is_of_another_database() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO longshore.task_events (task_id, kind, attempt, summary) VALUES ('a', 'told', 1, 'x')")
        .await;
    served
        .database
        .sql("INSERT INTO tasks (id, task_type) VALUES ('a', 'deploy')")
        .await;
    for path in ["/api/events", "/api/tasks/a/events"] {
        let from = |last: &str| served.http.get(served.url(path)).header("Last-Event-ID", last);
        let ahead = answer(from("1000000")).await;
        assert_eq!(at(&ahead), (422, "Last-Event-ID"), "{ahead:?}");
        assert_eq!(from("1").send().await.unwrap().status(), 200);
    }
}
