//! Who may look at tasks need not know the secrets that they hold.

use domain::Role;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::served::{Served, answer};

const SECRET: &str = "glpat-Zx9Kq2Lm4Np6Rs8Tv0Wy";

#[tokio::test]
async fn no_answer_shows_a_secret_that_stands_in_a_task() {
    let served = Served::new().await;
    let payload = json!({"instruction": format!("push with {SECRET}"), "env": {"password": "hunter-22"}});
    let body = json!({"type": "deploy", "to": "devops", "payload": payload});
    let (_, made) = served.post("/api/tasks", body.to_string()).await;
    let id = made["task_id"].as_str().unwrap();
    served
        .database
        .sql(&format!(
            "UPDATE tasks SET status = 'failed', error = 'no access with {SECRET}', result = '{{\"summary\": \"{SECRET} was refused\"}}';
             INSERT INTO longshore.task_events (task_id, kind, attempt, summary) VALUES ('{id}', 'failed', 1, 'with {SECRET}')"
        ))
        .await;
    let schedule = json!({"cron": "30 3 * * *", "task": body});
    let (status, _) = served
        .send("PUT", "/api/schedules/nightly", schedule.to_string())
        .await;
    assert_eq!(status, 200);
    for path in [
        "/api/tasks",
        &format!("/api/tasks/{id}"),
        "/api/tasks/dead",
        "/api/schedules",
        "/api/schedules/nightly",
        "/",
        &format!("/tasks/{id}"),
    ] {
        let text = served.http.get(served.url(path)).send().await.unwrap();
        let text = text.text().await.unwrap();
        assert!(text.contains("deploy"), "{path}: {text}");
        assert!(
            !text.contains(SECRET) && !text.contains("hunter-22"),
            "{path}: {text}"
        );
    }
    let kept = "SELECT count(*) FROM tasks WHERE payload->>'instruction' LIKE '%glpat-%'";
    assert_eq!(served.count(kept).await, 1, "the handler has it");
}

#[tokio::test]
async fn a_schedule_is_read_changed_and_written_back() {
    let served = Served::new().await;
    let schedule = json!({"cron": "30 3 * * *", "task": {"type": "deploy", "to": "devops", "priority": 7, "payload": {"a": 1}}});
    let set = async |body: String| served.send("PUT", "/api/schedules/nightly", body).await;
    assert_eq!(set(schedule.to_string()).await.0, 200);
    let (_, shown) = served.get("/api/schedules/nightly").await;
    let mut task = shown["schedule"]["task"].clone();
    assert_eq!(task["to"], "devops");
    task["priority"] = 3.into();
    let (status, again) = set(json!({"cron": "30 4 * * *", "task": task}).to_string()).await;
    assert_eq!((status, &again["schedule"]["task"]), (200, &task), "{again}");
}

#[tokio::test]
async fn a_task_tells_whose_token_made_it() {
    let served = Served::new().await;
    let (token, new) = api::mint_token("ci".to_owned(), Role::Enqueue, None);
    served.store.add_token(&new).await.unwrap();
    for (path, body) in [
        ("/api/tasks", json!({"type": "x"})),
        (
            "/api/tasks/bulk",
            json!([{"type": "x"}, {"type": "x", "created_by": "pm"}]),
        ),
    ] {
        let request = served
            .http
            .post(served.url(path))
            .bearer_auth(token.expose_secret());
        assert_eq!(answer(request.body(body.to_string())).await.0, 201);
    }
    assert_eq!(served.post("/api/tasks", r#"{"type": "x"}"#).await.0, 201);
    let makers = "SELECT string_agg(coalesce(created_by, '-'), ' ' ORDER BY created_by) FROM tasks";
    assert_eq!(served.database.value(makers).await.as_deref(), Some("ci ci pm -"));
}
