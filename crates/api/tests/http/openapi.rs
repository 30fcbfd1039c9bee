//! The document is made from the routes; here real answers are held against it.

use serde_json::{Value, json};

use crate::served::{Served, answer};
use crate::{webhook_alertmanager, webhook_github};

struct Document(Value);

impl Document {
    async fn of(served: &Served) -> Self {
        let (status, document) = served.get("/api/openapi.json").await;
        assert_eq!(status, 200);
        Self(document)
    }

    /// What the document says of an answer; nothing more than it says may stand in one.
    fn schema(&self, method: &str, path: &str, status: u16) -> Value {
        let answers = &self.0["paths"][path][method]["responses"];
        let status = status.to_string();
        let answer = answers.get(&status).unwrap_or(&answers["default"]);
        let mut schema = answer["content"]["application/json"]["schema"].clone();
        assert!(!schema.is_null(), "{method} {path} says nothing of {status}");
        schema["components"] = self.0["components"].clone();
        close(&mut schema["components"]["schemas"]);
        schema
    }

    fn check(&self, method: &str, path: &str, (status, body): &(u16, Value)) {
        let validator = jsonschema::draft202012::new(&self.schema(method, path, *status)).unwrap();
        let faults: Vec<String> = validator
            .iter_errors(body)
            .map(|fault| format!("{} at {}", fault, fault.instance_path()))
            .collect();
        assert!(
            faults.is_empty(),
            "{method} {path} → {status}: {faults:#?}\n{body:#}"
        );
    }
}

fn close(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(close);
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[tokio::test]
async fn every_route_stands_in_the_document_with_its_role() {
    let served = Served::new().await;
    let Document(document) = Document::of(&served).await;
    let mut routes = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let role = operation["security"][0]["token"][0].as_str().unwrap_or("-");
            assert!(
                operation["summary"].is_string(),
                "{method} {path} is not described"
            );
            let name = operation["operationId"].as_str().unwrap_or_default();
            assert!(
                !name.is_empty() && names.insert(name.to_owned()),
                "{method} {path}: {name:?} is the name of no operation alone"
            );
            routes.push(format!("{method:<5} {path:<34} {role}"));
        }
    }
    insta::assert_snapshot!(routes.join("\n"));
}

/// Only what goes through `routes.rs` is served: nobody mounts a route past the document.
#[test]
fn no_route_is_mounted_past_the_document() {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source];
    let mut read = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            read += 1;
            for past in [
                ".route(",
                ".route_service(",
                ".nest(",
                ".nest_service(",
                "axum::routing",
            ] {
                assert!(!text.contains(past), "{} has {past}", path.display());
            }
        }
    }
    assert!(read > 10);
}

#[tokio::test]
async fn what_a_request_may_be_is_said_as_it_is() {
    let served = Served::new().await;
    let Document(document) = Document::of(&served).await;
    let schemas = &document["components"]["schemas"];
    let task = &schemas["NewTask"];
    assert_eq!(task["additionalProperties"], false);
    for field in ["type", "task_type", "to", "assigned_to", "repo_id"] {
        assert_eq!(task["properties"][field]["maxLength"], 200, "{field}");
    }
    assert_eq!(schemas["NewRule"]["properties"]["max_running"]["minimum"], 1);
    for (schema, field, words) in [
        ("Schedule", "overlap", json!(["skip", "allow"])),
        ("NewSchedule", "missed", json!(["once", "skip", null])),
        ("Rule", "kind", json!(["all", "type", "repo"])),
        ("Task", "held_back", json!(["paused", "limit", null])),
    ] {
        assert_eq!(
            schemas[schema]["properties"][field]["enum"], words,
            "{schema}.{field}"
        );
    }
    let of = |method: &str, path: &str| document["paths"][path][method].clone();
    let limit = of("get", "/api/tasks")["parameters"][1]["schema"].clone();
    assert_eq!(
        (&limit["minimum"], &limit["maximum"]),
        (&json!(1), &json!(1000)),
        "{limit}"
    );
    let many = of("post", "/api/tasks/bulk");
    let shapes = &many["requestBody"]["content"]["application/json"]["schema"]["oneOf"];
    assert_eq!(shapes[1]["type"], "array", "{shapes}");
    for status in ["400", "408", "413", "422"] {
        assert!(many["responses"][status].is_object(), "{status}");
    }
    let page = of("get", "/tasks/{id}");
    assert!(page["responses"]["default"]["content"]["text/html"].is_object());
}

