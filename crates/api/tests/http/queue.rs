//! Changes by filter, dead letters and long lists over HTTP.

use serde_json::{Value, json};

use crate::served::Served;

#[tokio::test]
async fn dead_letters_are_shown_and_tried_again_by_filter() {
    let served = Served::new().await;
    served
        .database
        .sql(
            "INSERT INTO tasks (id, task_type, assigned_to, status, error, created_at, completed_at) VALUES
               ('a', 'deploy', 'devops', 'failed', 'could not reach 10.0.0.7', '2026-01-29', '2026-01-29T16:28:00.5'),
               ('b', 'deploy', 'devops', 'failed', 'could not reach 10.0.0.8', '2026-01-30', '2026-01-30'),
               ('c', 'deploy', 'builder', 'failed', 'theirs', '2026-01-30', '2026-01-30'),
               ('d', 'deploy', 'devops', 'pending', NULL, '2026-01-30', NULL)",
        )
        .await;
    let (status, dead) = served.get("/api/tasks/dead").await;
    assert_eq!(status, 200);
    let group = json!({
        "state": "failed", "task_type": "deploy", "error": "could not reach #.#.#.#", "count": 2,
        "first_seen": "2026-01-29T16:28:00.500Z", "last_seen": "2026-01-30T00:00:00.000Z", "task_ids": ["b", "a"]
    });
    assert_eq!(dead, json!({"groups": [group], "total": 2, "complete": true}));
    let (_, none) = served.get("/api/tasks/dead?type=paint").await;
    assert_eq!(none, json!({"groups": [], "total": 0, "complete": true}));

    let body = json!({"error": group["error"], "type": "deploy", "dry_run": true});
    let (status, dry) = served.post("/api/tasks/retry", body.to_string()).await;
    assert_eq!(
        (status, dry),
        (
            200,
            json!({"matched": 2, "changed": 2, "skipped": [], "next": null, "dry_run": true})
        )
    );
    let failed = "SELECT count(*) FROM tasks WHERE status = 'failed'";
    assert_eq!(served.count(failed).await, 3);
    let body = json!({"status": ["failed"], "created_after": "2026-01-30T00:00:00Z"});
    let (_, done) = served.post("/api/tasks/retry", body.to_string()).await;
    assert_eq!(
        done,
        json!({"matched": 2, "changed": 1, "next": null, "dry_run": false,
               "skipped": [{"why": "it belongs to the agent builder", "count": 1, "task_ids": ["c"]}]})
    );
    assert_eq!(served.count(failed).await, 2);
    let (_, done) = served
        .post("/api/tasks/cancel", json!({"all": true}).to_string())
        .await;
    assert_eq!((&done["matched"], &done["changed"]), (&json!(2), &json!(2)));
    assert_eq!(
        served
            .count("SELECT count(*) FROM tasks WHERE status = 'cancelled'")
            .await,
        2
    );
}

#[tokio::test]
async fn a_filter_that_is_empty_or_wrong_is_refused() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO tasks (task_type, assigned_to) VALUES ('deploy', 'devops')")
        .await;
    for (body, status, field) in [
        (json!({}), 422, None),
        (json!({"dry_run": true}), 422, None),
        (json!({"status": ["over"]}), 422, Some("status")),
        (json!({"status": ["completed"]}), 422, None),
        (
            json!({"type": "x", "created_before": "yesterday"}),
            422,
            Some("created_before"),
        ),
        (json!({"type": "x", "before": "somewhere"}), 422, Some("before")),
        (json!({"typ": "x"}), 422, Some("typ")),
        (json!([]), 400, None),
    ] {
        let (got, error) = served.post("/api/tasks/cancel", body.to_string()).await;
        assert_eq!(
            (got, error["error"]["field"].as_str()),
            (status, field),
            "{body}: {error}"
        );
    }
    assert_eq!(
        served
            .count("SELECT count(*) FROM tasks WHERE status = 'pending'")
            .await,
        1
    );
}

#[tokio::test]
async fn a_list_goes_on_where_the_page_before_ended() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO tasks (id, task_type, created_at) SELECT 't' || n, 'x', timestamp '2026-01-29' + interval '1 microsecond' * (n / 2) FROM generate_series(1, 5) n")
        .await;
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let (status, page) = served.get(&format!("/api/tasks?limit=2&before={before}")).await;
        assert_eq!((status, &page["stats_estimated"]), (200, &json!(false)));
        seen.extend(
            page["tasks"]
                .as_array()
                .unwrap()
                .iter()
                .map(|task| task["id"].clone()),
        );
        let Value::String(next) = &page["next"] else { break };
        before.clone_from(next);
    }
    assert_eq!(json!(seen), json!(["t5", "t4", "t3", "t2", "t1"]));
    let (status, error) = served.get("/api/tasks?before=somewhere").await;
    assert_eq!(
        (status, error["error"]["field"].as_str()),
        (422, Some("before")),
        "{error}"
    );
}
