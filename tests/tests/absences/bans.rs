//! Words that must not stand in a crate's shipped source, each with its reason.

use std::collections::BTreeSet;

use regex::Regex;

use crate::tokens::{Token, code, lines_with};
use crate::workspace::{members, metadata, root, sources};

const HANDLERS: &[&str] = &["pipelines", "deploy"];
/// Handlers, and what is pure because they build on it.
const PURE: &[&str] = &["pipelines", "deploy", "ci"];
const SERVING: &[&str] = &[
    "domain",
    "durable",
    "ports",
    "store",
    "worker",
    "pipelines",
    "deploy",
    "ci",
    "tickets",
    "adapter-forge",
    "adapter-host",
    "adapter-kube",
    "adapter-monitor",
    "flagd",
    "api",
    "daemon",
];

struct Ban {
    what: &'static str,
    why: &'static str,
    /// Bits of Rust, found as tokens; comments, documentation and tests do not count.
    patterns: &'static [&'static str],
    applies: fn(&str) -> bool,
    /// File (or folder, with a slash at its end) and the reason why it may.
    except: &'static [(&'static str, &'static str)],
}

const BANS: &[Ban] = &[
    Ban {
        what: "the environment",
        why: "the binary reads it once and hands everyone a config, so a run is explained by one file",
        patterns: &["std::env", "env::var", "env::vars", "env::var_os", "env::vars_os"],
        applies: |name| !matches!(name, "daemon" | "testkit" | "tests"),
        except: &[],
    },
    Ban {
        what: "the wall clock",
        why: "time is Postgres's, or handed in, so that a test can move it and a replay reads the same",
        patterns: &[
            "SystemTime::now",
            "Utc::now",
            "Local::now",
            "Uuid::now_v7",
            "Timestamp::now",
        ],
        applies: |name| !matches!(name, "daemon" | "testkit" | "tests"),
        except: &[(
            "crates/domain/src/task.rs",
            "a new task's id carries its time of making; nothing reads it back",
        )],
    },
    Ban {
        what: "a clock, a sleep or chance in a handler, or in what it is made of",
        why: "a replay must take the same way: use cx.sleep, and a step's idempotency key as an id",
        patterns: &[
            "Instant::now",
            "tokio::time",
            "thread::sleep",
            "Uuid::new_v4",
            "rand::",
            "tokio::spawn",
            "thread::spawn",
        ],
        applies: |name| PURE.contains(&name),
        except: &[],
    },
    Ban {
        what: "files, sockets or processes in a handler, or in what it is made of",
        why: "what a handler does outside goes through a port, which has a fake and a conformance suite",
        patterns: &[
            "std::fs",
            "tokio::fs",
            "std::net",
            "tokio::net",
            "std::process",
            "tokio::process",
        ],
        applies: |name| PURE.contains(&name),
        except: &[],
    },
    Ban {
        what: "a panic on purpose",
        why: "code that serves returns an error that says what happened, to what, and what to do next",
        patterns: &[".unwrap()", ".expect", "panic!", "todo!", "unimplemented!"],
        applies: |name| SERVING.contains(&name),
        except: &[(
            "crates/ports/src/conformance/",
            "a suite of assertions, run by tests",
        )],
    },
    Ban {
        what: "standard output",
        why: "the binary talks to people; the crates under it return values and write to the log",
        patterns: &["println!", "print!", "eprintln!", "eprint!"],
        applies: |name| SERVING.contains(&name) && name != "daemon",
        except: &[(
            "crates/ports/src/conformance/scenes.rs",
            "the suites are played by tests alone, whose output says what was seen to pass",
        )],
    },
    Ban {
        what: "ending the process",
        why: "exit codes are decided, and documented, in one place",
        patterns: &["process::exit", "process::abort"],
        applies: |name| SERVING.contains(&name) && name != "daemon",
        except: &[],
    },
];

