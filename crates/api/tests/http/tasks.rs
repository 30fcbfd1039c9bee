//! `/api/tasks` as orchestrators use it.

use crate::served::{Served, answer, config};
use serde_json::json;

#[tokio::test]
async fn the_contracts_request_makes_the_contracts_row_and_answer() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO repos (id, name, active) VALUES ('r1', 'r', true)")
        .await;
    served
        .database
        .sql("INSERT INTO tasks (id, task_type) VALUES ('p1', 'plan')")
        .await;
    let body = json!({
        "type": "deploy", "to": "devops", "priority": 7, "created_by": "pm", "repo_id": "r1", "parent_task_id": "p1",
        "payload": {"instruction": "deploy v1.4.2 to staging", "repo_id": "r1"}
    });
    let (status, made) = served.post("/api/tasks", body.to_string()).await;
    assert_eq!(status, 201);
    let id = made["task_id"].as_str().unwrap();
    assert_eq!(
        made,
        json!({"status": "created", "task_id": id, "repo_id": "r1", "assigned_to": "devops"})
    );
    let row = served
        .database
        .value("SELECT concat_ws('|', id, repo_id, task_type, priority, payload->>'instruction', status, assigned_to, created_by, parent_task_id) FROM tasks WHERE id <> 'p1'")
        .await
        .unwrap();
    assert_eq!(
        row,
        format!("{id}|r1|deploy|7|deploy v1.4.2 to staging|pending|devops|pm|p1")
    );
}

#[tokio::test]
async fn a_task_may_be_for_later() {
    let served = Served::new().await;
    let task = |run_at: serde_json::Value| json!({"type": "deploy", "to": "devops", "payload": {}, "run_at": run_at});
    let one = task(json!("2031-01-29T17:28:00.5+01:00")).to_string();
    assert_eq!(served.post("/api/tasks", one).await.0, 201);
    let many = json!([task(json!(null)), task(json!("2032-01-01T00:00:00Z"))]).to_string();
    assert_eq!(served.post("/api/tasks/bulk", many).await.0, 201);
    let rows = "SELECT string_agg(CASE WHEN run_at = created_at THEN 'now' ELSE run_at::text END, ', ' ORDER BY id) FROM tasks";
    assert_eq!(
        served.database.value(rows).await.as_deref(),
        Some("2031-01-29 16:28:00.5, now, 2032-01-01 00:00:00")
    );
}

#[tokio::test]
async fn a_dedupe_key_answers_with_the_task_that_is_unfinished() {
    let served = Served::new().await;
    let body =
        json!({"type": "deploy", "to": "devops", "dedupe_key": "deploy:checkout", "payload": {}}).to_string();
    let (status, made) = served.post("/api/tasks", body.clone()).await;
    assert_eq!((status, made["status"].as_str()), (201, Some("created")));
    let (status, again) = served.post("/api/tasks", body.clone()).await;
    assert_eq!(status, 200);
    assert_eq!(
        again,
        json!({"status": "exists", "task_id": made["task_id"], "repo_id": null, "assigned_to": "devops"})
    );
    served.database.sql("UPDATE tasks SET status = 'failed'").await;
    let (status, next) = served.post("/api/tasks", body).await;
    assert_eq!((status, next["status"].as_str()), (201, Some("created")));
    let (status, error) = served
        .post(
            "/api/tasks",
            json!({"type": "x", "dedupe_key": "k".repeat(201)}).to_string(),
        )
        .await;
    assert_eq!(
        (status, error["error"]["field"].as_str()),
        (422, Some("dedupe_key")),
        "{error}"
    );
}

