//! The built binary as people and programs call it, as far as it needs no database.

mod forms;
mod pipeline;

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// The binary in an empty environment and an empty folder, so that nothing of this machine leaks in.
fn longshore(folder: &tempfile::TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command.args(args).env_clear().current_dir(folder.path());
    command
}

fn run(args: &[&str]) -> Output {
    run_with(args, &[], "")
}

fn run_with(args: &[&str], env: &[(&str, &str)], input: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let mut child = longshore(&folder, args)
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that reads nothing may have closed its input already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_names_the_commands_and_the_exit_codes() {
    let output = run(&["--help"]);
    assert_eq!(code(&output), 0);
    insta::assert_snapshot!(text(&output.stdout));
}

#[test]
fn an_unknown_command_or_flag_is_a_usage_error() {
    for args in [
        &["destroy"][..],
        &["tasks", "list", "--statsu", "failed"],
        &["gitlab", "issue-get", "--iid", "1"],
        &[],
    ] {
        assert_eq!(code(&run(args)), 2, "{args:?}");
    }
    let output = run(&["tasks", "list", "--status", "done"]);
    assert_eq!(code(&output), 2);
    assert!(
        text(&output.stderr).contains("in_progress"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn without_a_database_it_says_what_to_set_and_with_a_dead_one_what_it_tried() {
    let output = run(&["tasks", "list"]);
    assert_eq!(code(&output), 2);
    insta::assert_snapshot!("no_database", text(&output.stderr));
    // Port 1 on loopback: nobody listens there.
    let dead = run(&[
        "--database-url",
        "postgres://pm:hunter2@127.0.0.1:1/x",
        "tasks",
        "list",
        "--json",
    ]);
    assert_eq!(code(&dead), 3, "{}", text(&dead.stderr));
    let stderr = text(&dead.stderr);
    let last = stderr.lines().last().unwrap();
    let error: serde_json::Value = serde_json::from_str(last).unwrap();
    assert_eq!(error["error"]["kind"], "unavailable");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[test]
fn a_task_is_judged_before_anything_is_reached() {
    for (args, input, says) in [
        (&["--priority", "11", "--instruction", "x"][..], "", "--priority"),
        (&["--priority", "-1", "--instruction", "x"], "", "--priority"),
        (&["--payload-json", "[1]"], "", "not a JSON object"),
        (&["--payload-json", "{"], "", "not JSON"),
        (&["--payload-json", "-"], "{\"a\": \"\\u0000\"}", "NUL"),
        (&[], "", "nothing of what to do"),
        (
            &["--instruction", "x", "--dashboard-url", "nowhere"],
            "",
            "not the base address",
        ),
    ] {
        let mut all = vec!["create-task", "--task-type", "fix_build"];
        all.extend(args);
        let output = run_with(&all, &[], input);
        assert_eq!(code(&output), 2, "{args:?}: {}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains(says),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    let env = [("DASHBOARD_URL", "http://127.0.0.1:1")];
    let output = run_with(
        &["create-task", "--task-type", "fix_build", "--instruction", "x"],
        &env,
        "",
    );
    assert_eq!(code(&output), 3, "{}", text(&output.stderr));
}

#[test]
fn tasks_come_from_a_file_or_from_flags_and_not_from_both() {
    for (args, input, says) in [
        (
            &["--from", "/nowhere.ndjson"][..],
            "",
            "could not open /nowhere.ndjson",
        ),
        (&["--from", "-", "--priority", "7"], "", "cannot be used with"),
        (&["--priority", "7"], "", "--task-type <TYPE>"),
        (
            &["--from", "-", "--dashboard-url", "nowhere"],
            "",
            "not the base address",
        ),
        (
            &["--from", "-", "--dashboard-url", "http://127.0.0.1:1"],
            "{\"type\": \"x\"}\n{\"type\"}",
            "standard input, line 2: the line is not JSON",
        ),
    ] {
        let output = run_with(&[&["create-task"], args].concat(), &[], input);
        let said = text(&output.stderr);
        assert_eq!(code(&output), 2, "{args:?}: {said}");
        assert!(said.contains(says), "{args:?}: {said}");
    }
}

#[test]
fn a_log_is_diagnosed_from_a_file_and_from_standard_input_alike() {
    let log = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/demo/compile-error.log");
    let from_file = run(&["diagnose", log, "--json"]);
    assert_eq!(code(&from_file), 0, "{}", text(&from_file.stderr));
    let diagnosis: serde_json::Value = serde_json::from_slice(&from_file.stdout).unwrap();
    assert_eq!(diagnosis["class"], "compile_error");
    assert_eq!(diagnosis["exit_code"], 101);
    let line = usize::try_from(diagnosis["line"].as_u64().unwrap()).unwrap();
    let deciding = std::fs::read_to_string(log).unwrap();
    assert!(deciding.lines().nth(line - 1).unwrap().contains("E0308"));
    let from_input = run_with(&["diagnose", "-", "--json"], &[], &deciding);
    assert_eq!(from_file.stdout, from_input.stdout);
    let people = text(&run(&["diagnose", log]).stdout);
    assert!(
        people.contains("mismatched types") && !people.contains('\x1b'),
        "{people}"
    );
    assert_eq!(code(&run(&["diagnose", "/nowhere.log"])), 2);
}

#[test]
fn a_broken_configuration_stops_everything_but_what_needs_none() {
    let env = [("LONGSHORE_WORKER_SLOT", "3")];
    let output = run_with(&["tasks", "list"], &env, "");
    assert_eq!(code(&output), 2);
    assert!(
        text(&output.stderr).contains("did you mean `LONGSHORE_WORKER_SLOTS`"),
        "{}",
        text(&output.stderr)
    );
    let check = run_with(&["config", "check", "--json"], &env, "");
    assert_eq!(code(&check), 2);
    let answer: serde_json::Value = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(
        (&answer["ok"], answer["problems"].as_array().unwrap().len()),
        (&serde_json::json!(false), 1)
    );
    assert_eq!(
        code(&run_with(&["diagnose", "-"], &env, "make: *** [all] Error 2\n")),
        0
    );
}

#[test]
fn printing_the_configuration_shows_no_secret() {
    let env = [
        ("GITLAB_TOKEN", "glpat-verysecret"),
        ("DATABASE_URL", "postgres://pm:hunter2@db/ops"),
    ];
    let output = run_with(&["config", "print"], &env, "");
    let shown = text(&output.stdout);
    assert_eq!(code(&output), 0);
    assert!(shown.contains("environment variable GITLAB_TOKEN"), "{shown}");
    assert!(
        !shown.contains("verysecret") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_dry_run_of_named_tasks_is_refused_and_touches_none() {
    for verb in ["cancel", "retry"] {
        let output = run_with(&["tasks", verb, "T1", "T2", "--dry-run"], &[], "");
        assert_eq!(code(&output), 2, "{verb}");
        let said = text(&output.stderr);
        assert!(
            said.contains("--dry-run") && said.contains("cannot be used with"),
            "{said}"
        );
    }
}

#[test]
fn a_dry_run_shows_the_request_and_sends_nothing() {
    // Port 1: whatever were sent would fail.
    let env = [
        ("GITLAB_URL", "http://127.0.0.1:1"),
        ("GITLAB_TOKEN", "glpat-verysecret"),
    ];
    let args = [
        "gitlab",
        "issue-comment",
        "--project-id",
        "group/name",
        "--iid",
        "7",
        "--body",
        "hello",
        "--dry-run",
        "--json",
    ];
    let output = run_with(&args, &env, "");
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["request"]["method"], "POST");
    assert!(
        answer["request"]["url"]
            .as_str()
            .unwrap()
            .ends_with("/projects/group%2Fname/issues/7/notes"),
        "{answer}"
    );
    assert!(!answer.to_string().contains("verysecret"));
}

/// An API of one answer; where it is, and what it will have heard.
fn answering(answer: String) -> (String, std::thread::JoinHandle<String>) {
    use std::io::Read;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = [0; 4096];
        let read = stream.read(&mut heard).unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&heard[..read]).to_lowercase()
    });
    (url, server)
}

fn with_body(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// One where nobody may come.
fn shunned() -> (String, impl Fn() -> bool) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    (url, move || listener.accept().is_ok())
}

const ONE: [&str; 5] = ["create-task", "--task-type", "x", "--instruction", "y"];

#[test]
fn the_proxy_of_the_environment_is_not_shown_what_stays_on_this_machine() {
    let (proxy, was_asked) = shunned();
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        let (url, server) = answering(with_body(
            "201 Created",
            r#"{"status": "created", "task_id": "t1"}"#,
        ));
        let bind = url.strip_prefix("http://").unwrap();
        let env = [
            ("DASHBOARD_URL", url.as_str()),
            ("LONGSHORE_API_BIND", bind),
            ("LONGSHORE_API_TOKENS", "own-0123456789abcdef"),
            (name, proxy.as_str()),
        ];
        let output = run_with(&ONE, &env, "");
        assert!(!was_asked(), "{name}: {}", text(&output.stderr));
        assert_eq!(code(&output), 0, "{name}: {}", text(&output.stderr));
        let heard = server.join().unwrap();
        assert!(
            heard.contains("authorization: bearer own-0123456789abcdef"),
            "{heard}"
        );
    }
}

#[test]
fn a_redirect_is_told_and_not_followed() {
    for status in ["302 Found", "308 Permanent Redirect"] {
        let (elsewhere, was_asked) = shunned();
        let (url, server) = answering(format!(
            "HTTP/1.1 {status}\r\nLocation: {elsewhere}/api/tasks?a=b\r\nContent-Length: 0\r\n\r\n"
        ));
        let output = run_with(
            &ONE,
            &[
                ("DASHBOARD_URL", &url),
                ("LONGSHORE_CLIENT_TOKEN", "theirs-0123456789"),
            ],
            "",
        );
        assert!(!was_asked(), "{status}");
        server.join().unwrap();
        let said = text(&output.stderr);
        assert_eq!(code(&output), 2, "{said}");
        assert!(
            said.contains(&format!("answered {status}"))
                && said.contains(&format!("--dashboard-url {elsewhere}\n")),
            "{said}"
        );
    }
}

#[test]
fn an_answer_that_no_api_of_ours_gives_is_no_success() {
    let two = "{\"type\": \"x\"}\n{\"type\": \"x\"}\n";
    let many = ["create-task", "--from", "-"];
    for (args, body) in [
        (&ONE[..], "{}"),
        (&ONE, "<html>"),
        (&many, "{}"),
        (&many, "<html>"),
        (&many, r#"{"created": 1, "existing": 0}"#),
    ] {
        let (url, server) = answering(with_body("200 OK", body));
        let output = run_with(args, &[("DASHBOARD_URL", &url)], two);
        server.join().unwrap();
        let said = text(&output.stderr);
        assert!(code(&output) != 0 && output.stdout.is_empty(), "{body}: {said}");
        assert!(
            said.contains("base address of a longshore API?"),
            "{body}: {said}"
        );
        if args == many {
            assert!(said.contains("Whether 1-2 are in is not known"), "{body}: {said}");
        }
    }
    let (url, server) = answering(with_body("200 OK", r#"{"created": 1, "existing": 1}"#));
    let output = run_with(&many, &[("DASHBOARD_URL", &url)], two);
    server.join().unwrap();
    assert_eq!(
        text(&output.stdout).trim(),
        "Created 1 task. 1 was there: an unfinished one with its dedupe key."
    );
}

#[test]
fn a_folder_of_tasks_is_no_file_with_a_wrong_line() {
    let output = run_with(
        &[
            "create-task",
            "--from",
            "/",
            "--dashboard-url",
            "http://127.0.0.1:1",
        ],
        &[],
        "",
    );
    let said = text(&output.stderr);
    assert_eq!(code(&output), 2, "{said}");
    assert!(
        said.contains("could not read /")
            && said.contains("None of the tasks is in")
            && !said.contains("mend"),
        "{said}"
    );
}

#[test]
fn an_error_shows_no_password_and_obeys_no_escape_sequence() {
    let (url, server) = answering(with_body("403 Forbidden", "\u{1b}]0;owned\u{7}no"));
    let url = url.replace("://", "://ci:hunter2hunter@");
    let output = run(&[&ONE[..], &["--dashboard-url", &url]].concat());
    server.join().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("403"), "{said}");
    assert!(!said.contains("hunter2") && !said.contains('\u{1b}'), "{said}");
}

#[test]
fn a_token_of_our_own_api_is_not_sent_to_another_and_the_answer_says_what_to_set() {
    let (url, server) = answering(with_body("401 Unauthorized", "{}"));
    let env = [
        ("DASHBOARD_URL", url.as_str()),
        ("LONGSHORE_API_TOKENS", "own-0123456789abcdef"),
    ];
    let output = run_with(&ONE, &env, "");
    let heard = server.join().unwrap();
    assert!(
        heard.starts_with("post /api/tasks") && !heard.contains("authorization"),
        "{heard}"
    );
    let said = text(&output.stderr);
    assert!(said.contains("LONGSHORE_CLIENT_TOKEN"), "{said}");
}

#[test]
fn the_schema_of_the_configuration_takes_the_shipped_file_and_no_wrong_key() {
    let output = run(&["config", "schema"]);
    assert_eq!(code(&output), 0);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let shipped = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../config/longshore.toml"
    ))
    .unwrap();
    let read = |text: &str| serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&read(&shipped))
        .map(|fault| format!("{fault} at {}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    // The examples that have no default, too.
    let examples: String = shipped
        .lines()
        .map(
            |line| match line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')) {
                Some(example) => format!("{example}\n"),
                None => format!("{line}\n"),
            },
        )
        .collect();
    assert!(validator.is_valid(&read(&examples)));
    for wrong in [
        "[worker]\nslotz = 3",
        "[worker]\nslots = true",
        "[worker]\npoll = \"soon\"",
        "[log]\nformat = \"xml\"",
    ] {
        assert!(!validator.is_valid(&read(wrong)), "{wrong}");
    }
    // Each key is explained.
    for section in schema["properties"].as_object().unwrap().values() {
        let Some(name) = section["$ref"]
            .as_str()
            .map(|name| name.rsplit('/').next().unwrap())
        else {
            continue;
        };
        for (key, of) in schema["$defs"][name]["properties"].as_object().unwrap() {
            assert!(of["description"].is_string(), "{name}.{key} is not explained");
        }
    }
}

#[test]
fn the_schema_of_environments_takes_the_documented_example_and_no_wrong_key() {
    let output = run(&["config", "schema", "--environments"]);
    assert_eq!(code(&output), 0);
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/deploy.md")).unwrap();
    let (_, section) = page
        .split_once("\n## What the environment's settings say\n")
        .unwrap();
    let (_, example) = section.split_once("```json\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let mut documented: serde_json::Value = serde_json::from_str(example).unwrap();
    let faults: Vec<String> = validator
        .iter_errors(&documented)
        .map(|fault| format!("{fault} at {}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    // Each key of the example is one that the schema knows, so that a key which it lacks is refused.
    let keys: Vec<String> = documented["production"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    for key in keys {
        let mut wrong = documented.clone();
        let production = wrong["production"].as_object_mut().unwrap();
        let value = production.remove(&key).unwrap();
        production.insert(format!("{key}s_"), value);
        assert!(!validator.is_valid(&wrong), "{key}s_");
    }
    documented["production"]["strategy"] = "canari".into();
    assert!(!validator.is_valid(&documented), "a strategy that does not exist");
}

#[test]
fn completions_are_made_for_each_shell() {
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef longshore"),
        ("fish", "complete -c longshore"),
    ] {
        let output = run(&["completions", shell]);
        assert_eq!(code(&output), 0);
        assert!(text(&output.stdout).contains(mark), "{shell}");
    }
}
