//! Migrations expand: what a worker of the previous version uses stays as it is until nobody runs that any more. What
//! contracts all the same stands in migrations/exceptions.toml, with the reason why it may.

use std::collections::BTreeSet;
use std::fs;

use regex::Regex;
use toml::Table;

use crate::workspace::root;

struct Rule {
    pattern: &'static str,
    why: &'static str,
}

/// Matched with a statement in upper case, its comments and texts left out and its spaces single.
const RULES: &[Rule] = &[
    Rule {
        pattern: r"\bDROP (TABLE|VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|TYPE|DOMAIN|SCHEMA|SEQUENCE|TRIGGER)\b",
        why: "the previous version uses it",
    },
    Rule {
        pattern: r"\bALTER [A-Z ]+\b.*\bRENAME\b",
        why: "the previous version knows the old name alone",
    },
    Rule {
        pattern: r"\bSET NOT NULL\b",
        why: "the previous version may write NULL",
    },
    Rule {
        pattern: r"\bALTER TABLE\b.*\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b",
        why: "the previous version reads and writes the old type",
    },
    Rule {
        pattern: r"\bALTER TABLE\b.*\bADD (CONSTRAINT|CHECK|UNIQUE|PRIMARY|FOREIGN|EXCLUDE)\b",
        why: "the previous version may write what it refuses",
    },
    Rule {
        pattern: r"\bCREATE UNIQUE INDEX\b",
        why: "the previous version may write what it refuses",
    },
    Rule {
        pattern: r"\b(TRUNCATE|REVOKE)\b",
        why: "the previous version needs what it takes away",
    },
];

/// SQL without comments and without what stands in single quotes; function bodies stay.
fn bare(sql: &str) -> String {
    let noise = Regex::new(r"(?s)--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'").unwrap();
    noise.replace_all(sql, " ").to_uppercase()
}

fn statements(sql: &str) -> Vec<String> {
    let spaced = |statement: &str| statement.split_whitespace().collect::<Vec<_>>().join(" ");
    bare(sql)
        .split(';')
        .map(spaced)
        .filter(|statement| !statement.is_empty())
        .collect()
}

/// The table that a statement is about, without quotes.
fn table(statement: &str) -> Option<String> {
    let named = Regex::new(
        r"(?:ALTER TABLE(?: IF EXISTS)?(?: ONLY)?|CREATE TABLE(?: IF NOT EXISTS)?|CREATE UNIQUE INDEX.* ON(?: ONLY)?) ([^\s(]+)",
    )
    .unwrap();
    Some(named.captures(statement)?[1].replace('"', ""))
}

/// Statements of one migration that contract, each with the reason against it.
fn contracting(sql: &str) -> Vec<(String, &'static str)> {
    let statements = statements(sql);
    // Nobody else knows a table that this migration makes.
    let made: BTreeSet<_> = statements
        .iter()
        .filter(|statement| statement.contains("CREATE TABLE"))
        .filter_map(|statement| table(statement))
        .collect();
    let mut found = Vec::new();
    for statement in &statements {
        if table(statement).is_some_and(|table| made.contains(&table)) {
            continue;
        }
        let broken = RULES
            .iter()
            .find(|rule| Regex::new(rule.pattern).unwrap().is_match(statement));
        let why = broken.map(|rule| rule.why).or_else(|| column_rule(statement));
        found.extend(why.map(|why| (statement.clone(), why)));
    }
    found
}

/// What takes a look at each part of an ALTER TABLE.
fn column_rule(statement: &str) -> Option<&'static str> {
    let (_, parts) = statement.split_once("ALTER TABLE ")?;
    let dropped = Regex::new(r"\bDROP (\S+)").unwrap();
    let harmless = ["CONSTRAINT", "NOT"];
    if dropped
        .captures_iter(parts)
        .any(|found| !harmless.contains(&&found[1]))
    {
        return Some("the previous version reads the column, or leaves it to its default");
    }
    let unfilled = |part: &str| {
        part.contains(" NOT NULL") && !part.contains(" DEFAULT ") && !part.contains(" GENERATED ")
    };
    let added = parts.split(" ADD ").skip(1).any(unfilled);
    added.then_some("the previous version does not fill the column")
}