#[tokio::test]
async fn the_list_has_the_newest_first_with_counts_and_times_in_utc() {
    let served = Served::new().await;
    served
        .database
        .sql(
            "INSERT INTO tasks (id, task_type, status, created_at) VALUES
               ('old', 'a', 'completed', '2026-01-29T16:28:00.123456'), ('new', 'b', 'pending', '2026-01-29T16:29:00'),
               ('held', 'b', 'pending', '2026-01-29T16:27:00')",
        )
        .await;
    served
        .database
        .sql(r#"UPDATE tasks SET status = 'waiting', wait = '{"held": "look at it"}' WHERE id = 'held'"#)
        .await;
    let (status, all) = served.get("/api/tasks?limit=2").await;
    assert_eq!(status, 200);
    let ids: Vec<&str> = all["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["new", "old"]);
    assert_eq!(all["tasks"][1]["created_at"], "2026-01-29T16:28:00.123Z");
    assert_eq!(
        (&all["stats"]["pending"], &all["stats"]["completed"]),
        (&json!(1), &json!(1))
    );
    let (_, waiting) = served.get("/api/tasks?status=waiting,failed").await;
    assert_eq!(waiting["tasks"][0]["state"], "held");
    assert_eq!(waiting["tasks"][0]["waits_for"], "look at it");
    for (query, field) in [
        ("status=done", "status"),
        ("limit=0", "limit"),
        ("limit=many", "limit"),
    ] {
        let (status, error) = served.get(&format!("/api/tasks?{query}")).await;
        assert_eq!(
            (status, error["error"]["field"].as_str()),
            (422, Some(field)),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_refused_is_named_and_leaves_no_row() {
    let served = Served::new().await;
    let mut deep = json!({});
    for _ in 0..200 {
        deep = json!({ "a": deep });
    }
    let big = json!({"type": "x", "payload": {"log": "y".repeat(1024 * 1024)}});
    for (body, status, field) in [
        ("{".to_owned(), 400, None),
        ("\u{ff}\u{0}".to_owned(), 400, None),
        (
            json!({"type": "x", "priority": 11}).to_string(),
            422,
            Some("priority"),
        ),
        (
            r#"{"type": "x", "payload": {"a": "\u0000"}}"#.to_owned(),
            422,
            Some("payload.a"),
        ),
        (
            json!({"type": "x", "payload": deep}).to_string(),
            422,
            Some("payload"),
        ),
        (big.to_string(), 413, Some("payload")),
        ("x".repeat(3 * 1024 * 1024), 413, None),
    ] {
        let shown: String = body.chars().take(60).collect();
        let (got, error) = served.post("/api/tasks", body).await;
        assert_eq!(
            (got, error["error"]["field"].as_str()),
            (status, field),
            "{shown}: {error}"
        );
        assert!(
            error["error"]["what"]
                .as_str()
                .is_some_and(|what| what.len() > 10),
            "{error}"
        );
    }
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
}

/// The largest payload that is taken is one that the database takes too.
#[tokio::test]
async fn our_limit_is_the_databases_limit() {
    let served = Served::new().await;
    let padding = api::PAYLOAD_BYTES - r#"{"a": [1, {}], "log": ""}"#.len();
    let body = |bytes: usize| json!({"type": "x", "payload": {"a": [1, {}], "log": "é".repeat(bytes / 2) + &"y".repeat(bytes % 2)}});
    assert_eq!(served.post("/api/tasks", body(padding).to_string()).await.0, 201);
    assert_eq!(
        served
            .count("SELECT octet_length(payload::text) FROM tasks")
            .await,
        api::PAYLOAD_BYTES as i64
    );
    assert_eq!(
        served.post("/api/tasks", body(padding + 1).to_string()).await.0,
        413
    );
}

#[tokio::test]
async fn cancel_and_retry_answer_with_the_new_state_or_say_why_not() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('a/b', 'fix_build', 'devops')")
        .await;
    let (status, cancelled) = served.post("/api/tasks/a%2Fb/cancel", "").await;
    assert_eq!(
        (status, cancelled["task"]["state"].as_str()),
        (200, Some("cancelled"))
    );
    let (status, again) = served.post("/api/tasks/a%2Fb/retry", "").await;
    assert_eq!((status, again["task"]["state"].as_str()), (200, Some("pending")));
    for path in ["/api/tasks/none/cancel", "/api/tasks/none/retry"] {
        assert_eq!(served.post(path, "").await.0, 404);
    }
    assert_eq!(served.get("/api/tasks/none").await.0, 404);
    let (status, shown) = served.get("/api/tasks/a%2Fb").await;
    assert_eq!((status, shown["task"]["id"].as_str()), (200, Some("a/b")));
}

#[tokio::test]
async fn stale_claims_go_back_and_waiting_ones_stay() {
    let served = Served::new().await;
    served
        .database
        .sql(
            "INSERT INTO tasks (id, task_type, status, claimed_at) VALUES
               ('stale', 'a', 'claimed', longshore.utc_now() - interval '3 hours'),
               ('fresh', 'a', 'claimed', longshore.utc_now() - interval '1 hour'),
               ('parked', 'a', 'waiting', longshore.utc_now() - interval '9 hours')",
        )
        .await;
    let (status, reset) = served.post("/api/tasks/reset-stale?hours=2", "").await;
    assert_eq!(status, 200);
    assert_eq!(reset, json!({"status": "ok", "reset": 1, "task_ids": ["stale"]}));
    for wrong in ["x", "-1", "NaN", "inf"] {
        let (status, error) = served
            .post(&format!("/api/tasks/reset-stale?hours={wrong}"), "")
            .await;
        assert_eq!(
            (status, error["error"]["field"].as_str()),
            (422, Some("hours")),
            "{wrong}"
        );
    }
}

#[tokio::test]
async fn a_token_opens_the_api_and_health_needs_none() {
    let mut guarded = config();
    guarded.tokens = vec!["0123456789abcdef".into()];
    guarded.open = false;
    let served = Served::with(guarded).await;
    assert_eq!(served.get("/api/tasks").await.0, 401);
    let with = served
        .http
        .get(served.url("/api/tasks"))
        .bearer_auth("0123456789abcdef");
    assert_eq!(answer(with).await.0, 200);
    let page = served.http.get(served.url("/")).send().await.unwrap();
    assert_eq!(page.status(), 401);
    assert!(
        page.headers()["www-authenticate"]
            .to_str()
            .unwrap()
            .contains("Basic")
    );
    let (status, health) = served.get("/health").await;
    assert_eq!((status, health["status"].as_str()), (200, Some("ok")));
}

#[tokio::test]
async fn health_says_when_the_database_is_away_and_when_it_is_back() {
    let postgres = testkit::postgres::Postgres::own().await;
    let database = postgres.database().await;
    let api = api::Api::new(database.store().await, config(), None);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let url = format!("http://{at}/health");
    let asked = async |path: &str| answer(reqwest::Client::new().get(format!("http://{at}{path}"))).await;
    let stop = tokio_util::sync::CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(api::serve(listener, api, stop));
    postgres.stop().await;
    let (status, health) = answer(reqwest::Client::new().get(&url)).await;
    assert_eq!((status, health["database"].as_str()), (503, Some("unreachable")));
    let (status, ready) = asked("/readyz").await;
    assert_eq!((status, ready["database"].as_str()), (503, Some("unreachable")));
    assert_eq!(asked("/healthz").await.0, 200, "the process lives all the same");
    postgres.start().await;
    let (status, _) = answer(reqwest::Client::new().get(&url)).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn unknown_addresses_and_methods_are_told_in_json() {
    let served = Served::new().await;
    assert_eq!(served.get("/api/nothing").await.0, 404);
    let (status, error) = answer(served.http.delete(served.url("/api/tasks"))).await;
    assert_eq!((status, error["error"]["kind"].as_str()), (405, Some("invalid")));
}

#[tokio::test]
async fn a_page_that_somebody_visits_can_make_no_task() {
    let served = Served::new().await;
    let form = |origin: &'static str| {
        let request = served.http.post(served.url("/api/tasks"));
        request
            .header("origin", origin)
            .header("content-type", "text/plain")
            .body(r#"{"type": "fix_build"}"#)
    };
    for origin in ["https://evil.example", "null"] {
        let (status, error) = answer(form(origin)).await;
        assert_eq!(
            (status, error["error"]["kind"].as_str()),
            (403, Some("denied")),
            "{origin}"
        );
    }
    // A name that was made to point at us.
    let rebound = served
        .http
        .get(served.url("/api/tasks"))
        .header("host", "evil.example");
    assert_eq!(answer(rebound).await.0, 403);
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
}

#[tokio::test]
async fn an_address_that_is_no_text_is_told_in_json() {
    let served = Served::new().await;
    for (status, error) in [
        served.get("/api/tasks/%FF").await,
        served.get("/api/tasks?limit=%FF").await,
        served.post("/api/tasks/%FF/cancel", "").await,
        served.post("/api/tasks/%FF/retry", "").await,
    ] {
        assert!(
            matches!(status, 400 | 422) && error["error"]["what"].is_string(),
            "{status} {error}"
        );
    }
    let page = served.http.get(served.url("/tasks/%FF")).send().await.unwrap();
    assert_eq!(page.status(), 404);
    assert!(page.text().await.unwrap().contains("<main>"));
}

#[tokio::test]
async fn it_is_ready_when_the_database_has_this_versions_tables_or_newer_ones() {
    let served = Served::new().await;
    let ready = async |served: &Served| {
        let (status, told) = served.get("/readyz").await;
        (status, told["schema"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ready(&served).await, (200, "current".to_owned()));
    served
        .database
        .sql("INSERT INTO longshore.migrations (version, description, success, checksum, execution_time) VALUES (9999, 'x', true, '', 0)")
        .await;
    assert_eq!(ready(&served).await, (200, "newer".to_owned()));
    served
        .database
        .sql("DELETE FROM longshore.migrations WHERE version = 8")
        .await;
    assert_eq!(ready(&served).await, (503, "behind".to_owned()));
    let empty = Served::on(testkit::postgres::empty_database().await, config()).await;
    assert_eq!(ready(&empty).await, (503, "behind".to_owned()));
}
