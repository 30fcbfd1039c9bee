//! How many megabytes of log one core diagnoses in a second, beside what the memory and the bare search allow, and
//! on the best and the worst of logs. Of each measurement it prints the best round and the median one.
//!
//! `cargo bench -p longshore-pipelines --bench diagnose`

#![expect(clippy::disallowed_methods, reason = "a benchmark measures with a stopwatch")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use pipelines::diagnose::{Context, RuleSet, diagnose_bytes};

/// Each measurement repeats for this long. Other work only slows a round down, so the best shows the engine.
const MEASURE: Duration = Duration::from_secs(5);
/// Thread time of one round.
const ROUND: Duration = Duration::from_millis(200);

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

    report("counting newlines (memory limit)", all.len(), || {
        memchr::memchr_iter(b'\n', black_box(&all)).count()
    });
    report("looking for literals (engine limit)", all.len(), || {
        rules.count_literals(black_box(&all))
    });
    let whole = |log: &[u8]| diagnose_bytes(rules, black_box(log), &Context::default()).lines as usize;
    report("diagnosis of all logs as one", all.len(), || whole(&all));
    report("diagnosis of each log on its own", all.len(), || {
        logs.iter().map(|(_, log)| whole(log)).sum()
    });
    let lines = |wanted: bool| -> Vec<u8> {
        all.split_inclusive(|byte| *byte == b'\n')
            .filter(|line| rules.recognise(&String::from_utf8_lossy(line)).is_empty() != wanted)
            .flatten()
            .copied()
            .collect()
    };
    let (ordinary, failing) = (lines(false), lines(true));
    report("lines that no rule or mark knows", ordinary.len(), || {
        whole(&ordinary)
    });
    let failing = failing.repeat(all.len() / failing.len());
    report("lines that one knows, alone (worst)", failing.len(), || {
        whole(&failing)
    });
    if std::env::args().any(|argument| argument == "--each") {
        for (name, log) in &logs {
            let (best, _) = rate(log.len(), || whole(log));
            println!("    {best:6.0} MB/s  {:7} bytes  {name}", log.len());
        }
    }
}

fn report(what: &str, bytes: usize, run: impl FnMut() -> usize) {
    let (best, median) = rate(bytes, run);
    println!("  {what:36} {best:8.0} MB/s, median {median:8.0}");
}

/// The best and the median rate of repeated rounds, in MB (10^6 bytes) for a second of one core. The kernel counts a
/// thread's time in ticks of some milliseconds, so a round runs the same work until it has taken many of them.
fn rate(bytes: usize, mut run: impl FnMut() -> usize) -> (f64, f64) {
    let begun = Instant::now();
    let mut rounds = Vec::new();
    while begun.elapsed() < MEASURE || rounds.is_empty() {
        let (from, round) = (on_core(), Instant::now());
        let mut runs = 0;
        let spent = loop {
            black_box(run());
            runs += 1;
            let spent = match from.zip(on_core()) {
                Some((from, to)) => Duration::from_nanos(to - from),
                None => round.elapsed(),
            };
            if spent >= ROUND {
                break spent;
            }
        };
        rounds.push(spent.as_secs_f64() / f64::from(runs));
    }
    rounds.sort_by(f64::total_cmp);
    let speed = |seconds: f64| bytes as f64 / 1e6 / seconds;
    (speed(rounds[0]), speed(rounds[rounds.len() / 2]))
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
