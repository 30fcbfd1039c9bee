//! `/api/tasks/bulk`: many tasks by one call.

use serde_json::{Value, json};

use crate::served::{Served, answer};

impl Served {
    async fn lines(&self, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let request = self.http.post(self.url("/api/tasks/bulk"));
        answer(
            request
                .header("Content-Type", "application/x-ndjson; charset=utf-8")
                .body(body),
        )
        .await
    }
}

#[tokio::test]
async fn a_list_and_lines_make_the_same_tasks_and_answer_in_order() {
    let served = Served::new().await;
    let tasks = [
        json!({"type": "deploy", "to": "devops", "priority": 7, "dedupe_key": "k", "payload": {"a": 1}}),
        json!({"task_type": "fix_build", "assigned_to": "builder"}),
        json!({"type": "deploy", "dedupe_key": "k"}),
    ];
    let (status, made) = served
        .post("/api/tasks/bulk", json!({ "tasks": tasks }).to_string())
        .await;
    assert_eq!(status, 201, "{made}");
    let id = |at: usize| made["tasks"][at]["task_id"].clone();
    assert_eq!(
        made,
        json!({"created": 2, "existing": 1, "tasks": [
            {"status": "created", "task_id": id(0), "repo_id": null, "assigned_to": "devops"},
            {"status": "created", "task_id": id(1), "repo_id": null, "assigned_to": "builder"},
            {"status": "exists", "task_id": id(0), "repo_id": null, "assigned_to": "devops"}]})
    );
    let lines = tasks.each_ref().map(ToString::to_string).join("\n\n");
    let (status, again) = served.lines(lines).await;
    assert_eq!(
        (status, &again["created"], &again["existing"]),
        (201, &json!(1), &json!(2))
    );
    assert_eq!(again["tasks"][0]["task_id"], id(0));
    assert_eq!(
        served
            .count("SELECT count(*) FROM tasks WHERE payload = '{}'")
            .await,
        2
    );
    // As for a single one: 200 where nothing was made.
    let (status, none) = served.lines(tasks[0].to_string()).await;
    assert_eq!((status, &none["existing"]), (200, &json!(1)));
    assert_eq!(
        served.lines("").await,
        (200, json!({"created": 0, "existing": 0, "tasks": []}))
    );
}

#[tokio::test]
async fn what_is_wrong_with_one_is_told_with_its_place_and_none_is_made() {
    let served = Served::new().await;
    let fine = r#"{"type": "deploy"}"#;
    for (wrong, status, field, what) in [
        (
            r#"{"type": "x", "priority": "7"}"#,
            422,
            "tasks[1].priority",
            "`priority` is text",
        ),
        (
            r#"{"type": "x", "repo_id": "nowhere"}"#,
            422,
            "tasks[1].repo_id",
            "no repository has that id",
        ),
        (
            r#"{"type": "x", "parent_task_id": "nobody"}"#,
            422,
            "tasks[1].parent_task_id",
            "no such task",
        ),
        (
            r#"{"type": "x", "payload": {"a": "\u0000"}}"#,
            422,
            "tasks[1].payload.a",
            "NUL",
        ),
        (r#"{"type": "x", "payload": {"#, 400, "tasks[1]", "not JSON"),
        (
            r#"{"type": "x", "kind": 1}"#,
            422,
            "tasks[1].kind",
            "no field `kind`",
        ),
    ] {
        let as_list = served
            .post("/api/tasks/bulk", format!(r#"{{"tasks": [{fine}, {wrong}]}}"#))
            .await;
        let as_lines = served.lines(format!("{fine}\n\n{wrong}\n")).await;
        for ((got, error), whose) in [(as_list, "tasks[1]: "), (as_lines, "line 3: ")] {
            let error = &error["error"];
            assert_eq!((got, error["field"].as_str()), (status, Some(field)), "{error}");
            let said = error["what"].as_str().unwrap();
            assert!(said.starts_with(whose) && said.contains(what), "{said}");
        }
    }
    let (status, error) = served.post("/api/tasks/bulk", fine).await;
    assert_eq!(
        (status, error["error"]["field"].as_str()),
        (422, Some("type")),
        "{error}"
    );
    assert!(
        error["error"]["next"]
            .as_str()
            .unwrap()
            .contains("application/x-ndjson"),
        "{error}"
    );
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
}

#[tokio::test]
async fn sixteen_mebibytes_and_ten_thousand_tasks_are_taken_and_no_more() {
    let served = Served::new().await;
    let log = "y".repeat(1_000_000);
    let large = format!("{{\"type\": \"x\", \"payload\": {{\"log\": \"{log}\"}}}}\n");
    let (status, made) = served.lines(large.repeat(16)).await;
    assert_eq!((status, &made["created"]), (201, &json!(16)), "{}", made["error"]);
    let (status, error) = served.lines(large.repeat(17)).await;
    assert_eq!(status, 413, "{error}");
    assert!(
        error["error"]["what"].as_str().unwrap().contains("16 MiB"),
        "{error}"
    );
    let over = format!(
        "{{\"type\": \"x\", \"payload\": {{\"log\": \"{}\"}}}}",
        "y".repeat(1 << 20)
    );
    let (status, error) = served.lines(over).await;
    assert_eq!(
        (status, error["error"]["field"].as_str()),
        (413, Some("tasks[0].payload")),
        "{error}"
    );
    let (status, error) = served.lines("{\"type\": \"x\"}\n".repeat(10_001)).await;
    assert_eq!(
        (status, error["error"]["field"].as_str()),
        (413, Some("tasks")),
        "{error}"
    );
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 16);
}
