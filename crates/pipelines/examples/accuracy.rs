//! Measures the diagnosis on labelled logs: `cargo run --release -p longshore-pipelines --example accuracy -- DIR`.
//!
//! DIR holds `labels.csv` (file, label, evidence_line) and the logs in `raw/`, or beside it. `--rules FOLDER` takes
//! the rule files from there instead of those compiled in.

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
    let mut dirs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let own = (dirs.len() > 2 && dirs[0].as_os_str() == "--rules").then(|| dirs.drain(..2).nth(1));
    if dirs.is_empty() {
        eprintln!(
            "usage: accuracy [--rules FOLDER] DIR…   (each a folder with labels.csv and the logs in raw/)"
        );
        return ExitCode::from(2);
    }
    let rules = match own.flatten() {
        Some(folder) => read_rules(&folder).map(|rules| &*Box::leak(Box::new(rules))),
        None => RuleSet::builtin().map_err(ToString::to_string),
    };
    let rules = match rules {
        Ok(rules) => rules,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::FAILURE;
        }
    };
    for dir in dirs {
        match cases(rules, &dir) {
            Ok(cases) => report(&dir, &cases),
            Err(problem) => {
                eprintln!("{}: {problem}", dir.display());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn read_rules(folder: &Path) -> Result<RuleSet, String> {
    let mut files = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text =
                std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            files.push((path.display().to_string(), text));
        }
    }
    files.sort();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let rules = RuleSet::from_files(&files).map_err(|error| error.to_string())?;
    rules.check().map_err(|error| error.to_string())?;
    Ok(rules)
}

fn cases(rules: &RuleSet, dir: &Path) -> Result<Vec<Case>, String> {
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
    println!("\n  confidence      logs                 class right");
    for (low, high) in [(0.9, 1.01), (0.8, 0.9), (0.7, 0.8), (0.5, 0.7), (0.0, 0.5)] {
        let band: Vec<&Case> = cases
            .iter()
            .filter(|case| (low..high).contains(&case.answer.confidence))
            .collect();
        println!(
            "  {low:.1} to {:.1}      {}   {}",
            f64::min(high, 1.0),
            share(band.len(), cases.len()),
            share(band.iter().filter(|case| right(case)).count(), band.len())
        );
    }
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
