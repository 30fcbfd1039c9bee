//! The commands in README.md and docs/ are run and their answers compared: a block that begins with
//! "```console check" holds `$ command` lines, each with the answer that it gives below it. In an answer `…` stands
//! for anything, and a line of its own with only `…` for any lines. `check=3` expects that exit code.

use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::peers::{longshore, root};

struct Documented {
    file: String,
    line: usize,
    command: String,
    answer: String,
    code: i32,
}

fn in_file(file: &str, text: &str) -> Vec<Documented> {
    let mut found: Vec<Documented> = Vec::new();
    let mut code = None;
    for (number, line) in text.lines().enumerate() {
        match code {
            None => {
                if let Some(rest) = line.strip_prefix("```console check") {
                    code = Some(
                        rest.strip_prefix('=')
                            .map_or(0, |c| c.parse().expect("check=CODE")),
                    );
                }
            }
            Some(_) if line == "```" => code = None,
            Some(code) => match line.strip_prefix("$ ") {
                Some(command) => found.push(Documented {
                    file: file.to_owned(),
                    line: number + 1,
                    command: command.to_owned(),
                    answer: String::new(),
                    code,
                }),
                None => {
                    let last = found.last_mut().expect("a block begins with `$ command`");
                    if last.answer.is_empty() && last.command.ends_with('\\') {
                        last.command = format!("{}\n{line}", last.command);
                    } else {
                        last.answer += &format!("{line}\n");
                    }
                }
            },
        }
    }
    found
}

pub fn fits(documented: &str, said: &str) -> bool {
    let mut pattern = String::from("^");
    for line in documented.trim_end().lines() {
        if line.trim() == "…" {
            pattern += "(.*\n)*?";
        } else {
            let parts: Vec<_> = line.trim_end().split('…').map(regex::escape).collect();
            pattern += &format!("{} *\n", parts.join(".*"));
        }
    }
    Regex::new(&(pattern + "$"))
        .unwrap()
        .is_match(&format!("{}\n", said.trim_end()))
}

fn documents() -> Vec<String> {
    let mut found = vec!["README.md".to_owned()];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                found.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn documented_commands_answer_as_documented() {
    let bin = longshore();
    let path = format!(
        "{}:{}",
        bin.parent().unwrap().display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut wrong = Vec::new();
    let mut checked = 0;
    for file in documents() {
        for documented in in_file(&file, &fs::read_to_string(root().join(&file)).unwrap()) {
            let out = Command::new("bash")
                .args(["-c", &documented.command])
                .current_dir(root())
                .env("PATH", &path)
                .env("NO_COLOR", "1")
                .env("COLUMNS", "100")
                .env_remove("DATABASE_URL")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
            checked += 1;
            if out.status.code() != Some(documented.code) || !fits(&documented.answer, &said) {
                wrong.push(format!(
                    "{}:{}: `{}` ended with {} and said:\n{said}\ndocumented:\n{}",
                    documented.file, documented.line, documented.command, out.status, documented.answer
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(checked >= 2, "only {checked} documented commands were found");
}

#[test]
fn links_between_documents_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#\s]+)(#[^)]*)?\)").unwrap();
    let mut wrong = Vec::new();
    let more = ["ARCHITECTURE.md".to_owned()];
    for file in documents().iter().chain(&more) {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let folder = Path::new(file).parent().unwrap_or(Path::new(""));
        for found in link.captures_iter(&text) {
            let to = &found[1];
            if !to.contains("://") && !to.starts_with("mailto:") && !root().join(folder).join(to).exists() {
                wrong.push(format!("{file} links to {to}, which is not there"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_answer_fits_only_what_was_said() {
    assert!(fits("a\n…\nz", "a\nb\nc\nz"));
    assert!(fits("took … ms", "took 12.5 ms\n"));
    assert!(fits("a", "a"));
    assert!(!fits("a", "a\nb"));
    assert!(!fits("a\n…\nz", "a\nb"));
    assert!(!fits("", "something"));
}

#[test]
fn blocks_are_read_as_written() {
    let text = "```console check=2\n$ one \\\n  more\nanswer\n$ two\n```\n```console\n$ not this\n```\n";
    let read: Vec<_> = in_file("x", text)
        .into_iter()
        .map(|d| (d.line, d.command, d.answer, d.code))
        .collect();
    assert_eq!(
        read,
        [
            (2, "one \\\n  more".to_owned(), "answer\n".to_owned(), 2),
            (5, "two".to_owned(), String::new(), 2)
        ]
    );
}
