//! `longshore create-task --from`: many tasks from a file or a program, as their user sends them.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;
use testkit::postgres;

use crate::process::{Process, answer, longshore, over, until, words};

fn file(lines: &[String]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all((lines.join("\n") + "\n").as_bytes())
        .expect("write the file");
    file
}

/// More than one batch.
fn many() -> Vec<String> {
    let line = |n| format!("{{\"type\": \"deploy\", \"to\": \"devops\", \"payload\": {{\"n\": {n}}}}}");
    (0..5003).map(line).collect()
}

#[tokio::test]
async fn a_file_goes_in_by_batches_and_goes_on_from_a_line_that_was_wrong() {
    let db = postgres::database().await;
    let mut lines = many();
    lines[5001] = r#"{"type": "deploy", "priority": 11}"#.to_owned();
    let wrong = file(&lines);
    let name = wrong.path().to_str().expect("text");
    let (code, said, error) = words(over(&db, &["create-task", "--from", name]));
    assert_eq!((code, said.as_str()), (2, ""), "{error}");
    assert!(
        error.contains(&format!("{name}, line 5002: priority 11 is out of range")),
        "{error}"
    );
    let go_on = format!(
        "Lines 1-5000 are in: mend the line and go on with `tail -n +5001 {name} | longshore create-task --from -`"
    );
    assert!(error.contains(&go_on), "{error}");
    let count = "SELECT count(*) FROM tasks WHERE task_type = 'deploy'";
    assert_eq!(db.value(count).await.as_deref(), Some("5000"));

    // What it says is done: from standard input, with the line mended.
    lines[5001] = r#"{"type": "deploy", "dedupe_key": "k"}"#.to_owned();
    let rest = file(&lines[5000..]);
    let mut from_input = over(&db, &["create-task", "--from", "-", "--json"]);
    let output = from_input
        .stdin(Stdio::from(std::fs::File::open(rest.path()).expect("open it")))
        .output()
        .expect("run longshore");
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("JSON"),
        json!({"created": 3, "existing": 0})
    );
    assert_eq!(db.value(count).await.as_deref(), Some("5003"));
    let (code, said, _) = words(over(
        &db,
        &["create-task", "--from", rest.path().to_str().expect("text")],
    ));
    assert_eq!(
        (code, said.trim()),
        (
            0,
            "Created 2 tasks. 1 was there: an unfinished one with its dedupe key."
        )
    );

    // What only the database knows is told by its line, too.
    let named = file(&[
        lines[0].clone(),
        String::new(),
        r#"{"type": "x", "repo_id": "nowhere"}"#.to_owned(),
    ]);
    let (code, _, error) = words(over(
        &db,
        &["create-task", "--from", named.path().to_str().expect("text")],
    ));
    assert_eq!(code, 2, "{error}");
    assert!(
        error.contains("line 3: `repo_id` is \"nowhere\"") && error.contains("None of the tasks is in"),
        "{error}"
    );
    let empty = file(&[]);
    let (code, said, _) = words(over(
        &db,
        &["create-task", "--from", empty.path().to_str().expect("text")],
    ));
    assert!(code == 0 && said.contains("holds no task"), "{said}");
}

#[tokio::test]
async fn an_api_takes_the_same_files() {
    let db = postgres::database().await;
    let mut serve = Process::start(over(&db, &["serve", "--bind", "127.0.0.1:0"]));
    let api = serve.api().await;
    let lines = file(&many());
    let name = lines.path().to_str().expect("text");
    let (code, made) = answer(over(
        &db,
        &["create-task", "--from", name, "--dashboard-url", &api, "--json"],
    ));
    assert_eq!((code, made), (0, json!({"created": 5003, "existing": 0})));
    assert_eq!(
        db.value("SELECT count(*) FROM tasks").await.as_deref(),
        Some("5003")
    );
    let mut wrong = many();
    wrong.push(r#"{"type": "x", "parent_task_id": "nobody"}"#.to_owned());
    let wrong = file(&wrong);
    let name = wrong.path().to_str().expect("text");
    let (code, _, error) = words(over(
        &db,
        &["create-task", "--from", name, "--dashboard-url", &api],
    ));
    assert_eq!(code, 2, "{error}");
    assert!(
        error.contains(&format!("{name}, line 5004: `parent_task_id` is \"nobody\"")),
        "{error}"
    );
    assert!(
        error.contains("Lines 1-5000 are in") && !error.contains("line 4"),
        "{error}"
    );
    assert_eq!(serve.stop().await, 0);
}

#[tokio::test]
async fn ctrl_c_ends_it_behind_the_batch_under_way_and_it_says_what_is_in() {
    let db = postgres::database().await;
    let (input, mut lines) = std::io::pipe().expect("a pipe");
    let mut create = Process::fed(over(&db, &["create-task", "--from", "-"]), input);
    // A whole batch, and then nothing: standard input stays open.
    let text = many()[..5000].join("\n") + "\n";
    let lines = std::thread::spawn(move || {
        lines.write_all(text.as_bytes()).expect("write the lines");
        lines
    });
    until(&db, &create, "count(*) = 5000 FROM tasks").await;
    create.signal("INT");
    assert_eq!(create.ended().await, 130);
    create
        .says(|said| {
            let known = "Lines 1-5000 are in: send what follows them";
            (said.contains("standard input: stopped by a signal") && said.contains(known)).then_some(())
        })
        .await;
    drop(lines.join());
}

#[tokio::test]
async fn a_second_ctrl_c_ends_it_at_once_and_it_says_what_is_not_known() {
    // An API that takes the tasks and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let api = format!("http://{}", silent.local_addr().expect("its address"));
    let lines = file(&[r#"{"type": "x"}"#.to_owned()]);
    let name = lines.path().to_str().expect("text");
    let mut create = Process::start(longshore(&[
        "create-task",
        "--from",
        name,
        "--dashboard-url",
        &api,
        "--log-level",
        "info",
    ]));
    let taken = tokio::task::spawn_blocking(move || silent.accept().expect("somebody who sends"));
    let _taken = taken.await.expect("a connection");
    create.signal("INT");
    create
        .says(|said| said.contains("a second signal ends at once").then_some(()))
        .await;
    create.signal("TERM");
    assert_eq!(create.ended().await, 143);
    create
        .says(|said| said.contains("Whether 1-1 are in is not known").then_some(()))
        .await;
}
