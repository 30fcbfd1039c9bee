//! The workspace as cargo sees it, and its files as git does.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ stands in the repository")
        .to_owned()
}

/// A member of the workspace, under the short name that code calls it by.
pub struct Member {
    pub name: String,
    pub folder: PathBuf,
    /// Short names of the members that it uses in what is shipped (not in its tests).
    pub uses: Vec<String>,
}

/// `longshore-adapter-forge` is `adapter-forge` in the house.
fn short(package: &str) -> Option<&str> {
    package.strip_prefix("longshore-")
}

fn output(command: &mut Command) -> String {
    let out = command
        .current_dir(root())
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        out.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).expect("text")
}

/// The whole dependency graph for this platform; everything in it has been fetched to build this test.
pub fn metadata() -> Value {
    let version = output(Command::new("rustc").arg("-vV"));
    let host = version
        .lines()
        .find_map(|l| l.strip_prefix("host: "))
        .expect("rustc names its host");
    let text = output(Command::new(env!("CARGO")).args([
        "metadata",
        "--format-version=1",
        "--locked",
        "--offline",
        "--filter-platform",
        host,
    ]));
    serde_json::from_str(&text).expect("cargo metadata writes JSON")
}

pub fn members(metadata: &Value) -> Vec<Member> {
    packages(metadata)
        .filter(|package| package["source"].is_null())
        .map(|package| {
            let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
            let shipped = |d: &&Value| d["kind"] != "dev";
            Member {
                name: short(text(&package["name"]))
                    .unwrap_or(text(&package["name"]))
                    .to_owned(),
                folder: manifest
                    .parent()
                    .expect("a manifest stands in a folder")
                    .to_owned(),
                uses: list(&package["dependencies"])
                    .filter(shipped)
                    .filter_map(|d| short(text(&d["name"])).map(str::to_owned))
                    .collect(),
            }
        })
        .collect()
}

/// Who uses each package directly in what is shipped: package name → names of its users, from the resolved graph.
pub fn users(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let names: BTreeMap<&str, &str> = packages(metadata)
        .map(|p| (text(&p["id"]), text(&p["name"])))
        .collect();
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"]["nodes"]) {
        let shipped = |d: &&Value| list(&d["dep_kinds"]).any(|k| k["kind"] != "dev");
        for used in list(&node["deps"]).filter(shipped) {
            let user = names[text(&node["id"])].to_owned();
            users
                .entry(names[text(&used["pkg"])].to_owned())
                .or_default()
                .push(user);
        }
    }
    users
}

pub fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    list(&metadata["packages"])
}

pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Every file that is or would be committed, relative to the root.
pub fn files() -> Vec<String> {
    let listed = output(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]));
    let files: Vec<_> = listed
        .lines()
        .map(str::to_owned)
        .filter(|f| root().join(f).is_file())
        .collect();
    assert!(files.len() > 50, "git lists only {} files", files.len());
    files
}

/// The Rust files of a member's `src/`, less those that are tests by their name.
pub fn sources(member: &Member) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![member.folder.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.expect("a folder's entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let is_test = matches!(name, "tests" | "tests.rs") || name.ends_with("_tests.rs");
            if path.is_dir() && !is_test {
                folders.push(path);
            } else if name.ends_with(".rs") && !is_test {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