#[test]
fn migrations_only_expand() {
    let folder = root().join("migrations");
    let text = fs::read_to_string(folder.join("exceptions.toml")).unwrap();
    let listed: Table = text.parse().expect("exceptions.toml is TOML");
    let mut unused: Vec<(String, String)> = Vec::new();
    for exception in listed["allowed"].as_array().expect("a list of what is allowed") {
        let of = |key: &str| {
            exception[key]
                .as_str()
                .unwrap_or_else(|| panic!("{key} of {exception}"))
                .to_owned()
        };
        assert!(of("why").len() > 20, "say why: {exception}");
        unused.push((of("migration"), statements(&of("statement")).concat()));
    }
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".sql"))
        .collect();
    files.sort();
    assert!(files.len() > 5, "{files:?}");
    let mut wrong = Vec::new();
    // The first one has nothing before it.
    for file in &files[1..] {
        for (statement, why) in contracting(&fs::read_to_string(folder.join(file)).unwrap()) {
            let exception = (file.clone(), statement.clone());
            match unused.iter().position(|listed| *listed == exception) {
                Some(place) => drop(unused.remove(place)),
                None => wrong.push(format!("{file}: {statement}\n    {why}")),
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "these contract; expand now and contract a version later, or list them in migrations/exceptions.toml:\n{}",
        wrong.join("\n")
    );
    assert!(
        unused.is_empty(),
        "exceptions that no migration needs: {unused:#?}"
    );
}

#[test]
fn what_takes_something_away_is_seen_however_it_is_written() {
    for sql in [
        "ALTER TABLE tasks DROP COLUMN wait",
        "alter table only public.tasks\n  drop wait;",
        "ALTER TABLE tasks ADD COLUMN a int, DROP IF EXISTS wait",
        "ALTER TABLE tasks ALTER COLUMN wait DROP DEFAULT",
        "DROP TABLE longshore.signals",
        "DO $$ BEGIN DROP FUNCTION longshore.now(); END $$",
        "ALTER TABLE tasks RENAME wait TO waits",
        "ALTER TABLE tasks RENAME TO jobs",
        "ALTER INDEX a RENAME TO b",
        "ALTER TABLE tasks ALTER wait SET NOT NULL",
        "ALTER TABLE tasks ADD COLUMN a int NOT NULL",
        "ALTER TABLE tasks ADD COLUMN a int NOT NULL, ADD COLUMN b int DEFAULT 1",
        "ALTER TABLE tasks ALTER COLUMN attempt TYPE int",
        "ALTER TABLE tasks ALTER attempt SET DATA TYPE int",
        "ALTER TABLE tasks ADD CONSTRAINT c CHECK (attempt > 0) NOT VALID",
        "CREATE UNIQUE INDEX ON tasks (dedupe_key)",
        "REVOKE INSERT ON tasks FROM PUBLIC",
        "/* a */ TRUNCATE -- b\n tasks",
        "CREATE TABLE a (i int); ALTER TABLE b DROP COLUMN c",
    ] {
        assert_eq!(contracting(sql).len(), 1, "{sql}");
    }
}

#[test]
fn what_only_adds_is_let_through() {
    for sql in [
        "ALTER TABLE tasks ADD COLUMN a int NOT NULL DEFAULT 1, ADD COLUMN b text",
        "ALTER TABLE tasks ADD COLUMN live text GENERATED ALWAYS AS (CASE WHEN a THEN b END) STORED",
        "ALTER TABLE tasks ALTER COLUMN wait DROP NOT NULL",
        "ALTER TABLE tasks DROP CONSTRAINT tasks_status_check",
        "DROP INDEX longshore.tasks_pending; CREATE INDEX ON tasks (priority)",
        "CREATE TABLE a (i int NOT NULL CHECK (i > 0)); CREATE UNIQUE INDEX ON a (i); ALTER TABLE a ADD CHECK (i < 9)",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$",
        "-- ALTER TABLE tasks DROP COLUMN wait\nSELECT 'DROP TABLE tasks'",
        "COMMENT ON TABLE tasks IS 'It''s; DROP TABLE tasks'",
    ] {
        assert_eq!(contracting(sql), [], "{sql}");
    }
}
