//! `/webhook/github` as GitHub calls it.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::served::{Served, answer, config};

/// The shape of GitHub's documentation, with all that we read and some of what we do not.
pub fn failed_run() -> Value {
    let repository = json!({
        "id": 1296269, "node_id": "MDEwOlJlcG9zaXRvcnkxMjk2MjY5", "name": "octo-repo", "full_name": "octo-org/octo-repo",
        "private": true, "html_url": "https://github.com/octo-org/octo-repo", "default_branch": "main", "fork": false,
        "url": "https://api.github.com/repos/octo-org/octo-repo", "owner": {"login": "octo-org", "id": 33435682, "type": "Organization"}
    });
    json!({
        "action": "completed",
        "workflow_run": {
            "id": 30433642, "name": "Build", "node_id": "MDEyOldvcmtmbG93IFJ1bjI2OTI4OQ==", "check_suite_id": 42,
            "head_branch": "main", "head_sha": "acb5820ced9479c074f688cc328bf03f341a511d", "path": ".github/workflows/build.yml",
            "display_title": "Update README.md", "run_number": 562, "run_attempt": 1, "event": "push", "status": "completed",
            "conclusion": "failure", "workflow_id": 159038, "pull_requests": [], "referenced_workflows": [],
            "url": "https://api.github.com/repos/octo-org/octo-repo/actions/runs/30433642",
            "html_url": "https://github.com/octo-org/octo-repo/actions/runs/30433642",
            "created_at": "2026-01-22T19:33:08Z", "updated_at": "2026-01-22T19:35:08Z", "run_started_at": "2026-01-22T19:33:08Z",
            "previous_attempt_url": null, "actor": {"login": "octocat", "id": 1}, "triggering_actor": {"login": "octocat", "id": 1},
            "jobs_url": "https://api.github.com/repos/octo-org/octo-repo/actions/runs/30433642/jobs",
            "head_commit": {"id": "acb5820ced9479c074f688cc328bf03f341a511d", "message": "Update README.md",
                            "timestamp": "2026-01-22T19:33:05Z", "author": {"name": "Octo Cat", "email": "octocat@github.com"}},
            "repository": repository, "head_repository": repository
        },
        "workflow": {"id": 159038, "name": "Build", "path": ".github/workflows/build.yml", "state": "active"},
        "repository": repository,
        "organization": {"login": "octo-org", "id": 33435682},
        "sender": {"login": "octocat", "id": 1, "type": "User"}
    })
}

fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let bytes = mac.finalize().into_bytes();
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

pub async fn deliver(served: &Served, event: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let signature = signature("hub-secret", body.as_bytes());
    send(
        served,
        event,
        "72d3162e-cc78-11e3-81ab-4c9367dc0958",
        &signature,
        body,
    )
    .await
}

async fn send(
    served: &Served,
    event: &str,
    delivery: &str,
    signature: &str,
    body: impl Into<reqwest::Body>,
) -> (u16, Value) {
    let request = served
        .http
        .post(served.url("/webhook/github"))
        .header("Content-Type", "application/json")
        .header("User-Agent", "GitHub-Hookshot/044aadd")
        .header("X-GitHub-Event", event)
        .header("X-GitHub-Delivery", delivery)
        .header("X-Hub-Signature-256", signature)
        .body(body);
    answer(request).await
}

async fn register(served: &Served, id: &str, project: &str, url: &str) {
    served
        .database
        .sql(&format!(
            "INSERT INTO repos (id, name, provider, gitlab_project_id, gitlab_url, active)
             VALUES ('{id}', '{id}', 'github', '{project}', nullif('{url}', ''), true)"
        ))
        .await;
}

async fn untouched(served: &Served) {
    assert_eq!(served.count("SELECT count(*) FROM longshore.inbox").await, 0);
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
}

#[tokio::test]
async fn a_failed_run_makes_one_task_however_often_it_is_delivered_and_a_later_attempt_another() {
    let served = Served::new().await;
    register(&served, "r1", "Octo-Org/octo-repo", "").await;
    let (status, made) = deliver(&served, "workflow_run", &failed_run()).await;
    assert_eq!(
        (status, made["status"].as_str()),
        (201, Some("created")),
        "{made}"
    );
    assert_eq!(made.get("next"), None, "{made}");
    let body = failed_run().to_string();
    for delivery in ["72d3162e-cc78-11e3-81ab-4c9367dc0958", "of-the-organisation"] {
        let signature = signature("hub-secret", body.as_bytes());
        let (status, known) = send(&served, "workflow_run", delivery, &signature, body.clone()).await;
        assert_eq!((status, known["status"].as_str()), (200, Some("known")));
        assert_eq!(known["task_id"], made["task_id"]);
    }
    let rows = served
        .database
        .sql("SELECT task_type, repo_id, assigned_to, created_by, payload->'pipeline'->>'id', payload->'project'->>'path_with_namespace' FROM tasks")
        .await;
    let row: Vec<&str> = rows[0].iter().map(|cell| cell.as_deref().unwrap_or("")).collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(
        row,
        [
            "fix_build",
            "r1",
            "devops",
            "github-webhook",
            "30433642",
            "octo-org/octo-repo"
        ]
    );

    let mut again = failed_run();
    again["workflow_run"]["run_attempt"] = 2.into();
    again["workflow_run"]["conclusion"] = "timed_out".into();
    let (status, second) = deliver(&served, "workflow_run", &again).await;
    assert_eq!(status, 201);
    assert_ne!(second["task_id"], made["task_id"]);
    assert_eq!(served.count("SELECT count(*) FROM longshore.inbox").await, 2);
}

