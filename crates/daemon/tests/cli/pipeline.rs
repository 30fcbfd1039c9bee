//! `longshore pipeline …`: from files alone, in an empty environment.

use std::fs;
use std::process::Output;

use serde_json::Value;
use tempfile::TempDir;

use crate::{code, longshore, text};

fn repository() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("Makefile"), "all:\n\ttrue\ntest:\n\ttrue\n").unwrap();
    folder
}

fn run_in(folder: &TempDir, args: &[&str]) -> Output {
    longshore(folder, args).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output.stdout)))
}

#[test]
fn a_pipeline_is_written_once_and_replaced_only_when_told() {
    let folder = repository();
    let printed = run_in(&folder, &["pipeline", "generate", ".", "--no-deploy"]);
    assert_eq!(code(&printed), 0, "{}", text(&printed.stderr));
    assert!(text(&printed.stdout).contains("make test"));
    assert!(text(&printed.stderr).contains("Makefile: tested with its target `test`"));
    assert!(!folder.path().join(".gitlab-ci.yml").exists());

    let write = ["pipeline", "generate", ".", "--no-deploy", "--write"];
    assert_eq!(code(&run_in(&folder, &write)), 0);
    let file = folder.path().join(".gitlab-ci.yml");
    assert_eq!(fs::read_to_string(&file).unwrap(), text(&printed.stdout));

    fs::write(&file, "mine: {script: [x]}\n").unwrap();
    let again = run_in(&folder, &write);
    assert_eq!(code(&again), 1);
    assert!(text(&again.stderr).contains("--force"), "{}", text(&again.stderr));
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine: {script: [x]}\n");
    let forced = ["pipeline", "generate", ".", "--no-deploy", "--write", "--force"];
    assert_eq!(code(&run_in(&folder, &forced)), 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), text(&printed.stdout));
}

#[test]
fn what_is_asked_for_wrongly_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    for (args, says) in [
        (&["pipeline", "generate", "."][..], "nothing was found"),
        (&["pipeline", "generate", "absent"], "cannot read"),
        (&["pipeline", "lint", "."], "no pipeline"),
        (
            &["pipeline", "convert", "x.yml", "--to", "github"],
            "does not tell",
        ),
    ] {
        let output = run_in(&folder, args);
        assert_eq!(code(&output), 2, "{args:?}: {}", text(&output.stderr));
        assert!(
            text(&output.stderr).contains(says),
            "{args:?}: {}",
            text(&output.stderr)
        );
    }
    let folder = repository();
    let stage = run_in(&folder, &["pipeline", "generate", ".", "--stage", "nonsense"]);
    assert_eq!(code(&stage), 2);
    assert!(
        text(&stage.stderr).contains("NAME=COMMAND"),
        "{}",
        text(&stage.stderr)
    );
}

#[test]
fn lint_ends_with_what_it_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(".gitlab-ci.yml");
    fs::write(&file, "a: {script: [x], timeout: 5 minutes}\n").unwrap();
    assert_eq!(code(&run_in(&folder, &["pipeline", "lint"])), 0);
    fs::write(&file, "a: {script: [x], timeout: 5 minutes, image: node}\n").unwrap();
    assert_eq!(code(&run_in(&folder, &["pipeline", "lint"])), 0);
    assert_eq!(code(&run_in(&folder, &["pipeline", "lint", "--strict"])), 1);
    fs::write(&file, "a: {script: [x], needs: [b]}\n").unwrap();
    let bad = run_in(&folder, &["pipeline", "lint", ".gitlab-ci.yml", "--json"]);
    assert_eq!(code(&bad), 1);
    let answer = json(&bad);
    assert_eq!(answer["ok"], false);
    let error = answer["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["severity"] == "error");
    let error = error.unwrap();
    assert_eq!(
        (&error["rule"], &error["at"]["line"]),
        (&Value::from("needs-unknown"), &Value::from(1))
    );
    fs::write(&file, b"a: \xff").unwrap();
    let unreadable = run_in(&folder, &["pipeline", "lint"]);
    assert_eq!(code(&unreadable), 1);
    assert!(
        text(&unreadable.stdout).contains("UTF-8"),
        "{}",
        text(&unreadable.stdout)
    );
}

#[test]
fn convert_tells_what_it_left_out() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join(".gitlab-ci.yml"),
        "include: other.yml\ntest: {script: [make test], timeout: 5 minutes}\n",
    )
    .unwrap();
    let output = run_in(
        &folder,
        &["pipeline", "convert", ".gitlab-ci.yml", "--to", "github"],
    );
    assert_eq!(code(&output), 0, "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("run: make test"));
    assert!(
        text(&output.stderr).contains("line 1: `include`"),
        "{}",
        text(&output.stderr)
    );
    let json_args = [
        "pipeline",
        "convert",
        ".gitlab-ci.yml",
        "--to",
        "jenkins",
        "--write",
        ".",
        "--json",
    ];
    let answer = json(&run_in(&folder, &json_args));
    assert_eq!(answer["files"][0]["path"], "Jenkinsfile");
    assert!(folder.path().join("Jenkinsfile").exists());
}
