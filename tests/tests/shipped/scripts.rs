//! The shell scripts: what shellcheck says of them, and what they say where they cannot help.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::peers::{from_venv, root, run, run_well};

#[test]
fn shellcheck_has_nothing_to_say() {
    run_well(
        from_venv("shellcheck")
            .args(["--external-sources", "--source-path=SCRIPTDIR"])
            .args([
                "scripts/dev",
                "scripts/test",
                "scripts/bench",
                "scripts/lib.sh",
                ".ci/run",
            ]),
    );
}

/// A folder with the plain tools of a shell and nothing else, to stand as a bare machine's PATH.
fn bare_machine(folder: &Path, with: &[&str]) {
    let plain = [
        "bash", "env", "sed", "head", "sort", "cut", "dirname", "uname", "id", "cat", "cmp", "printf", "grep",
    ];
    for tool in plain.iter().chain(with) {
        let found = ["/usr/bin", "/bin", "/usr/sbin"]
            .iter()
            .map(|d| Path::new(d).join(tool))
            .find(|p| p.exists());
        if let Some(found) = found {
            symlink(found, folder.join(tool)).unwrap();
        }
    }
}

fn program(folder: &Path, name: &str, body: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What `scripts/dev` says on a machine that has only the programs in `folder`. It must refuse.
fn refusal(folder: &Path) -> String {
    let out = run(Command::new("bash")
        .arg(root().join("scripts/dev"))
        .env_clear()
        .env("PATH", folder)
        .env("HOME", folder));
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_machine_without_rust_is_told_where_it_comes_from() {
    let machine = tempfile::tempdir().unwrap();
    bare_machine(machine.path(), &[]);
    let said = refusal(machine.path());
    assert!(
        said.contains("no Rust toolchain") && said.contains("https://rustup.rs"),
        "{said}"
    );
}

#[test]
fn an_old_rust_is_told_which_one_is_needed() {
    let machine = tempfile::tempdir().unwrap();
    bare_machine(machine.path(), &[]);
    program(machine.path(), "cargo", "exit 1");
    program(
        machine.path(),
        "rustc",
        "echo 'rustc 1.63.0 (4b91a6ea7 2022-08-08)'",
    );
    let said = refusal(machine.path());
    assert!(
        said.contains("Rust 1.63.0 is too old") && said.contains("rustup update stable"),
        "{said}"
    );
}

#[test]
fn another_system_is_told_its_own_command() {
    let machine = tempfile::tempdir().unwrap();
    bare_machine(machine.path(), &[]);
    program(machine.path(), "cargo", "exit 1");
    program(machine.path(), "rustc", "echo 'rustc 1.99.0 (0 2030-01-01)'");
    fs::remove_file(machine.path().join("uname")).unwrap();
    program(machine.path(), "uname", "echo Darwin");
    let said = refusal(machine.path());
    assert!(
        said.contains("a C compiler is missing") && said.contains("xcode-select --install"),
        "{said}"
    );
}

#[test]
fn a_user_who_may_not_install_is_told_whom_to_ask() {
    let machine = tempfile::tempdir().unwrap();
    bare_machine(machine.path(), &[]);
    program(machine.path(), "cargo", "exit 1");
    program(machine.path(), "rustc", "echo 'rustc 1.99.0 (0 2030-01-01)'");
    program(machine.path(), "apt-get", "exit 1");
    fs::remove_file(machine.path().join("id")).unwrap();
    program(machine.path(), "id", "echo 1000");
    let said = refusal(machine.path());
    if cfg!(target_os = "linux") && Path::new("/etc/debian_version").exists() {
        assert!(
            said.contains("nor has sudo") && said.contains("apt-get install build-essential"),
            "{said}"
        );
    }
}