#[tokio::test]
async fn ten_deliveries_at_once_make_one_task() {
    let served = Served::new().await;
    let body = failed_run();
    let all = (0..10).map(|_| deliver(&served, "workflow_run", &body));
    let answers = futures_util::future::join_all(all).await;
    let of = |wanted: u16| answers.iter().filter(|(status, _)| *status == wanted).count();
    assert_eq!((of(201), of(200)), (1, 9), "{answers:?}");
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 1);
}

#[tokio::test]
async fn the_repository_is_looked_for_on_the_server_that_sent_the_event() {
    let served = Served::new().await;
    let (status, made) = deliver(&served, "workflow_run", &failed_run()).await;
    let hint = made["next"].as_str().unwrap_or_default();
    assert_eq!(status, 201);
    assert!(
        hint.contains("`longshore repos add --provider github --project octo-org/octo-repo`"),
        "{made}"
    );
    register(
        &served,
        "enterprise",
        "octo-org/octo-repo",
        "https://git.example.org/api/v3",
    )
    .await;
    register(&served, "public", "octo-org/octo-repo", "https://api.github.com").await;
    for (attempt, web, repo) in [
        (2, "https://github.com", "public"),
        (3, "https://git.example.org", "enterprise"),
    ] {
        let mut body = failed_run();
        body["workflow_run"]["run_attempt"] = attempt.into();
        body["repository"]["html_url"] = format!("{web}/octo-org/octo-repo").into();
        assert_eq!(deliver(&served, "workflow_run", &body).await.0, 201);
        let found = format!("SELECT repo_id FROM tasks WHERE payload->'pipeline'->>'attempt' = '{attempt}'");
        assert_eq!(served.database.value(&found).await.as_deref(), Some(repo));
    }
}

#[tokio::test]
async fn a_ping_and_other_events_are_acknowledged_and_nothing_is_made_of_them() {
    let served = Served::new().await;
    let mut success = failed_run();
    success["workflow_run"]["conclusion"] = "success".into();
    let mut begun = failed_run();
    begun["action"] = "in_progress".into();
    begun["workflow_run"]["conclusion"] = Value::Null;
    let ping = json!({"zen": "Keep it logically awesome.", "hook_id": 30, "hook": {"type": "Repository", "events": ["workflow_run"]}});
    let closed = json!({"action": "closed", "issue": {"number": 4}});
    let deleted = json!({"ref": "old", "ref_type": "branch"});
    for (event, body) in [
        ("ping", ping),
        ("workflow_run", success),
        ("workflow_run", begun),
        ("issues", closed),
        ("delete", deleted),
    ] {
        let (status, answer) = deliver(&served, event, &body).await;
        assert_eq!(
            (status, answer["status"].as_str()),
            (200, Some("ignored")),
            "{answer}"
        );
        assert!(answer["reason"].is_string(), "{answer}");
    }
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
}

#[tokio::test]
async fn whoever_cannot_sign_is_refused_and_nothing_is_stored() {
    let served = Served::new().await;
    let body = failed_run().to_string();
    let right = signature("hub-secret", body.as_bytes());
    let other_body = signature("hub-secret", body.replace("main", "mine").as_bytes());
    let sha1 = format!("sha1={}", &right[7..47]);
    for wrong in [
        "",
        "sha256=",
        &sha1,
        &right[7..],
        &other_body,
        &signature("hub-secre", body.as_bytes()),
        &signature("", body.as_bytes()),
    ] {
        let (status, error) = send(&served, "workflow_run", "d", wrong, body.clone()).await;
        assert_eq!(status, 401, "{wrong}");
        assert!(
            error["error"]["next"]
                .as_str()
                .unwrap()
                .contains("github.webhook_secret"),
            "{error}"
        );
    }
    let unsigned = served
        .http
        .post(served.url("/webhook/github"))
        .header("X-GitHub-Event", "workflow_run")
        .header("X-Hub-Signature", &sha1)
        .body(body.clone());
    assert_eq!(answer(unsigned).await.0, 401, "the old signature is none");
    untouched(&served).await;

    let mut closed = config();
    closed.github_webhook_secret = None;
    let closed = Served::with(closed).await;
    let (status, error) = send(&closed, "workflow_run", "d", &right, body).await;
    assert_eq!(status, 403);
    assert!(
        error["error"]["next"]
            .as_str()
            .unwrap()
            .contains("`github.webhook_secret`"),
        "{error}"
    );
    untouched(&closed).await;
}

