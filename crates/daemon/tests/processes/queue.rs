//! `longshore tasks dead|cancel|retry|list` over many tasks, as their user meets them.

use serde_json::json;
use testkit::postgres;

use crate::process::{answer, over, words};

#[tokio::test]
async fn dead_letters_are_looked_at_and_tried_again_by_the_command_that_is_shown() {
    let db = postgres::database().await;
    assert_eq!(
        words(over(&db, &["tasks", "dead"])).1.trim(),
        "Nothing failed, and nothing is held."
    );
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, error, completed_at) VALUES
             ('a', 'deploy', 'devops', 'failed', 'it''s 10.0.0.7', '2026-01-29'), ('b', 'deploy', 'devops', 'failed', 'it''s 10.0.0.8', '2026-01-30'),
             ('c', 'deploy', 'builder', 'failed', 'it''s 10.0.0.9', '2026-01-30')",
    )
    .await;
    let (_, dead, _) = words(over(&db, &["tasks", "dead"]));
    let lines: Vec<String> = dead
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(lines[0], "STATE TYPE COUNT LAST SEEN NEWEST ERROR");
    assert_eq!(lines[1], "failed deploy 2 2026-01-30 00:00:00Z b it's #.#.#.#");
    assert_eq!(
        lines[2],
        r"retry a group: longshore tasks retry --status failed --task-type 'deploy' --error 'it'\''s #.#.#.#'"
    );
    let retry = [
        "tasks",
        "retry",
        "--status",
        "failed",
        "--task-type",
        "deploy",
        "--error",
        "it's #.#.#.#",
    ];
    let (code, said, _) = words(over(&db, &[&retry[..], &["--dry-run"]].concat()));
    assert_eq!(
        (code, said.trim()),
        (
            0,
            "2 of 3 tasks would be tried again.\nleft alone: 1, as it belongs to the agent builder (c)"
        )
    );
    let (code, _, error) = words(over(&db, &retry));
    assert!(
        code == 2 && error.contains("2 tasks would be tried again") && error.contains("--yes"),
        "{error}"
    );
    assert_eq!(
        db.value("SELECT count(*) FROM tasks WHERE status = 'failed'")
            .await
            .as_deref(),
        Some("3")
    );
    let (code, done) = answer(over(&db, &[&retry[..], &["--yes", "--json"]].concat()));
    assert_eq!(
        (code, &done["changed"], &done["dry_run"]),
        (0, &json!(2), &json!(false))
    );

    // One task needs no --yes; nothing said needs --all.
    db.sql("UPDATE tasks SET repo_id = 'r1' WHERE id = 'a'").await;
    let (code, said, _) = words(over(&db, &["tasks", "cancel", "--repo", "r1"]));
    assert_eq!((code, said.trim()), (0, "1 of 1 tasks cancelled."));
    let (code, _, error) = words(over(&db, &["tasks", "cancel", "--yes"]));
    assert!(
        code == 2 && error.contains("it is not said which tasks") && error.contains("--all"),
        "{error}"
    );
    let (code, said, _) = words(over(&db, &["tasks", "cancel", "--all", "--yes"]));
    assert_eq!((code, said.trim()), (0, "1 of 1 tasks cancelled."));
    let (code, _, error) = words(over(&db, &["tasks", "cancel", "a", "--task-type", "deploy"]));
    assert!(code == 2 && error.contains("cannot be used with"), "{error}");
    let (code, _, error) = words(over(&db, &["tasks", "cancel", "--created-before", "yesterday"]));
    assert!(code == 2 && error.contains("2026-01-29"), "{error}");
}

#[tokio::test]
async fn a_long_list_names_where_it_goes_on() {
    let db = postgres::database().await;
    db.sql("INSERT INTO tasks (id, task_type, created_at) SELECT 't' || n, 'x', timestamp '2026-01-29' + interval '1 second' * n FROM generate_series(1, 3) n")
        .await;
    let (_, list, _) = words(over(&db, &["tasks", "list", "--limit", "2"]));
    let more = list.lines().last().unwrap();
    let place = more
        .strip_prefix("more: --before ")
        .unwrap_or_else(|| panic!("{list}"));
    let (_, rest, _) = words(over(&db, &["tasks", "list", "--limit", "2", "--before", place]));
    let ids: Vec<&str> = rest
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    assert_eq!(ids, ["t1"], "{rest}");
}
