//! `/webhook/gitlab` as GitLab calls it.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::served::{Served, answer, config};
use serde_json::{Value, json};

/// The shape of GitLab's documentation, cut to what matters here.
pub fn failed_pipeline() -> Value {
    json!({
        "object_kind": "pipeline",
        "object_attributes": {"id": 31, "ref": "main", "sha": "bcbb5ec3", "status": "failed",
                              "finished_at": "2026-08-12 15:26:29 UTC", "url": "http://gitlab.example/g/t/-/pipelines/31"},
        "project": {"id": 42, "path_with_namespace": "g/t", "web_url": "http://gitlab.example/g/t", "default_branch": "main"}
    })
}

pub async fn deliver(served: &Served, event: &str, uuid: &str, token: &str, body: &Value) -> (u16, Value) {
    let request = served
        .http
        .post(served.url("/webhook/gitlab"))
        .header("X-Gitlab-Event", event)
        .header("X-Gitlab-Event-UUID", uuid)
        .header("X-Gitlab-Token", token)
        .body(body.to_string());
    answer(request).await
}

#[tokio::test]
async fn a_failed_pipeline_makes_one_task_however_often_it_is_delivered() {
    let served = Served::new().await;
    served
        .database
        .sql("INSERT INTO repos (id, name, gitlab_project_id, active) VALUES ('r1', 't', 'g/t', true)")
        .await;
    let (status, made) = deliver(&served, "Pipeline Hook", "u1", "hook-secret", &failed_pipeline()).await;
    assert_eq!(
        (status, made["status"].as_str()),
        (201, Some("created")),
        "{made}"
    );
    for uuid in ["u1", "u2"] {
        let (status, known) =
            deliver(&served, "Pipeline Hook", uuid, "hook-secret", &failed_pipeline()).await;
        assert_eq!((status, known["status"].as_str()), (200, Some("known")));
        assert_eq!(known["task_id"], made["task_id"]);
    }
    let rows = served
        .database
        .sql("SELECT task_type, repo_id, assigned_to, payload->'pipeline'->>'id', payload->'project'->>'path_with_namespace' FROM tasks")
        .await;
    let row: Vec<&str> = rows[0].iter().map(|cell| cell.as_deref().unwrap_or("")).collect();
    assert_eq!(
        (rows.len(), row),
        (1, vec!["fix_build", "r1", "devops", "31", "g/t"])
    );
    assert_eq!(served.count("SELECT count(*) FROM longshore.inbox").await, 1);
}

#[tokio::test]
async fn two_deliveries_at_once_make_one_task() {
    let served = Served::new().await;
    let body = failed_pipeline();
    let all = (0..8).map(|n| {
        let (served, body) = (&served, &body);
        async move { deliver(served, "Pipeline Hook", &format!("u{n}"), "hook-secret", body).await }
    });
    let answers = futures_util::future::join_all(all).await;
    assert_eq!(
        answers.iter().filter(|(status, _)| *status == 201).count(),
        1,
        "{answers:?}"
    );
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 1);
}

#[tokio::test]
async fn an_unregistered_project_gets_its_task_and_a_hint() {
    let served = Served::new().await;
    let (status, made) = deliver(&served, "Pipeline Hook", "u1", "hook-secret", &failed_pipeline()).await;
    assert_eq!(status, 201);
    assert!(
        made["next"].as_str().unwrap().contains("repos add --project g/t"),
        "{made}"
    );
    assert_eq!(
        served
            .count("SELECT count(*) FROM tasks WHERE repo_id IS NULL")
            .await,
        1
    );
}

#[tokio::test]
async fn other_events_are_kept_and_nothing_is_made_of_them() {
    let served = Served::new().await;
    let mut success = failed_pipeline();
    success["object_attributes"]["status"] = "success".into();
    for (event, body) in [
        ("Pipeline Hook", success),
        ("Note Hook", json!({"object_kind": "note"})),
    ] {
        let (status, answer) = deliver(&served, event, event, "hook-secret", &body).await;
        assert_eq!(
            (status, answer["status"].as_str()),
            (200, Some("ignored")),
            "{answer}"
        );
    }
    assert_eq!(served.count("SELECT count(*) FROM longshore.inbox").await, 2);
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
}

#[tokio::test]
async fn a_wrong_token_a_missing_secret_or_a_broken_hook_stores_nothing() {
    let served = Served::new().await;
    for token in ["", "hook-secre", "hook-secret2"] {
        assert_eq!(
            deliver(&served, "Pipeline Hook", "u", token, &failed_pipeline())
                .await
                .0,
            401
        );
    }
    let mut broken = failed_pipeline();
    broken["project"].as_object_mut().unwrap().remove("id");
    let (status, error) = deliver(&served, "Pipeline Hook", "u", "hook-secret", &broken).await;
    assert_eq!(
        (status, error["error"]["field"].as_str()),
        (422, Some("project.id"))
    );
    assert_eq!(served.count("SELECT count(*) FROM longshore.inbox").await, 0);

    let mut closed = config();
    closed.gitlab_webhook_secret = None;
    let closed = Served::with(closed).await;
    assert_eq!(
        deliver(&closed, "Pipeline Hook", "u", "", &failed_pipeline())
            .await
            .0,
        403
    );
}

/// Begins a delivery of 20 MB that never goes on, and answers with the status that comes all the same.
async fn begin(served: &Served, token: &str) -> String {
    let mut line = TcpStream::connect(served.at).await.unwrap();
    let head = format!(
        "POST /webhook/gitlab HTTP/1.1\r\nHost: {}\r\nX-Gitlab-Event: Pipeline Hook\r\nX-Gitlab-Token: {token}\r\nContent-Length: 20000000\r\n\r\n{{",
        served.at
    );
    line.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    line.read_exact(&mut status).await.unwrap();
    String::from_utf8(status.to_vec()).unwrap()
}

#[tokio::test]
async fn the_secret_is_looked_at_before_the_body_is_read() {
    let served = Served::new().await;
    assert_eq!(begin(&served, "wrong").await, "HTTP/1.1 401");
    let mut closed = config();
    closed.gitlab_webhook_secret = None;
    let closed = Served::with(closed).await;
    assert_eq!(begin(&closed, "any").await, "HTTP/1.1 403");

    let mut impatient = config();
    impatient.request_timeout = Duration::from_secs(2);
    let impatient = Served::with(impatient).await;
    assert_eq!(
        begin(&impatient, "hook-secret").await,
        "HTTP/1.1 408",
        "the body of one who knows it is waited for"
    );
}
