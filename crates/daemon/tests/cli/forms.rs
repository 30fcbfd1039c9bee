//! The forms of answers and errors, and what is refused before anything is reached.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::{answering, code, longshore, run, run_with, text, with_body};

#[test]
fn what_a_log_holds_is_diagnosed_without_its_secrets() {
    let log = "fatal: unable to access 'https://ci:hunter2hunter@git.example.com/x': 403\npassword=hunter2hunter glpat-AbCdEf0123456789xyzW\nmake: *** [all] Error 2\n";
    for form in [&[][..], &["--json"]] {
        let output = run_with(&[&["diagnose", "-"], form].concat(), &[], log);
        let said = text(&output.stdout);
        assert!(code(&output) == 0 && said.contains("[redacted: "), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("glpat-"), "{said}");
    }
}

#[test]
fn a_foreign_variable_that_is_no_text_is_no_fault_and_one_of_ours_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = OsStr::from_bytes(b"caf\xe9");
    for name in ["LESSOPEN", "NO_COLOR"] {
        let output = longshore(&folder, &["config", "check"])
            .env(name, wrong)
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    }
    let output = longshore(&folder, &["config", "check"])
        .env("LONGSHORE_WORKER_SLOTS", wrong)
        .output()
        .unwrap();
    assert_eq!(code(&output), 2);
    assert!(
        text(&output.stdout).contains("LONGSHORE_WORKER_SLOTS"),
        "{}",
        text(&output.stdout)
    );
    let output = longshore(
        &folder,
        &["create-task", "--task-type", "x", "--instruction", "y"],
    )
    .env("DASHBOARD_URL", wrong)
    .output()
    .unwrap();
    assert_eq!(code(&output), 2);
    assert!(
        text(&output.stderr).contains("DASHBOARD_URL is not text"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn an_empty_variable_is_none_and_help_shows_no_value() {
    let output = run_with(&["config", "check"], &[("LONGSHORE_CONFIG", "")], "");
    assert_eq!(code(&output), 0, "{}", text(&output.stdout));
    let create = ["create-task", "--task-type", "x", "--instruction", "y"];
    let output = run_with(&create, &[("DASHBOARD_URL", "")], "");
    assert!(
        text(&output.stderr).contains("no database is configured"),
        "{}",
        text(&output.stderr)
    );
    let named = run_with(&["config", "check"], &[("LONGSHORE_CONFIG", "/nowhere.toml")], "");
    assert_eq!(code(&named), 2);
    let env = [("DASHBOARD_URL", "http://ci:hunter2hunter@ops")];
    let help = text(&run_with(&["create-task", "--help"], &env, "").stdout);
    assert!(
        help.contains("DASHBOARD_URL") && !help.contains("hunter2"),
        "{help}"
    );
}

#[test]
fn nobody_to_tell_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    for args in [&["tasks", "list"][..], &["tasks", "list", "--json"], &["destroy"]] {
        let status = longshore(&folder, args)
            .stdout(Stdio::null())
            .stderr(full.try_clone().unwrap())
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_wrong_command_line_is_told_in_json_where_that_is_asked_for() {
    for args in [
        &["tasks", "list", "--statsu", "failed", "--json"][..],
        &["--json", "destroy"],
        &["--json"],
        &["tasks", "list", "--status", "done", "--json"],
        &["token", "create", "ci", "--role", "king", "--json"],
    ] {
        let output = run(args);
        let told: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(
            (code(&output), &told["error"]["kind"]),
            (2, &json!("invalid")),
            "{args:?}: {told}"
        );
        for part in ["what", "next"] {
            assert!(told["error"][part].is_string(), "{args:?}: {told}");
        }
    }
    let told: Value =
        serde_json::from_slice(&run(&["tasks", "list", "--status", "done", "--json"]).stderr).unwrap();
    assert!(told["error"]["what"].as_str().unwrap().contains("held"), "{told}");
    assert_eq!(code(&run(&["--json", "--help"])), 0);
    let never = text(&run(&["destroy", "--color", "never"]).stderr);
    let always = text(&run(&["destroy", "--color", "always"]).stderr);
    assert!(
        !never.contains('\u{1b}') && always.contains('\u{1b}'),
        "{never}{always}"
    );
    let wrong_place = text(&run(&["create-task", "--priority", "glpat-AbCdEf0123456789xyzW"]).stderr);
    assert!(!wrong_place.contains("glpat-"), "{wrong_place}");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_reached() {
    let secret = ("LONGSHORE_GITLAB_WEBHOOK_SECRET", "0123456789abcdef");
    for (args, env, says) in [
        (
            &["create-task", "--task-type", "x", "--instruction", " "][..],
            None,
            "--instruction is blank",
        ),
        (
            &["dev", "--database-url", "postgres://db/x"],
            None,
            "brings a database of its own",
        ),
        (
            &["repos", "add", "--project", "https://git.example.com/a/b"],
            None,
            "--url takes",
        ),
        (
            &["repos", "add", "--project", "a/b", "--slug", ""],
            None,
            "--slug is blank",
        ),
        (
            &["repos", "add", "--project", "a/b", "--default-branch", " "],
            None,
            "--default-branch is blank",
        ),
        (
            &["repos", "add", "--project", "a/b\u{7}"],
            None,
            "control characters",
        ),
        (
            &[
                "repos",
                "add",
                "--project",
                "a/b",
                "--url",
                "https://glpat-x@git.example.com",
            ],
            None,
            "without credentials",
        ),
        (
            &[
                "repos",
                "add",
                "--project",
                "a/b",
                "--settings-json",
                r#"{"fix_buld": {}}"#,
            ],
            None,
            "Did you mean \"fix_build\"?",
        ),
        (
            &[
                "repos",
                "add",
                "--project",
                "a/b",
                "--settings-json",
                r#"{"fix_build": {"retrys": 1}}"#,
            ],
            None,
            "`retrys`",
        ),
        (
            &["gitlab", "issue-get", "--project-id", "1", "--iid", "0"],
            None,
            "--iid",
        ),
        (
            &["gitlab", "issue-get", "--project-id", "", "--iid", "1"],
            None,
            "--project-id",
        ),
        (
            &[
                "gitlab",
                "issue-comment",
                "--project-id",
                "1",
                "--iid",
                "1",
                "--body",
                " ",
            ],
            None,
            "--body is blank",
        ),
        (
            &[
                "gitlab",
                "issue-create",
                "--project-id",
                "1",
                "--title",
                "",
                "--description",
                "x",
            ],
            None,
            "--title is blank",
        ),
        (
            &[
                "gitlab",
                "webhook-ensure",
                "--project-id",
                "1",
                "--url",
                "https://x/webhook/gitlab",
            ],
            None,
            "LONGSHORE_GITLAB_WEBHOOK_SECRET",
        ),
        (
            &[
                "gitlab",
                "webhook-ensure",
                "--project-id",
                "1",
                "--url",
                "ftp://x/webhook/gitlab",
            ],
            Some(secret),
            "could call",
        ),
        (
            &[
                "gitlab",
                "webhook-ensure",
                "--project-id",
                "1",
                "--url",
                "https://x/hook",
            ],
            Some(secret),
            "/webhook/gitlab",
        ),
    ] {
        let env: Vec<_> = env.into_iter().collect();
        let output = run_with(args, &env, "");
        let said = text(&output.stderr);
        assert_eq!(code(&output), 2, "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
    let output = run(&["gitlab", "issue-get", "--project-id", "1", "--iid", "1"]);
    assert!(
        text(&output.stderr).contains("Set GITLAB_TOKEN"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_wrong_place_or_address_is_no_bug_of_ours() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let data = file.path().to_str().unwrap();
    let output = run(&["dev", "--port", "0", "--data", data]);
    assert_eq!(code(&output), 2, "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("--data"),
        "{}",
        text(&output.stderr)
    );

    let (url, server) = answering(with_body("200 OK", "<html>welcome"));
    let env = [
        ("GITLAB_URL", url.as_str()),
        ("GITLAB_TOKEN", "glpat-AbCdEf0123456789xyzW"),
    ];
    let output = run_with(
        &["gitlab", "issue-get", "--project-id", "1", "--iid", "1"],
        &env,
        "",
    );
    server.join().unwrap();
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("GitLab's own address?"),
        "{}",
        text(&output.stderr)
    );

    let (url, server) = answering(with_body("200 OK", "<html>welcome"));
    let create = [
        "create-task",
        "--task-type",
        "x",
        "--instruction",
        "y",
        "--dashboard-url",
        &url,
    ];
    let output = run(&create);
    server.join().unwrap();
    assert_eq!(code(&output), 1, "{}", text(&output.stderr));
}

#[test]
fn completions_offer_states_and_roles() {
    let script = text(&run(&["completions", "bash"]).stdout);
    assert!(
        script.contains("cancelled held") && script.contains("read enqueue approve admin"),
        "no words"
    );
}
