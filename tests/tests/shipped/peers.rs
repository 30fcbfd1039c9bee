//! The programs that these tests need. `scripts/test` provides all of them; without one a test fails and says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ stands in the repository")
        .to_owned()
}

/// The debug or release binary from the target folder that this test was built in.
pub fn longshore() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let binary = test
        .parent()
        .and_then(Path::parent)
        .expect("target/PROFILE/deps/TEST")
        .join("longshore");
    assert!(
        binary.is_file(),
        "{} is not built; run `cargo build` first",
        binary.display()
    );
    binary
}

/// A program from the tests' own Python environment.
pub fn from_venv(program: &str) -> Command {
    let python = std::env::var_os("LONGSHORE_TEST_PYTHON").map(PathBuf::from);
    let bin = match &python {
        Some(python) => python.parent().expect("a program stands in a folder").to_owned(),
        None => root().join("target/test-venv/bin"),
    };
    let path = bin.join(program);
    assert!(
        path.is_file(),
        "{} is missing; `scripts/test` installs it (scripts/test-requirements.txt)",
        path.display()
    );
    let mut command = Command::new(path);
    command.current_dir(root());
    command
}

pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// Runs it, and fails with all that it said unless it ended well.
pub fn run_well(command: &mut Command) -> String {
    let out = run(command);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(
        out.status.success(),
        "{command:?} ended with {}:\n{said}",
        out.status
    );
    said
}
