//! No secret leaves by any way: logs of every level and format, comments, rows, answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::gitlab::FakeGitlab;
use testkit::peer::{Peer, Reply, Request, Site};
use testkit::postgres::{self, Database};

use crate::process::{LOG, Process, answer, over, until};

/// Of shapes that no pattern knows: only that they are configured gives them away.
const TOKEN: &str = "correct-horse-battery-staple-4711";
const PASSWORD: &str = "tr0ub4dor-and-3";
const API_TOKEN: &str = "open-sesame-and-a-few-words-more";
/// Of shapes that give themselves away, in what a task brings along.
const IN_THE_LOG: &str = "glpat-Zx81kQw93LmPq0RtYvBn";
const AWS: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzzzzzzzKEY";

/// A forge whose refusals repeat what they were sent.
struct Leaky;

impl Site for Leaky {
    fn answer(&self, _: &Request) -> Reply {
        let body = json!({ "message": format!("403 Forbidden: PRIVATE-TOKEN: {TOKEN}, database password {PASSWORD}, {IN_THE_LOG}") });
        Reply::json(403, &body)
    }

    fn refuse(&self, status: u16, _: Option<Duration>) -> Reply {
        Reply::message(status, "refused")
    }

    fn state(&self) -> Value {
        json!(null)
    }
}

fn assert_clean(where_: &str, text: &str) {
    for secret in [TOKEN, PASSWORD, API_TOKEN, IN_THE_LOG, AWS] {
        if let Some(line) = text.lines().find(|line| line.contains(secret)) {
            panic!("{secret} stands in {where_}: {line}");
        }
    }
}

/// A worker with an API whose every setting that may be secret is one, stopped when all tasks are over and told.
async fn work(db: &Database, forge: &str, format: &str, level: &str) {
    let url = db.url().replace("postgres@", &format!("postgres:{PASSWORD}@"));
    assert!(
        url.contains(PASSWORD),
        "the test's database is reached without a password"
    );
    let mut command = over(db, &["worker", "--with-api"]);
    command
        .env("DATABASE_URL", url)
        .env("GITLAB_URL", forge)
        .env("GITLAB_TOKEN", TOKEN)
        .env("LONGSHORE_API_TOKENS", API_TOKEN)
        .env("LONGSHORE_API_BIND", "127.0.0.1:0")
        .env("LONGSHORE_LOG_FORMAT", format)
        .env("LONGSHORE_LOG_LEVEL", level)
        .env("LONGSHORE_WORKER_RETRY_FIRST", "10ms")
        .env("LONGSHORE_WORKER_MAX_ATTEMPTS", "2");
    let mut worker = Process::start(command);
    let api = worker
        .says(|said| {
            let at = said.split("api.address").nth(1)?.split("127.0.0.1:").nth(1)?;
            let port: String = at.chars().take_while(char::is_ascii_digit).collect();
            Some(format!("http://127.0.0.1:{port}"))
        })
        .await;
    until(
        db,
        &worker,
        "NOT EXISTS (SELECT FROM tasks WHERE completed_at IS NULL OR result->'ticket'->>'state' = 'pending')",
    )
    .await;
    let http = reqwest::Client::new();
    let get = |path: String| http.get(format!("{api}{path}")).bearer_auth(API_TOKEN).send();
    for path in ["/", "/metrics"] {
        let text = get(path.to_owned()).await.unwrap().text().await.unwrap();
        assert_clean(path, &text);
    }
    let mut all: Value = get("/api/tasks".to_owned()).await.unwrap().json().await.unwrap();
    for task in all["tasks"].as_array_mut().unwrap() {
        let path = format!("/api/tasks/{}", task["id"].as_str().unwrap());
        let mut one: Value = get(path.clone()).await.unwrap().json().await.unwrap();
        for task in [task, &mut one["task"]] {
            // What was sent in is the sender's own and stays as it is.
            task.as_object_mut().unwrap().remove("payload");
        }
        assert_clean(&path, &one.to_string());
    }
    assert_clean("/api/tasks", &all.to_string());
    assert_eq!(worker.stop().await, 0);
    assert!(
        worker.said().len() > 500,
        "{level} says something: {}",
        worker.said()
    );
    assert_clean(&format!("the log ({format}, {level})"), &worker.said());
}

async fn enqueue(db: &Database, payload: Value) {
    let sent = json!({ "repo_id": "r1" });
    let mut payload = payload;
    payload
        .as_object_mut()
        .unwrap()
        .extend(sent.as_object().unwrap().clone());
    let (code, created) = answer(over(
        db,
        &[
            "create-task",
            "--json",
            "--agent",
            "devops",
            "--task-type",
            "fix_build",
            "--repo-id",
            "r1",
            "--payload-json",
            &payload.to_string(),
        ],
    ));
    assert_eq!(code, 0, "{created}");
}

#[tokio::test]
async fn no_secret_reaches_a_log_a_comment_a_row_or_an_answer() {
    let db = postgres::database().await;
    let gitlab = FakeGitlab::start();
    gitlab.with(|world| {
        let ours = world.tokens[testkit::gitlab::TOKEN].clone();
        world.tokens.insert(TOKEN.to_owned(), ours);
    });
    let ticket = gitlab.open_issue("shop/web", &[]);
    let (code, repo) = answer(over(
        &db,
        &["repos", "add", "--json", "--id", "r1", "--project", "shop/web"],
    ));
    assert_eq!(code, 0, "{repo}");

    let log = format!(
        "$ export AWS_SECRET_ACCESS_KEY={AWS}\n$ git clone https://ci:{IN_THE_LOG}@git.example.com/x\n\
         token {TOKEN} password {PASSWORD} glpat: {IN_THE_LOG}\n{LOG}token {TOKEN} {IN_THE_LOG}\n"
    );
    enqueue(
        &db,
        json!({ "log": log, "job": { "name": format!("build {IN_THE_LOG}") }, "issue_iid": ticket.iid }),
    )
    .await;
    enqueue(
        &db,
        json!({ "instruction": format!("use {IN_THE_LOG} and {TOKEN}"), "issue_iid": ticket.iid }),
    )
    .await;
    work(&db, &gitlab.url(), "human", "trace").await;
    let notes = gitlab.notes(&ticket);
    assert_eq!(notes.len(), 2, "{notes:#?}");
    assert!(
        notes.iter().any(|note| note.contains("mismatched types")),
        "{notes:#?}"
    );
    assert_clean("the comments", &notes.concat());

    let leaky = Peer::start(Arc::new(Leaky));
    enqueue(
        &db,
        json!({ "pipeline": { "id": 4711 }, "issue_iid": ticket.iid }),
    )
    .await;
    work(&db, &leaky.url(), "json", "debug").await;
    let refused = db
        .value("SELECT count(*) FROM tasks WHERE error LIKE '%403%' OR result::text LIKE '%403%'")
        .await;
    assert_eq!(
        refused.as_deref(),
        Some("1"),
        "the far side's words are told, without the secrets"
    );

    for (table, row) in [
        ("tasks", "to_jsonb(t) - 'payload'"),
        ("longshore.task_events", "to_jsonb(t)"),
        ("longshore.task_steps", "to_jsonb(t)"),
        ("longshore.ticket_outbox", "to_jsonb(t)"),
        ("longshore.workers", "to_jsonb(t)"),
    ] {
        let rows = db.sql(&format!("SELECT ({row})::text FROM {table} t")).await;
        let text: Vec<String> = rows.into_iter().flatten().flatten().collect();
        assert_clean(table, &text.join("\n"));
    }
}
