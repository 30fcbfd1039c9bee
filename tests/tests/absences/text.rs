//! Absences in any file at all, source or not.

use regex::Regex;

use crate::workspace::{files, root};

fn find(pattern: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let pattern = Regex::new(pattern).unwrap();
    let mut found = Vec::new();
    for file in files().iter().filter(|f| wanted(f)) {
        let bytes = std::fs::read(root().join(file)).unwrap();
        for (number, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
            if pattern.is_match(line) {
                found.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    // Home folders and work folders of people and of build machines; data for the log reader may hold them.
    let folders = concat!(
        r"/wo",
        r"rk/(main|wt|shared|\.library)|/ho",
        r"me/[a-z]+/|/Us",
        r"ers/[a-z]+/"
    );
    let found = find(folders, |file| !is_log_data(file));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn no_test_is_switched_off_and_nothing_is_left_to_do() {
    let marks = concat!(r"#\[ign", r"ore|\bTO", r"DO\b|\bFIX", r"ME\b|\bXX", r"X\b");
    let found = find(marks, |file| !is_log_data(file) && !file.ends_with("Cargo.lock"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A peer that cannot be had is a failure that says how to get it, not a test that ends early and well.
#[test]
fn no_test_skips_itself() {
    let found = find(r#"(?i)print(ln)?!\(".*\bskip"#, |file| file.ends_with(".rs"));
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Rules that read build logs quote what tools print.
fn is_log_data(file: &str) -> bool {
    file.starts_with("crates/pipelines/") && !file.ends_with(".rs")
        || file.ends_with(".snap")
        || file.ends_with(".log")
}

/// Small files with one idea each; past this, ask what second idea moved in.
#[test]
fn files_are_small() {
    const MOST_LINES: usize = 600;
    let found: Vec<_> = files()
        .iter()
        .filter(|f| f.ends_with(".rs") || f.ends_with(".sql") || f.starts_with("scripts/"))
        .map(|f| {
            (
                f.clone(),
                std::fs::read_to_string(root().join(f)).unwrap().lines().count(),
            )
        })
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(file, lines)| format!("{file} has {lines} lines"))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}
