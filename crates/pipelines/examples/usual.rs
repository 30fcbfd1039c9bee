//! Counts how usual each four bytes are in logs: `cargo run --release -p longshore-pipelines --example usual --
//! FOLDER… > crates/pipelines/rules/usual.txt`, where the folders hold logs.
//!
//! The share of a text is the greater of two: of all lines together, and the mean of the logs' own.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::process::ExitCode;

/// Lines of ten thousand.
const WHOLE: f64 = 10_000.0;
/// Texts that fewer lines hold are not worth avoiding.
const LEAST: f64 = 4.0;

#[derive(Default)]
struct Seen {
    lines: f64,
    /// The sum of the shares that the text has in each log.
    shares: f64,
}

fn main() -> ExitCode {
    let mut seen: HashMap<[u8; 4], Seen> = HashMap::new();
    let (mut logs, mut all_lines) = (0.0, 0.0);
    for folder in std::env::args_os().skip(1).map(PathBuf::from) {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                eprintln!("{}: {error}", folder.display());
                return ExitCode::FAILURE;
            }
        };
        for log in entries
            .flatten()
            .filter_map(|entry| std::fs::read(entry.path()).ok())
        {
            let lines = count(&log, &mut seen);
            logs += f64::from(u8::from(lines > 0.0));
            all_lines += lines;
        }
    }
    let mut by_share: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for (gram, seen) in seen {
        let share = WHOLE * f64::max(seen.lines / all_lines, seen.shares / logs);
        if share >= LEAST {
            // Two binary digits are exact enough to choose by.
            let share = share as u32;
            let least = share & (0b11 << (share.ilog2() - 1));
            by_share
                .entry(least)
                .or_default()
                .push(String::from_utf8_lossy(&gram).into_owned());
        }
    }
    for (share, mut grams) in by_share {
        // By the last character, so that no line of the file ends in a blank.
        grams.sort_by_key(|gram| gram.chars().rev().collect::<String>());
        println!("{share} {}", grams.concat());
    }
    ExitCode::SUCCESS
}

fn count(log: &[u8], seen: &mut HashMap<[u8; 4], Seen>) -> f64 {
    let lines = log.split(|byte| *byte == b'\n').count() as f64;
    for line in log.split(|byte| *byte == b'\n') {
        let grams: HashSet<[u8; 4]> = line.array_windows().copied().collect();
        for gram in grams
            .iter()
            .filter(|gram| gram.iter().all(|byte| (b' '..=b'~').contains(byte)))
        {
            let seen = seen.entry(*gram).or_default();
            seen.lines += 1.0;
            seen.shares += 1.0 / lines;
        }
    }
    lines
}
