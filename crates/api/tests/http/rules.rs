//! `/api/queue` as a program uses it.

use domain::Role;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::served::{Served, answer, config};

#[tokio::test]
async fn a_rule_is_set_listed_changed_and_taken_away() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO repos (id, gitlab_project_id, status) VALUES ('r1', 'group/app', 'active'), ('r2', 'group/old', 'archived')")
        .await;
    let made = served
        .post(
            "/api/tasks",
            r#"{"type": "deploy", "to": "devops", "repo_id": "r1", "payload": {}}"#,
        )
        .await;
    let task = format!("/api/tasks/{}", made.1["task_id"].as_str().unwrap());
    assert_eq!(served.get(&task).await.1["task"]["held_back"], json!(null));

    let (status, limited) = served
        .send("PUT", "/api/queue/repo/group%2Fapp", r#"{"max_running": 1}"#)
        .await;
    assert_eq!(status, 200, "{limited}");
    let (_, paused) = served
        .send(
            "PUT",
            "/api/queue/repo/r1",
            r#"{"paused": true, "reason": "a dump"}"#,
        )
        .await;
    let rule = &paused["rule"];
    assert_eq!(
        *rule,
        json!({
            "kind": "repo", "name": "r1", "label": "group/app", "max_running": 1, "running": 0, "paused": true,
            "paused_at": rule["paused_at"], "paused_by": "somebody without a token", "reason": "a dump"
        })
    );
    assert_eq!(
        served.get("/api/queue").await.1,
        json!({"rules": [rule], "repos": [{"repo_id": "r2", "label": "group/old", "status": "archived"}]})
    );
    let (_, shown) = served.get(&task).await;
    assert_eq!(shown["task"]["held_back"], "paused");
    let why = shown["task"]["waits_for"].as_str().unwrap();
    assert!(
        why.starts_with("tasks of its repository are paused by somebody without a token since "),
        "{why}"
    );
    let (_, list) = served.get("/api/tasks?status=pending").await;
    assert_eq!(list["tasks"][0]["held_back"], "paused");

    let (_, resumed) = served
        .send("PUT", "/api/queue/repo/r1", r#"{"paused": false}"#)
        .await;
    assert_eq!(resumed["rule"]["max_running"], 1, "the limit stays: {resumed}");
    let (_, nothing) = served
        .send("PUT", "/api/queue/repo/r1", r#"{"max_running": null}"#)
        .await;
    assert_eq!(nothing, json!({"rule": null}));
    served
        .send("PUT", "/api/queue/type/a%2Fb", r#"{"max_running": 4}"#)
        .await;
    let (_, gone) = served.send("DELETE", "/api/queue/type/a%2Fb", "").await;
    assert_eq!(gone, json!({"status": "deleted", "kind": "type", "name": "a/b"}));
    assert_eq!(served.get("/api/queue").await.1["rules"], json!([]));
}

#[tokio::test]
async fn a_parked_task_that_is_due_and_finds_no_place_says_so() {
    let served = Served::new().await;
    served
        .database
        .sql(
            r#"INSERT INTO tasks (id, task_type, assigned_to, status, worker_id, attempt, wait, run_at) VALUES
                 ('runs', 'deploy', 'devops', 'in_progress', 'w', 1, NULL, now()),
                 ('due', 'deploy', 'devops', 'waiting', NULL, 1, '{"why": "until 10:31"}', '2026-01-29 10:31'),
                 ('rests', 'deploy', 'devops', 'waiting', NULL, 1, '{"why": "for an approval"}', 'infinity')"#,
        )
        .await;
    served.database.claimed().await;
    let said = async |id: &str| {
        let (_, shown) = served.get(&format!("/api/tasks/{id}")).await;
        let task = &shown["task"];
        (task["held_back"].clone(), task["waits_for"].clone())
    };
    assert_eq!(said("due").await, (json!(null), json!("until 10:31")));
    let (status, _) = served
        .send("PUT", "/api/queue/type/deploy", r#"{"max_running": 1}"#)
        .await;
    assert_eq!(status, 200);
    let full = "1 of 1 places for tasks of the type deploy are taken; it is due since 2026-01-29 10:31 UTC";
    assert_eq!(said("due").await, (json!("limit"), json!(full)));
    assert_eq!(said("rests").await, (json!(null), json!("for an approval")));
}

#[tokio::test]
async fn what_is_wrong_with_a_rule_is_named() {
    let served = Served::new().await;
    for (path, body, status, field) in [
        ("all", r#"{"max_running": 0}"#, 422, Some("max_running")),
        ("all", r#"{"max_running": -1}"#, 422, Some("max_running")),
        ("all", r#"{"max_running": 4294967296}"#, 422, Some("max_running")),
        ("all", r#"{"max_running": "4"}"#, 422, Some("max_running")),
        ("all", r#"{"paused": "yes"}"#, 422, Some("paused")),
        ("all", r#"{"paused": true, "reason": 1}"#, 422, Some("reason")),
        (
            "all",
            r#"{"paused": true, "reason": "a\u0000b"}"#,
            422,
            Some("reason"),
        ),
        ("all", r#"{"limit": 4}"#, 422, Some("limit")),
        ("all", "{}", 400, None),
        ("all", "[]", 400, None),
        ("type/%20", r#"{"paused": true}"#, 422, Some("name")),
        ("type/a%00b", r#"{"paused": true}"#, 422, Some("name")),
        ("repo/nowhere", r#"{"paused": true}"#, 404, None),
        ("agent/devops", r#"{"paused": true}"#, 404, None),
    ] {
        let (got, error) = served.send("PUT", &format!("/api/queue/{path}"), body).await;
        assert_eq!(
            (got, error["error"]["field"].as_str()),
            (status, field),
            "{path} {body}: {error}"
        );
    }
    assert_eq!(served.send("DELETE", "/api/queue/all", "").await.0, 404);
    assert_eq!(
        served.get("/api/queue").await.1,
        json!({"rules": [], "repos": []})
    );
}

#[tokio::test]
async fn the_name_of_the_token_stands_on_record() {
    let mut guarded = config();
    guarded.open = false;
    let served = Served::with(guarded).await;
    let (token, new) = api::mint_token("on call".to_owned(), Role::Admin, None);
    served.store.add_token(&new).await.unwrap();
    let request = served
        .http
        .put(served.url("/api/queue/all"))
        .bearer_auth(token.expose_secret())
        .body(r#"{"paused": true}"#);
    let (status, set) = answer(request).await;
    assert_eq!(
        (status, set["rule"]["paused_by"].as_str()),
        (200, Some("on call"))
    );
}
