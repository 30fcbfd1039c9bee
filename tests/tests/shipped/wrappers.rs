//! `create_task.py` and `gitlab_ops.py`: names that agents know, in front of the binary.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::peers::{from_venv, root, run};

pub fn wrapper(script: &str) -> Command {
    let mut command = from_venv("python");
    command
        .arg(root().join("scripts").join(script))
        .env_remove("LONGSHORE_BIN")
        .env_remove("DASHBOARD_URL");
    command
}

/// A program that prints its arguments, each in <>, and ends with 7.
fn echo_program(folder: &Path) -> PathBuf {
    let path = folder.join("longshore");
    fs::write(
        &path,
        "#!/bin/sh\nfor a in \"$@\"; do printf '<%s>' \"$a\"; done\nexit 7\n",
    )
    .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn arguments_and_exit_code_pass_through_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let program = echo_program(folder.path());
    let out = run(wrapper("gitlab_ops.py").env("LONGSHORE_BIN", &program).args([
        "issue-comment",
        "--body",
        "two\nlines, “quoted” and 'plain' $HOME *",
        "",
    ]));
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "<gitlab><issue-comment><--body><two\nlines, “quoted” and 'plain' $HOME *><>"
    );
    assert_eq!(out.status.code(), Some(7));
}

#[test]
fn the_binary_on_the_path_is_found() {
    let folder = tempfile::tempdir().unwrap();
    echo_program(folder.path());
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let out = run(wrapper("create_task.py")
        .env("PATH", path)
        .arg("--task-type=deploy"));
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "<create-task><--task-type=deploy>"
    );
}

#[test]
fn a_build_in_the_repository_is_found_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let build = folder.path().join("release");
    fs::create_dir(&build).unwrap();
    echo_program(&build);
    let out = run(wrapper("create_task.py")
        .env("PATH", "/usr/bin:/bin")
        .env("CARGO_TARGET_DIR", folder.path())
        .current_dir("/"));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "<create-task>");
}

#[test]
fn without_a_binary_the_error_says_what_to_do() {
    let nowhere = tempfile::tempdir().unwrap();
    let out = run(wrapper("create_task.py")
        .env("PATH", "/usr/bin:/bin")
        .env("CARGO_TARGET_DIR", nowhere.path()));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(127), "{said}");
    assert!(
        said.starts_with("create_task.py: no longshore binary found"),
        "{said}"
    );
    assert!(
        said.contains("cargo build --release") && said.contains("LONGSHORE_BIN"),
        "{said}"
    );

    let out = run(wrapper("gitlab_ops.py").env("LONGSHORE_BIN", nowhere.path().join("gone")));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(127), "{said}");
    assert!(said.contains("LONGSHORE_BIN") && said.contains("gone"), "{said}");
}
