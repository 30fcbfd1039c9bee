//! `longshore queue …` as its user meets it.

use serde_json::{Value, json};
use testkit::postgres;

use crate::process::{Process, answer, over, words};

#[tokio::test]
async fn the_queue_is_limited_paused_and_resumed() {
    let db = postgres::database().await;
    db.manual_clock("2026-07-01T10:30:00Z".parse().unwrap()).await;
    db.sql(
        "INSERT INTO repos (id, gitlab_project_id, slug) VALUES ('r1', 'group/checkout', 'checkout');
         INSERT INTO tasks (id, task_type, assigned_to, repo_id) VALUES ('t1', 'deploy', 'devops', 'r1');
         INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
         VALUES ('w', 'here', 1, '{devops}', '{deploy/1}', clock_timestamp() + interval '1 hour')",
    )
    .await;
    let (_, empty, _) = words(over(&db, &["queue", "list"]));
    assert_eq!(empty.trim(), "Nothing is limited or paused.");

    let (code, said, error) = words(over(&db, &["queue", "limit", "--type", "deploy", "4"]));
    assert_eq!(
        (code, said.trim()),
        (0, "At most 4 tasks of the type deploy run at once; 0 run now."),
        "{error}"
    );
    let mut pause = over(
        &db,
        &[
            "queue",
            "pause",
            "--repo",
            "checkout",
            "--reason",
            "database upgrade",
        ],
    );
    pause.env("USER", "alice");
    let (code, said, error) = words(pause);
    assert_eq!(
        (code, said.trim()),
        (
            0,
            "Tasks of the repository group/checkout are paused since 2026-07-01 10:30:00Z by alice at the command line: database upgrade\n\
             None is started; 0 that were begun go on to their end."
        ),
        "{error}"
    );
    let (_, table, _) = words(over(&db, &["queue", "list"]));
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "WHAT NAME RUNNING AT MOST PAUSED BY REASON",
            "type deploy 0 4",
            "repo group/checkout 0 2026-07-01 10:30:00Z alice at the command line database upgrade"
        ]
    );
    let (_, tasks, _) = words(over(&db, &["tasks", "list"]));
    assert!(tasks.contains("pending (paused)"), "{tasks}");
    let (_, task, _) = words(over(&db, &["tasks", "show", "t1"]));
    assert!(
        task.contains("tasks of its repository are paused by alice at the command line since 2026-07-01 10:30 UTC: database upgrade"),
        "{task}"
    );

    let (code, said, _) = words(over(&db, &["queue", "resume", "--repo", "group/checkout"]));
    assert_eq!(
        (code, said.trim()),
        (
            0,
            "Tasks of the repository group/checkout are neither limited nor paused."
        )
    );
    let (code, gone) = answer(over(
        &db,
        &["queue", "limit", "--type", "deploy", "--none", "--json"],
    ));
    assert_eq!((code, gone), (0, json!({"rule": null, "note": null})));
    assert_eq!(
        answer(over(&db, &["queue", "list", "--json"])),
        (0, json!({"rules": [], "repos": []}))
    );
}

#[tokio::test]
async fn what_is_meant_otherwise_is_told() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO repos (id, gitlab_project_id, slug) VALUES ('r1', 'group/checkout', 'checkout');
         INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until)
         VALUES ('w', 'here', 1, '{devops}', '{deploy/1,infra/apply/2}', clock_timestamp() + interval '1 hour')",
    )
    .await;
    let (code, _, error) = words(over(&db, &["queue", "pause", "--repo", "group/chekout"]));
    assert!(
        code == 1
            && error.contains("no repository is called group/chekout")
            && error.contains("Did you mean group/checkout?"),
        "{code}: {error}"
    );
    let (code, said, _) = words(over(&db, &["queue", "pause", "--type", "deplyo"]));
    assert!(
        code == 0 && said.contains("no worker that runs now serves the type deplyo; did you mean deploy?"),
        "{code}: {said}"
    );
    // A type may hold a slash; what follows the last one is the handler's version.
    for (named, note) in [
        ("infra/apply", None),
        ("infra/aply", Some("did you mean infra/apply?")),
    ] {
        let (_, said, _) = words(over(&db, &["queue", "pause", "--type", named]));
        assert_eq!(said.contains("Note:"), note.is_some(), "{said}");
        assert!(said.contains(note.unwrap_or_default()), "{said}");
    }
    for wrong in [
        &["queue", "pause"][..],
        &["queue", "pause", "--all", "--type", "deploy"],
        &["queue", "limit", "--all"],
        &["queue", "limit", "--all", "0"],
        &["queue", "limit", "--all", "4", "--none"],
    ] {
        let (code, _, error) = words(over(&db, wrong));
        assert_eq!(code, 2, "{wrong:?}: {error}");
    }
}

#[tokio::test]
async fn who_takes_a_rule_away_or_makes_many_tasks_stands_in_the_log() {
    let db = postgres::database().await;
    let make = ["token", "create", "on call", "--role", "admin", "--json"];
    let (_, made) = answer(over(&db, &make));
    let token = made["token"].as_str().expect("a token");
    let mut serve = Process::start(over(&db, &["serve", "--bind", "127.0.0.1:0"]));
    let api = serve.api().await;
    let http = reqwest::Client::new();
    for (request, body) in [
        (http.put(format!("{api}/api/queue/all")), r#"{"paused": true}"#),
        (http.delete(format!("{api}/api/queue/all")), ""),
        (http.put(format!("{api}/api/queue/type/x")), r#"{"paused": true}"#),
        (http.delete(format!("{api}/api/queue/type/x")), ""),
        (
            http.post(format!("{api}/api/tasks/bulk")),
            r#"{"tasks": [{"type": "x"}]}"#,
        ),
    ] {
        let answer = request
            .bearer_auth(token)
            .body(body)
            .send()
            .await
            .expect("an answer");
        assert!(answer.status().is_success(), "{body}: {}", answer.status());
    }
    for (sentence, times) in [
        ("a rule of the queue was taken away", 2),
        ("tasks were created", 1),
    ] {
        let lines = serve
            .says(|said| {
                let lines: Vec<Value> = said
                    .lines()
                    .filter(|line| line.contains(sentence))
                    .filter_map(|line| serde_json::from_str(line).ok())
                    .collect();
                (lines.len() == times).then_some(lines)
            })
            .await;
        assert!(
            lines.iter().all(|line| line["caller.name"] == "on call"),
            "{lines:?}"
        );
    }
    assert_eq!(serve.stop().await, 0);
}