#[test]
fn banned_words_do_not_stand_in_shipped_code() {
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for_each_source(|member, path, code| {
        for ban in BANS.iter().filter(|ban| (ban.applies)(member)) {
            let lines: Vec<_> = ban.patterns.iter().flat_map(|p| lines_with(code, p)).collect();
            let excepted = ban.except.iter().find(|(file, _)| path.starts_with(file));
            match excepted {
                Some((file, _)) if !lines.is_empty() => _ = used.insert((ban.what, *file)),
                Some(_) => {}
                None => wrong.extend(
                    lines
                        .iter()
                        .map(|l| format!("{path}:{l}: {} ({})", ban.what, ban.why)),
                ),
            }
        }
    });
    for ban in BANS {
        for (file, _) in ban
            .except
            .iter()
            .filter(|(file, _)| !used.contains(&(ban.what, *file)))
        {
            wrong.push(format!(
                "the exception of {file} from the ban on {} is not needed any more",
                ban.what
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql_stands_in_the_store_alone() {
    let mut wrong = Vec::new();
    for_each_source(|member, path, code| {
        if !matches!(member, "store" | "testkit" | "tests") {
            wrong.extend(
                sql_lines(code)
                    .iter()
                    .map(|l| format!("{path}:{l}: SQL belongs in `store`")),
            );
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_vendor_is_named_where_the_work_is_decided() {
    let vendors = Regex::new(
        r"(?i)git_?lab|git_?hub|bitbucket|jenkins|circle_?ci|travis|buildkite|team_?city|datadog|pager_?duty|slack",
    )
    .unwrap();
    // Text as logs hold it, by which the reader's literals are weighed: data, though it stands in a source file.
    const LOG_TEXT: &str = "crates/pipelines/src/diagnose/prefilter.rs";
    let mut wrong = Vec::new();
    for_each_source(|member, path, code| {
        let decides = matches!(member, "domain" | "durable") || HANDLERS.contains(&member);
        if decides && path != LOG_TEXT {
            let named = code.iter().filter(|token| vendors.is_match(&token.text));
            wrong.extend(
                named.map(|t| format!("{path}:{}: `{}` belongs in an adapter or in data", t.line, t.text)),
            );
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn sql_lines(code: &[Token]) -> Vec<usize> {
    let sql = Regex::new(
        r"(?isx) ^ \\?\s* (
            select\b .* \b(from|pg_\w+|now)\b | insert\s+into\s | update\s+\S+\s .* \bset\s | delete\s+from\s
            | with\s+\S+\s+as\s*\( | (create|alter|drop|truncate)\s+(table|index|schema|function|database|role)\b
            | (un)?listen\s+\w+$ | notify\s+\w+ | begin;? $ )",
    )
    .unwrap();
    code.iter()
        .filter(|t| t.is_string && sql.is_match(&t.text))
        .map(|t| t.line)
        .collect()
}

/// Calls with the member's name, the file's path from the root, and its code.
fn for_each_source(mut visit: impl FnMut(&str, &str, &[Token])) {
    let mut visited = 0;
    for member in members(&metadata()) {
        for path in sources(&member) {
            let source = std::fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let code = code(&source).unwrap_or_else(|e| panic!("{path} is not Rust: {e}"));
            visit(&member.name, &path, &code);
            visited += 1;
        }
    }
    assert!(visited > 30, "only {visited} source files were found");
}

#[test]
fn sql_is_known_when_seen() {
    let found =
        |literal: &str| !sql_lines(&code(&format!("fn f() {{ g({literal:?}) }}")).unwrap()).is_empty();
    for sql in [
        "SELECT id FROM tasks",
        "\n  update tasks\n set status = 'x'",
        "INSERT INTO tasks (id) VALUES ($1)",
        "WITH due AS (SELECT 1) SELECT 2",
        "create table x (y int)",
        "LISTEN longshore",
    ] {
        assert!(found(sql), "{sql}");
    }
    for prose in [
        "select one of these",
        "update the token in the configuration",
        "With a token as given",
        "listen on this address",
        "notify",
    ] {
        assert!(!found(prose), "{prose}");
    }
}
