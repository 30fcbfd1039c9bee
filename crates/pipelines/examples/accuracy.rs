//! Measures the diagnosis on labelled logs: `cargo run --release -p longshore-pipelines --example accuracy -- DIR`.
//!
//! DIR holds `labels.csv` (file, label, evidence_line) and the logs in `raw/`, or beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pipelines::diagnose::{Class, Context, Diagnosis, RuleSet, diagnose_bytes};

struct Case {
    file: String,
    label: Class,
    line: Option<u64>,
    answer: Diagnosis,
}

fn main() -> ExitCode {
    let dirs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if dirs.is_empty() {
        eprintln!("usage: accuracy DIR…   (a folder with labels.csv and the logs in raw/)");
        return ExitCode::from(2);
    }
    for dir in dirs {
        match cases(&dir) {
            Ok(cases) => report(&dir, &cases),
            Err(problem) => {
                eprintln!("{}: {problem}", dir.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn cases(dir: &Path) -> Result<Vec<Case>, String> {
    let rules = RuleSet::builtin().map_err(|error| format!("{error}"))?;
    let table =
        std::fs::read_to_string(dir.join("labels.csv")).map_err(|error| format!("labels.csv: {error}"))?;
    let mut rows = table.lines();
    let header = fields(rows.next().unwrap_or_default());
    let column = |name: &str| {
        header
            .iter()
            .position(|field| field == name)
            .ok_or(format!("no column {name}"))
    };
    let (file_at, label_at, line_at) = (column("file")?, column("label")?, column("evidence_line")?);
    let mut cases = Vec::new();
    for row in rows.filter(|row| !row.is_empty()) {
        let row = fields(row);
        let field = |at: usize| row.get(at).cloned().unwrap_or_default();
        let file = field(file_at);
        let raw = dir.join("raw").join(&file);
        let path = if raw.exists() { raw } else { dir.join(&file) };
        let log = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let label =
            Class::parse(&field(label_at)).ok_or(format!("{file}: no such class {}", field(label_at)))?;
        let answer = diagnose_bytes(rules, &log, &Context::default());
        cases.push(Case {
            file,
            label,
            line: field(line_at).parse().ok(),
            answer,
        });
    }
    Ok(cases)
}

/// The fields of one line of CSV; quotes protect commas, a doubled quote stands for one.
fn fields(row: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    let mut chars = row.chars().peekable();
    while let Some(ch) = chars.next() {
        match ch {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                all.last_mut().into_iter().for_each(|field| field.push('"'));
            }
            '"' => quoted = !quoted,
            ',' if !quoted => all.push(String::new()),
            _ => all.last_mut().into_iter().for_each(|field| field.push(ch)),
        }
    }
    all
}

fn near(case: &Case) -> bool {
    case.line.is_none()
        || case
            .line
            .zip(case.answer.line)
            .is_some_and(|(want, got)| want.abs_diff(got) <= 3)
}

fn share(part: usize, whole: usize) -> String {
    let percent = if whole == 0 {
        0.0
    } else {
        100.0 * part as f64 / whole as f64
    };
    format!("{part:3} of {whole:3}  {percent:5.1} %")
}

fn report(dir: &Path, cases: &[Case]) {
    println!("{}: {} logs", dir.display(), cases.len());
    let right = |case: &&Case| case.answer.class == case.label;
    println!(
        "  class right            {}",
        share(cases.iter().filter(right).count(), cases.len())
    );
    println!(
        "  line within 3          {}",
        share(cases.iter().filter(|case| near(case)).count(), cases.len())
    );
    let sure: Vec<&Case> = cases
        .iter()
        .filter(|case| case.answer.confidence >= 0.9)
        .collect();
    println!("  confidence 0.9 or more {}", share(sure.len(), cases.len()));
    println!(
        "    of these right       {}",
        share(sure.iter().filter(|case| right(case)).count(), sure.len())
    );
    println!(
        "\n  {:24} {:>5} {:>9} {:>7}",
        "class", "logs", "precision", "recall"
    );
    let mut table: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for case in cases {
        table.entry(case.label.name()).or_default().0 += 1;
        table.entry(case.answer.class.name()).or_default().1 += 1;
        if right(&case) {
            table.entry(case.label.name()).or_default().2 += 1;
        }
    }
    for (class, (logs, answered, right)) in table {
        let percent = |whole: usize| {
            (100 * right)
                .checked_div(whole)
                .map_or_else(|| "-".to_owned(), |part| format!("{part} %"))
        };
        println!(
            "  {class:24} {logs:5} {:>9} {:>7}",
            percent(answered),
            percent(logs)
        );
    }
    println!();
    for case in cases {
        if !right(&case) || !near(case) {
            let what = if right(&case) { "line " } else { "class" };
            println!(
                "  {what} {}: want {} at {:?}, got {} at {:?} by {} ({:.2})",
                case.file,
                case.label.name(),
                case.line.unwrap_or_default(),
                case.answer.class.name(),
                case.answer.line.unwrap_or_default(),
                case.answer.rule.as_deref().unwrap_or("no rule"),
                case.answer.confidence
            );
        }
    }
}
