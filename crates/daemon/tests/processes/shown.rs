//! What is shown of tasks, schedules and repositories: without secrets, and without what could pass for our own lines.

use serde_json::json;
use testkit::postgres;

use crate::process::{over, words};

const TOKEN: &str = "glpat-AbCdEf0123456789xyzW";

#[tokio::test]
async fn no_answer_shows_a_secret_or_obeys_what_a_task_says() {
    let db = postgres::database().await;
    let payload = json!({
        "instruction": format!("deploy with {TOKEN}"), "password": "swordfish-99", "token": TOKEN,
    })
    .to_string();
    db.sql(&format!(
        "INSERT INTO tasks (id, task_type, assigned_to, status, error, payload, completed_at) VALUES
             ('t1', 'deploy', 'devops', 'failed', E'denied: {TOKEN}\\nState: completed \\x1b[2J', '{payload}', '2026-01-29'),
             ('t2', 'deploy', 'devops', 'failed', NULL, '{payload}', '2026-01-29')"
    ))
    .await;
    let schedule = [
        "schedules",
        "set",
        "nightly",
        "--cron",
        "@daily",
        "--task-type",
        "deploy",
        "--payload-json",
        &payload,
    ];
    assert_eq!(words(over(&db, &schedule)).0, 0);
    let settings = json!({ "registry": { "password": "swordfish-99" } }).to_string();
    let add = [
        "repos",
        "add",
        "--project",
        "g/shop",
        "--settings-json",
        &settings,
    ];
    assert_eq!(words(over(&db, &add)).0, 0);

    for args in [
        &["tasks", "list"][..],
        &["tasks", "show", "t1"],
        &["tasks", "show", "t2"],
        &["tasks", "watch", "t1"],
        &["tasks", "watch", "t2"],
        &["tasks", "dead"],
        &["schedules", "show", "nightly"],
        &["schedules", "list"],
        &["repos", "show", "g/shop"],
        &["repos", "list"],
    ] {
        for form in [&[][..], &["--json"]] {
            let args = [args, form].concat();
            let (_, said, errors) = words(over(&db, &args));
            assert!(!said.is_empty() && errors.is_empty(), "{args:?}: {errors}");
            for secret in ["glpat-", "swordfish"] {
                assert!(!said.contains(secret), "{args:?}: {said}");
            }
            assert!(!said.contains('\u{1b}'), "{args:?}: {said}");
            if args.contains(&"show") && !args.contains(&"t2") {
                assert!(said.contains("[redacted: "), "{args:?}: {said}");
            }
        }
    }
    let (_, said, _) = words(over(&db, &["tasks", "show", "t1"]));
    assert_eq!(
        said.lines().filter(|line| line.starts_with("State:")).count(),
        1,
        "{said}"
    );
    // What holds a secret is tried again by its name.
    let (_, said, _) = words(over(&db, &["tasks", "dead"]));
    assert!(said.contains("longshore tasks retry 't"), "{said}");
}

#[tokio::test]
async fn a_group_whose_error_holds_control_characters_is_tried_again_by_the_command_that_is_shown() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, error, completed_at) VALUES
             ('a', 'deploy', 'devops', 'failed', E'it''s \\x1b[31mred\\x1b[0m', '2026-01-29')",
    )
    .await;
    let (_, said, _) = words(over(&db, &["tasks", "dead"]));
    let command = said
        .lines()
        .find_map(|line| line.strip_prefix("retry a group: longshore "))
        .unwrap_or_else(|| panic!("{said}"));
    let mut shell = std::process::Command::new("bash");
    shell
        .args(["-c", &format!("\"$LONGSHORE_TEST_BIN\" {command}")])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LONGSHORE_TEST_BIN", env!("CARGO_BIN_EXE_longshore"))
        .env("DATABASE_URL", db.url());
    let (code, done, errors) = words(shell);
    assert_eq!((code, done.trim()), (0, "1 of 1 tasks tried again."), "{errors}");
}

#[tokio::test]
async fn held_tasks_are_listed_and_a_repository_is_meant_by_any_of_its_names() {
    let db = postgres::database().await;
    let add = [
        "repos",
        "add",
        "--project",
        "g/shop",
        "--slug",
        "shop",
        "--id",
        "r1",
    ];
    assert_eq!(words(over(&db, &add)).0, 0);
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, wait, repo_id) VALUES
             ('held', 'x', 'devops', 'waiting', '{\"held\": \"look at it\"}', 'r1'),
             ('waits', 'x', 'devops', 'waiting', '{\"why\": \"a build\"}', 'r1'),
             ('other', 'y', 'devops', 'pending', NULL, 'gone')",
    )
    .await;
    for (flags, ids) in [
        (&["--status", "held"][..], &["held"][..]),
        (&["--status", "held,pending"], &["held", "other"]),
        (&["--status", "waiting", "--repo-id", "shop"], &["held", "waits"]),
        (&["--type", "y"], &["other"]),
        // A repository that is gone is still known by its tasks.
        (&["--repo-id", "gone"], &["other"]),
    ] {
        let (code, said, errors) = words(over(&db, &[&["tasks", "list"], flags].concat()));
        let mut listed: Vec<&str> = said
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .collect();
        listed.sort_unstable();
        assert_eq!((code, listed.as_slice()), (0, ids), "{flags:?}: {said}{errors}");
    }
    let (code, _, errors) = words(over(&db, &["tasks", "list", "--repo-id", "shup"]));
    assert!(code == 1 && errors.contains("Did you mean shop?"), "{errors}");
    let (code, done, errors) = words(over(&db, &["tasks", "cancel", "--repo-id", "shop", "--dry-run"]));
    assert!(code == 0 && done.starts_with("2 of 2"), "{done}{errors}");
}

#[tokio::test]
async fn a_slug_is_one_repositorys_and_a_type_that_is_nearly_another_is_told_and_made() {
    let db = postgres::database().await;
    let add = ["repos", "add", "--slug", "shop", "--project"];
    assert_eq!(words(over(&db, &[&add[..], &["g/shop"]].concat())).0, 0);
    let (code, _, errors) = words(over(&db, &[&add[..], &["h/other"]].concat()));
    assert!(
        code == 1 && errors.contains("the slug shop is that of g/shop already"),
        "{errors}"
    );
    for (task_type, hint) in [
        ("fix_buld", Some("did you mean fix_build?")),
        ("fix_build", None),
        ("sweep", None),
    ] {
        let create = ["create-task", "--instruction", "x", "--task-type", task_type];
        let (code, said, errors) = words(over(&db, &create));
        assert!(
            code == 0 && said.starts_with("Created "),
            "{task_type}: {said}{errors}"
        );
        match hint {
            Some(hint) => assert!(said.contains(hint), "{said}"),
            None => assert!(!said.contains("Note"), "{said}"),
        }
    }
    assert_eq!(db.value("SELECT count(*) FROM tasks").await.as_deref(), Some("3"));
}
