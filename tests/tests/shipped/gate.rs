//! `scripts/test` decides what may be taken, so its own arithmetic is tested: cargo is played by a stub.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::peers::{root, run};

/// What the stubbed tools answer.
struct Answers {
    clippy: i32,
    tests: u32,
    failures: u32,
    nextest: i32,
    ignored: &'static str,
    doc: &'static str,
    doc_code: i32,
}

const GOOD: Answers = Answers {
    clippy: 0,
    tests: 10,
    failures: 0,
    nextest: 0,
    ignored: "",
    doc: "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s",
    doc_code: 0,
};

const CARGO: &str = r#"#!/bin/bash
case "$*" in
    "nextest --version") echo "cargo-nextest 99.0.0 (abc 2030-01-01)" ;;
    "clippy --version" | "fmt --version" | build\ * | fmt\ *) ;;
    clippy\ *) exit "$CLIPPY" ;;
    "nextest list"*) printf '%s' "$IGNORED" ;;
    "nextest run"*)
        [ "$TESTS" = 0 ] || {
            mkdir -p "$CARGO_TARGET_DIR/nextest/ci"
            echo "<testsuites name=\"nextest-run\" tests=\"$TESTS\" skipped=\"0\" failures=\"$FAILURES\" errors=\"0\">" \
                >"$CARGO_TARGET_DIR/nextest/ci/junit.xml"
        }
        exit "$NEXTEST" ;;
    "test "*--doc*) echo "$DOC"; exit "$DOC_CODE" ;;
    *) echo "unexpected: cargo $*" >&2; exit 99 ;;
esac
"#;

/// The exit code and the last line of a run in which the tools answer so.
fn gate(answers: &Answers) -> (Option<i32>, String) {
    let machine = tempfile::tempdir().unwrap();
    let program = |name: &str, body: &str| {
        let path = machine.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, body).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("bin/cargo", CARGO);
    program("bin/rustc", "#!/bin/sh\necho 'rustc 99.0.0 (abc 2030-01-01)'\n");
    program("bin/pgbouncer", "#!/bin/sh\n");
    for tool in [
        "bin/cargo-nextest",
        "bin/cc",
        "bin/systemd-analyze",
        "target/test-venv/bin/python",
    ] {
        program(tool, "#!/bin/sh\n");
    }
    let stamp = machine.path().join("target/test-venv/.requirements");
    fs::copy(root().join("scripts/test-requirements.txt"), stamp).unwrap();
    let path = format!(
        "{}:/usr/bin:/bin",
        Path::new(machine.path()).join("bin").display()
    );
    let out = run(Command::new("bash")
        .arg(root().join("scripts/test"))
        .env_clear()
        .env("PATH", path)
        .env("HOME", machine.path())
        .env("CARGO_TARGET_DIR", machine.path().join("target"))
        .env("CLIPPY", answers.clippy.to_string())
        .env("TESTS", answers.tests.to_string())
        .env("FAILURES", answers.failures.to_string())
        .env("NEXTEST", answers.nextest.to_string())
        .env("IGNORED", answers.ignored)
        .env("DOC", answers.doc)
        .env("DOC_CODE", answers.doc_code.to_string()));
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        !String::from_utf8_lossy(&out.stderr).contains("unexpected:"),
        "{out:?}"
    );
    (
        out.status.code(),
        said.lines().last().unwrap_or_default().to_owned(),
    )
}

#[test]
fn all_good_is_counted_and_taken() {
    // Ten tests, two documentation tests, the format and the lints.
    assert_eq!(gate(&GOOD), (Some(0), "14 passed, 0 failed".to_owned()));
}

#[test]
fn each_kind_of_failure_is_counted_and_refused() {
    let cases = [
        (
            "a failed test",
            Answers {
                failures: 1,
                nextest: 100,
                ..GOOD
            },
            "13 passed, 1 failed",
        ),
        (
            "a test that left a process behind",
            Answers { nextest: 100, ..GOOD },
            "14 passed, 1 failed",
        ),
        (
            "two ignored tests",
            Answers {
                ignored: "a::b\na::c\n",
                ..GOOD
            },
            "14 passed, 2 failed",
        ),
        ("a lint", Answers { clippy: 101, ..GOOD }, "13 passed, 1 failed"),
        (
            "a failed documentation test",
            Answers {
                doc: "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
                doc_code: 101,
                ..GOOD
            },
            "13 passed, 1 failed",
        ),
        (
            "an ignored documentation test",
            Answers {
                doc: "test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
                ..GOOD
            },
            "13 passed, 1 failed",
        ),
        (
            "documentation that does not compile",
            Answers {
                doc: "",
                doc_code: 101,
                ..GOOD
            },
            "12 passed, 1 failed",
        ),
    ];
    for (what, answers, line) in cases {
        assert_eq!(gate(&answers), (Some(1), line.to_owned()), "{what}");
    }
}

#[test]
fn tests_that_did_not_run_are_refused() {
    let (code, last) = gate(&Answers {
        tests: 0,
        nextest: 101,
        ..GOOD
    });
    assert_eq!(code, Some(1), "{last}");
    assert!(!last.contains("passed"), "{last}");
}
