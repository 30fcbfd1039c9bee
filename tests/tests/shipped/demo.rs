//! The README's first command, less the building: what it shows is what the README says.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::peers::{longshore, root, run_well};

#[test]
fn the_demo_shows_what_the_readme_shows() {
    let folder = tempfile::tempdir().unwrap();
    // Run as root, the server is another user's, who must be able to enter the folder that its data stand in.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("longshore");
    let said = run_well(
        Command::new("timeout")
            .args(["--signal=TERM", "400"])
            .arg(longshore())
            .args(["dev", "--demo", "--exit", "--port=0", "--data"])
            .arg(&data)
            .current_dir(folder.path())
            .env("NO_COLOR", "1")
            .env_remove("DATABASE_URL"),
    );
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let shown = readme
        .split("```text\n")
        .nth(1)
        .and_then(|rest| rest.split("\n```").next())
        .unwrap();
    assert!(
        shown.starts_with("longshore is up."),
        "the first block of text in README.md is the demo"
    );
    // Addresses and ids differ from run to run.
    let varies = |line: &&str| line.contains('…') || line.contains("http:") || line.contains("01a1fe03");
    let stable: Vec<_> = shown
        .lines()
        .filter(|l| !varies(l) && !l.contains(".longshore") && !l.is_empty())
        .collect();
    assert!(stable.len() > 15, "{stable:?}");
    let missing: Vec<_> = stable
        .iter()
        .filter(|line| !said.lines().any(|l| l.trim_end() == **line))
        .collect();
    assert!(
        missing.is_empty(),
        "the demo does not show {missing:#?}; it said:\n{said}"
    );
}