#[tokio::test]
async fn what_is_signed_and_cannot_be_read_says_what_is_wrong() {
    let served = Served::new().await;
    let signed = |event: &'static str, body: Vec<u8>| {
        let served = &served;
        async move {
            let signature = signature("hub-secret", &body);
            send(served, event, "d", &signature, body).await
        }
    };
    for garbage in [&b""[..], b"{", b"payload=%7B%7D", b"\xff\xfe", b"\0"] {
        let (status, error) = signed("workflow_run", garbage.to_vec()).await;
        assert_eq!(status, 400, "{garbage:?}: {error}");
    }
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert_eq!(signed("push", deep.into_bytes()).await.0, 400);
    for (pointer, value, field) in [
        ("/workflow_run/id", json!("30433642"), "workflow_run.id"),
        ("/workflow_run/run_attempt", json!(-1), "workflow_run.run_attempt"),
        ("/repository/full_name", json!(null), "repository.full_name"),
        (
            "/workflow_run/head_branch",
            json!("a\0b"),
            "workflow_run.head_branch",
        ),
        ("/repository", json!([]), "repository.id"),
    ] {
        let mut body = failed_run();
        *body.pointer_mut(pointer).unwrap() = value;
        let (status, error) = signed("workflow_run", body.to_string().into_bytes()).await;
        assert_eq!(
            (status, error["error"]["field"].as_str()),
            (422, Some(field)),
            "{error}"
        );
    }
    let (status, error) = signed("workflow_run", b"[]".to_vec()).await;
    assert_eq!((status, error["error"]["field"].as_str()), (422, Some("action")));
    let mut large = failed_run();
    large["workflow_run"]["head_branch"] = "x".repeat(1024 * 1024).into();
    assert_eq!(
        signed("workflow_run", large.to_string().into_bytes()).await.0,
        413
    );
    untouched(&served).await;

    // What is not looked at may hold what it likes.
    let (status, _) = signed("push", br#"{"message": "a\u0000b"}"#.to_vec()).await;
    assert_eq!(status, 200);
    assert_eq!(served.count("SELECT count(*) FROM longshore.inbox").await, 1);
}

#[tokio::test]
async fn a_form_is_read_as_githubs_own_proposal_sends_it() {
    let served = Served::new().await;
    let form = |payload: &str| {
        url::form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", payload)
            .finish()
    };
    for (body, status) in [
        (form(&failed_run().to_string()), 201),
        (form("{"), 400),
        ("other=1".to_owned(), 400),
    ] {
        let request = served
            .http
            .post(served.url("/webhook/github"))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("X-GitHub-Event", "workflow_run")
            .header("X-Hub-Signature-256", signature("hub-secret", body.as_bytes()))
            .body(body);
        assert_eq!(answer(request).await.0, status);
    }
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 1);
}

/// Begins a delivery of 20 MB that never goes on, and answers with the status that comes all the same.
async fn begin(served: &Served, signature: &str) -> String {
    let mut line = TcpStream::connect(served.at).await.unwrap();
    let head = format!(
        "POST /webhook/github HTTP/1.1\r\nHost: {}\r\nX-GitHub-Event: push\r\n{signature}Content-Length: 20000000\r\n\r\n{{",
        served.at
    );
    line.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    line.read_exact(&mut status).await.unwrap();
    String::from_utf8(status.to_vec()).unwrap()
}

#[tokio::test]
async fn nothing_is_kept_for_whoever_sends_no_signature_or_more_than_github_does() {
    let mut impatient = config();
    impatient.request_timeout = Duration::from_secs(2);
    let served = Served::with(impatient).await;
    let signed = format!("sha256={}", "0".repeat(64));
    assert_eq!(begin(&served, "").await, "HTTP/1.1 401");
    assert_eq!(
        begin(&served, &format!("X-Hub-Signature-256: {signed}\r\n")).await,
        "HTTP/1.1 408",
        "the body of one who signs is waited for"
    );
    let (status, error) = send(&served, "push", "d", &signed, vec![b' '; 25_000_001]).await;
    assert_eq!(status, 413, "{error}");
}