#[tokio::test]
async fn real_answers_are_as_the_document_says() {
    let served = Served::new().await;
    let document = Document::of(&served).await;
    served
        .database
        .sql(
            r#"INSERT INTO tasks (id, task_type, status, claimed_at, completed_at, attempt, result, error) VALUES
                 ('done', 'fix_build', 'failed', '2026-01-29', '2026-01-29', 2, '{"verdict": "failed", "summary": "no"}', 'no'),
                 ('old', 'deploy', 'claimed', '2020-01-01', NULL, 0, NULL, NULL);
               INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, outcome, attempt, deadline, done_at) VALUES
                 ('done', 'run', 0, 'read', 'step', '{"ok": 1}', 1, NULL, now()),
                 ('done', 'run', 1, 'bake', 'sleep', NULL, 2, now(), NULL),
                 ('done', 'run', 2, 'write', 'step', '{"err": {"kind": "denied", "what": "no way"}}', 2, NULL, now());
               INSERT INTO longshore.task_events (task_id, kind, attempt, worker_id, summary) VALUES
                 ('done', 'parked', 1, 'w1', 'waits'), ('done', 'failed', 2, 'w2', 'no')"#,
        )
        .await;
    let made = served
        .post(
            "/api/tasks",
            r#"{"type": "deploy", "to": "devops", "payload": {"a": [1]}}"#,
        )
        .await;
    assert_eq!(made.0, 201);
    document.check("post", "/api/tasks", &made);
    let id = made.1["task_id"].as_str().unwrap().to_owned();
    document.check("post", "/api/tasks", &served.post("/api/tasks", "{").await);
    document.check(
        "post",
        "/api/tasks",
        &served
            .post("/api/tasks", r#"{"type": "x", "priority": 11}"#)
            .await,
    );
    for tasks in [
        json!([{"type": "deploy", "dedupe_key": "k"}, {"type": "deploy"}]),
        json!([{"type": "deploy", "dedupe_key": "k"}]),
        json!([{"type": 4}]),
    ] {
        let body = json!({ "tasks": tasks }).to_string();
        let answer = served.post("/api/tasks/bulk", body).await;
        document.check("post", "/api/tasks/bulk", &answer);
    }
    document.check("get", "/api/tasks", &served.get("/api/tasks").await);
    document.check("get", "/api/tasks", &served.get("/api/tasks?limit=0").await);
    let shown = served.get("/api/tasks/done").await;
    document.check("get", "/api/tasks/{id}", &shown);
    assert_eq!(shown.1["steps"][2]["error"], "no way");
    assert_eq!(shown.1["attempts"][0]["ended"], "parked");
    assert_eq!(shown.1["attempts"][1]["ended"], "failed");
    document.check("get", "/api/tasks/{id}", &served.get("/api/tasks/none").await);
    for change in ["cancel", "retry"] {
        let path = format!("/api/tasks/{{id}}/{change}");
        for id in [id.as_str(), "none", "old"] {
            document.check(
                "post",
                &path,
                &served.post(&format!("/api/tasks/{id}/{change}"), "").await,
            );
        }
    }
    document.check(
        "post",
        "/api/tasks/reset-stale",
        &served.post("/api/tasks/reset-stale", "").await,
    );
    document.check("get", "/api/tasks/dead", &served.get("/api/tasks/dead").await);
    for change in ["retry", "cancel"] {
        let path = format!("/api/tasks/{change}");
        for body in [
            r#"{"type": "fix_build"}"#,
            r#"{"all": true, "dry_run": true}"#,
            "{}",
        ] {
            document.check("post", &path, &served.post(&path, body).await);
        }
    }
    let schedule = json!({"cron": "30 3 * * *", "task": {"type": "deploy", "payload": {}}}).to_string();
    let set = served.send("PUT", "/api/schedules/nightly", schedule).await;
    assert_eq!(set.0, 200);
    document.check("put", "/api/schedules/{name}", &set);
    document.check(
        "put",
        "/api/schedules/{name}",
        &served.send("PUT", "/api/schedules/x", "{}").await,
    );
    document.check("get", "/api/schedules", &served.get("/api/schedules").await);
    for change in ["enable", "disable", "run", "run"] {
        let answer = served.post(&format!("/api/schedules/nightly/{change}"), "").await;
        document.check("post", &format!("/api/schedules/{{name}}/{change}"), &answer);
    }
    document.check(
        "get",
        "/api/schedules/{name}",
        &served.get("/api/schedules/nightly").await,
    );
    for _ in 0..2 {
        let answer = served.send("DELETE", "/api/schedules/nightly", "").await;
        document.check("delete", "/api/schedules/{name}", &answer);
    }
    for (path, at) in [
        ("/api/queue/all", "/api/queue/all"),
        ("/api/queue/{kind}/{name}", "/api/queue/type/deploy"),
        ("/api/queue/{kind}/{name}", "/api/queue/repo/nowhere"),
    ] {
        let body = r#"{"max_running": 4, "paused": true, "reason": "a dump"}"#;
        document.check("put", path, &served.send("PUT", at, body).await);
        document.check("put", path, &served.send("PUT", at, "{}").await);
        document.check("get", "/api/queue", &served.get("/api/queue").await);
        document.check("delete", path, &served.send("DELETE", at, "").await);
        document.check("delete", path, &served.send("DELETE", at, "").await);
    }
    document.check("get", "/healthz", &served.get("/healthz").await);
    document.check("get", "/readyz", &served.get("/readyz").await);
    for how in ["approve", "reject"] {
        let path = format!("/api/tasks/{{id}}/{how}");
        document.check(
            "post",
            &path,
            &served.post(&format!("/api/tasks/none/{how}"), "").await,
        );
        document.check(
            "post",
            &path,
            &served.post(&format!("/api/tasks/old/{how}"), "").await,
        );
    }
    document.check("get", "/health", &served.get("/health").await);
    document.check("get", "/metrics", &served.get("/metrics").await);
    for event in ["Note Hook", "Pipeline Hook"] {
        let hook = served
            .http
            .post(served.url("/webhook/gitlab"))
            .header("X-Gitlab-Event", event)
            .header("X-Gitlab-Token", "hook-secret")
            .body(
                json!({"object_attributes": {"id": 1, "status": "failed"}, "project": {"id": 2}}).to_string(),
            );
        document.check("post", "/webhook/gitlab", &answer(hook).await);
    }
    for path in ["/webhook/gitlab", "/webhook/github", "/webhook/alertmanager"] {
        document.check("post", path, &served.post(path, "{}").await);
    }
    for event in ["ping", "workflow_run", "workflow_run"] {
        let answer = webhook_github::deliver(&served, event, &webhook_github::failed_run()).await;
        document.check("post", "/webhook/github", &answer);
    }
    for firing in [2, 2, 0] {
        let body = webhook_alertmanager::group(firing).to_string();
        let answer = served.post("/webhook/alertmanager", body).await;
        document.check("post", "/webhook/alertmanager", &answer);
    }
}
