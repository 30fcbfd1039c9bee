//! `longshore token …` and `longshore doctor` over a database.

use serde_json::{Value, json};
use testkit::postgres::{self, Database};

use crate::process::{answer, over, words};

fn token(db: &Database, args: &[&str]) -> (i32, Value) {
    answer(over(db, &[&["token", "--json"], args].concat()))
}

#[tokio::test]
async fn a_token_is_made_listed_and_revoked_and_its_secret_is_shown_once() {
    let db = postgres::database().await;
    let (code, made) = token(&db, &["create", "ci", "--role", "enqueue", "--expires-in", "90d"]);
    assert_eq!((code, &made["role"]), (0, &json!("enqueue")), "{made}");
    let secret = made["token"].as_str().unwrap();
    assert!(
        secret.starts_with(&format!("lsh_{}_", made["id"].as_str().unwrap())),
        "{secret}"
    );

    let (code, told) = token(&db, &["create", "ci", "--role", "read"]);
    assert_eq!((code, &told["error"]["kind"]), (1, &json!("conflict")), "{told}");
    for wrong in [
        ["create", " ", "--role", "read"],
        ["create", "x", "--role", "root"],
    ] {
        let (code, _, told) = words(over(&db, &[&["token"], wrong.as_slice()].concat()));
        assert_eq!(code, 2, "{told}");
    }
    let (code, list) = token(&db, &["list"]);
    assert_eq!((code, &list["tokens"][0]["state"]), (0, &json!("live")), "{list}");
    assert!(!list.to_string().contains(secret));

    // The whole token names it too: whoever found one somewhere can end it.
    let (code, gone) = token(&db, &["revoke", secret]);
    assert_eq!((code, &gone["name"]), (0, &json!("ci")), "{gone}");
    assert_eq!(token(&db, &["list"]).1["tokens"][0]["state"], "revoked");
    assert_eq!(token(&db, &["revoke", "nobody"]).0, 1);
}

fn grades(told: &Value) -> Vec<(String, String)> {
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let checks = told["checks"].as_array().unwrap();
    checks
        .iter()
        .map(|check| (word(&check["check"]), word(&check["grade"])))
        .collect()
}

fn grade<'g>(grades: &'g [(String, String)], check: &str) -> &'g str {
    grades
        .iter()
        .find(|(name, _)| name == check)
        .map_or("none", |(_, grade)| grade)
}

#[tokio::test]
async fn the_doctor_tells_what_is_well_what_to_look_at_and_what_to_fix() {
    let db = postgres::database().await;
    let (code, told) = answer(over(&db, &["doctor", "--json"]));
    let found = grades(&told);
    assert_eq!((code, &told["ok"]), (0, &json!(true)), "{told}");
    for well in [
        "postgres", "clocks", "schema", "listen", "claims", "gitlab", "github",
    ] {
        assert_eq!(grade(&found, well), "ok", "{told}");
    }
    for look in ["workers", "targets", "repos"] {
        assert_eq!(grade(&found, look), "warn", "{told}");
    }

    db.sql(
        r#"INSERT INTO tasks (id, task_type, status, assigned_to) VALUES ('t1', 'deploy', 'claimed', 'devops');
           INSERT INTO repos (id, name, gitlab_project_id, settings) VALUES ('r1', 'shop', 'group/shop', '{"fix_build": {"retris": 1}}')"#,
    )
    .await;
    // A forge that nobody answers for, nor a HAProxy, nor a systemd, nor a Prometheus; and an environment that means another target.
    db.sql(
        r#"INSERT INTO repos (id, name, gitlab_project_id, settings) VALUES ('r2', 'blog', 'group/blog',
             '{"environments": {"production": {"target": "wev", "workload": "shop"}}}')"#,
    )
    .await;
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let mut command = over(&db, &["doctor", "--json"]);
    command
        .env(
            "LONGSHORE_HOSTS_WEB",
            format!(
                r#"{{"state": "{here}/state", "supervisor": "systemd-user", "haproxy": {{"socket": "{here}/none.sock"}}, "workloads": {{"shop":
                   {{"versions": "{here}", "command": ["./server"], "ports": [8000, 8001], "backend": "shop"}}}}}}"#
            ),
        )
        .env("XDG_RUNTIME_DIR", folder.path())
        .env("LONGSHORE_METRICS_DEFAULT", r#"{"url": "http://127.0.0.1:9"}"#)
        .env("GITLAB_TOKEN", "glpat-0123456789abcdef")
        .env("GITLAB_URL", "http://127.0.0.1:9");
    let (code, told) = answer(command);
    let found = grades(&told);
    assert_eq!((code, &told["ok"]), (1, &json!(false)), "{told}");
    for (check, expected) in [
        ("claims", "warn"),
        ("gitlab", "fail"),
        ("targets", "fail"),
        ("metrics", "fail"),
        ("repos", "fail"),
    ] {
        assert_eq!(grade(&found, check), expected, "{told}");
    }
    assert!(
        told.to_string()
            .contains(r#"its environment \"production\" names the target \"wev\""#),
        "{told}"
    );
    // Its systemd is asked where the environment says.
    let runtime_dir = format!("for the worker's user), and does the worker see {here}?");
    assert!(told.to_string().contains(&runtime_dir), "{told}");
    assert!(
        told.to_string().contains("retris") && !told.to_string().contains("glpat-0123"),
        "{told}"
    );

    let empty = postgres::empty_database().await;
    let (code, text, _) = words(over(&empty, &["doctor"]));
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("fail  schema") && text.contains("Run `longshore migrate`"),
        "{text}"
    );
}

#[tokio::test]
async fn who_approves_what_asks_nothing_is_told_what_it_does() {
    let db = postgres::database().await;
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('t1', 'deploy', 'devops')")
        .await;
    let (code, _, told) = words(over(&db, &["tasks", "approve", "t1", "--comment", "go"]));
    assert_eq!(
        (code, told.trim()),
        (1, "error: task t1 waits for no approval: it is pending")
    );
    db.sql(
        r#"INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, attempt)
             VALUES ('t1', 'run', 0, 'approval/production', 'signal', 1);
           UPDATE tasks SET status = 'waiting', attempt = 1, wait = '{"why": "for somebody to approve production", "signals": ["approval/production"]}'"#,
    )
    .await;
    let mut command = over(&db, &["tasks", "reject", "t1"]);
    command.env("USER", "ada");
    let (code, told, _) = words(command);
    assert_eq!(
        (code, told.trim()),
        (
            0,
            "production of t1 is rejected by ada at the command line; the task goes on."
        )
    );
    let (code, _, told) = words(over(&db, &["tasks", "approve", "t1"]));
    assert_eq!(code, 1);
    assert!(
        told.contains("production of task t1 was rejected already, by ada at the command line"),
        "{told}"
    );
    let (code, shown) = answer(over(&db, &["tasks", "show", "t1", "--json"]));
    assert_eq!(
        (code, &shown["events"][0]["kind"]),
        (0, &json!("rejected")),
        "{shown}"
    );
    assert_eq!(shown["steps"][0]["key"], "approval/production");
}
