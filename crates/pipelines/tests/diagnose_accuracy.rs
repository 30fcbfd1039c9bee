//! The engine's promise on labelled logs: the class right for 90 of 100, the deciding line within three for 85.

use std::path::{Path, PathBuf};

use pipelines::diagnose::{Class, Context, Diagnosis, RuleSet, diagnose_bytes};

struct Case {
    file: String,
    label: Class,
    line: Option<u64>,
    answer: Diagnosis,
}

fn shared() -> PathBuf {
    std::env::var_os("LONGSHORE_SHARED").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    )
}

fn cases(labels: &Path, logs: &Path) -> Vec<Case> {
    let rules = RuleSet::builtin().unwrap_or_else(|error| panic!("{error}"));
    let table = std::fs::read_to_string(labels)
        .unwrap_or_else(|error| panic!("the labelled logs are expected at {}: {error}", labels.display()));
    let mut rows = table.lines();
    let header: Vec<&str> = rows.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| {
        header
            .iter()
            .position(|field| *field == name)
            .expect("a column of that name")
    };
    rows.map(|row| {
        let fields = fields(row);
        let file = fields[column("file")].clone();
        let log = std::fs::read(logs.join(&file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        Case {
            label: Class::parse(&fields[column("label")]).expect("a known class"),
            line: fields[column("evidence_line")].parse().ok(),
            answer: diagnose_bytes(rules, &log, &Context::default()),
            file,
        }
    })
    .collect()
}

/// The fields of one row of CSV; quotes protect commas.
fn fields(row: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    for ch in row.chars() {
        match ch {
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(String::new()),
            _ => all.last_mut().expect("one field at least").push(ch),
        }
    }
    all
}

fn assert_promise(cases: &[Case], class_share: f64, line_share: f64) {
    let wrong: Vec<String> = cases
        .iter()
        .filter(|case| case.answer.class != case.label)
        .map(|case| {
            format!(
                "{}: {} for {}",
                case.file,
                case.answer.class.name(),
                case.label.name()
            )
        })
        .collect();
    let far: Vec<String> = cases
        .iter()
        .filter(|case| {
            case.line
                .is_some_and(|want| case.answer.line.is_none_or(|got| got.abs_diff(want) > 3))
        })
        .map(|case| format!("{}: {:?} for {:?}", case.file, case.answer.line, case.line))
        .collect();
    let total = cases.len() as f64;
    assert!(
        1.0 - wrong.len() as f64 / total >= class_share,
        "classes:\n{}",
        wrong.join("\n")
    );
    assert!(
        1.0 - far.len() as f64 / total >= line_share,
        "lines:\n{}",
        far.join("\n")
    );
}

#[test]
fn on_the_shared_logs_class_and_line_are_right_as_promised() {
    let folder = shared().join("ci-logs");
    let cases = cases(&folder.join("labels.csv"), &folder.join("raw"));
    assert!(cases.len() >= 50, "only {} logs", cases.len());
    assert_promise(&cases, 0.90, 0.85);
}

#[test]
fn on_our_own_corpus_too() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let cases = cases(&folder.join("labels.csv"), &folder);
    assert!(cases.len() >= 80, "only {} logs", cases.len());
    assert_promise(&cases, 0.90, 0.85);
}

#[test]
fn on_logs_that_the_rules_were_not_written_for_too() {
    for set in ["first", "second", "third", "fourth", "fifth"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/heldout")
            .join(set);
        let cases = cases(&folder.join("labels.csv"), &folder);
        assert!(cases.len() >= 24, "only {} logs", cases.len());
        assert_promise(&cases, 0.90, 0.85);
        assert_sure(&cases, set);
    }
}

#[test]
fn sure_answers_are_right_and_most_answers_are_sure() {
    let shared = shared().join("ci-logs");
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut all = cases(&shared.join("labels.csv"), &shared.join("raw"));
    all.extend(cases(&own.join("labels.csv"), &own));
    assert_sure(&all, "all");
}

/// Of the answers at 0.9 or more nine in ten are right, and six in ten answers are that sure.
fn assert_sure(all: &[Case], set: &str) {
    let sure: Vec<&Case> = all.iter().filter(|case| case.answer.confidence >= 0.9).collect();
    let right = sure.iter().filter(|case| case.answer.class == case.label).count();
    assert!(
        right * 10 >= sure.len() * 9,
        "{set}: of {} sure answers {right} are right",
        sure.len()
    );
    assert!(
        sure.len() * 10 >= all.len() * 6,
        "{set}: {} of {} answers are sure",
        sure.len(),
        all.len()
    );
}
