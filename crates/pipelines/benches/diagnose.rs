//! How many megabytes of log one core diagnoses in a second, beside what the memory and the bare automaton allow.
//!
//! `cargo bench -p longshore-pipelines --bench diagnose`

#![expect(clippy::disallowed_methods, reason = "a benchmark measures with a stopwatch")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pipelines::diagnose::{Context, RuleSet, diagnose_bytes};

/// Each measurement repeats for this long; the best round counts, since other work only slows a round down.
const MEASURE: Duration = Duration::from_secs(3);

fn main() {
    let folder = shared().join("ci-logs/raw");
    let mut logs: Vec<(String, Vec<u8>)> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("the logs are expected in {}: {error}", folder.display()))
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                std::fs::read(entry.path()).unwrap(),
            )
        })
        .collect();
    logs.sort();
    let all: Vec<u8> = logs.iter().flat_map(|(_, log)| log.iter().copied()).collect();
    let started = Instant::now();
    let rules = RuleSet::builtin().unwrap();
    println!(
        "{} rules compiled in {:.1} ms",
        rules.rules().len(),
        started.elapsed().as_secs_f64() * 1e3
    );
    println!("{} logs, {:.1} MB", logs.len(), all.len() as f64 / 1e6);

    let newlines = rate(all.len(), || memchr::memchr_iter(b'\n', black_box(&all)).count());
    println!("  counting newlines (memory limit)    {newlines:8.0} MB/s");
    let pass = rate(all.len(), || rules.count_literals(black_box(&all)));
    println!("  looking for literals (engine limit) {pass:8.0} MB/s");
    let whole = rate(all.len(), || {
        diagnose_bytes(rules, black_box(&all), &Context::default()).lines as usize
    });
    println!("  diagnosis of all logs as one        {whole:8.0} MB/s");
    let each = rate(all.len(), || {
        logs.iter()
            .map(|(_, log)| diagnose_bytes(rules, black_box(log), &Context::default()).lines as usize)
            .sum()
    });
    println!("  diagnosis of each log on its own    {each:8.0} MB/s");
    if std::env::args().any(|argument| argument == "--each") {
        for (name, log) in &logs {
            let speed = rate(log.len(), || {
                diagnose_bytes(rules, black_box(log), &Context::default()).lines as usize
            });
            println!("    {speed:6.0} MB/s  {:7} bytes  {name}", log.len());
        }
    }
}

/// The best rate of repeated runs, in MB (10^6 bytes) for a second of one core.
fn rate(bytes: usize, mut run: impl FnMut() -> usize) -> f64 {
    let begun = Instant::now();
    let mut best = f64::MAX;
    while begun.elapsed() < MEASURE || best == f64::MAX {
        let (from, round) = (on_core(), Instant::now());
        black_box(run());
        let wall = round.elapsed().as_secs_f64();
        // A round shorter than the kernel's own accounting is timed by the wall clock.
        let spent = match from.zip(on_core()) {
            Some((from, to)) if to - from > 1_000_000 => (to - from) as f64 / 1e9,
            _ => wall,
        };
        best = best.min(spent.min(wall));
    }
    bytes as f64 / 1e6 / best
}

/// Nanoseconds that this thread has run on a core, as the kernel counts them: other work on a busy machine
/// then does not count. `None` where the kernel does not say.
fn on_core() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}

fn shared() -> PathBuf {
    std::env::var_os("LONGSHORE_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    )
}
