//! What holds for any input: no panic, no dependence on how it was cut, bounded memory, real line numbers.

use pipelines::diagnose::{Class, Context, Diagnosis, Kind, Retry, RuleSet, Scanner, diagnose_bytes, render};
use proptest::prelude::*;

fn rules() -> &'static RuleSet {
    RuleSet::builtin().unwrap_or_else(|error| panic!("{error}"))
}

fn diagnose(log: impl AsRef<[u8]>) -> Diagnosis {
    diagnose_bytes(rules(), log.as_ref(), &Context::default())
}

fn fed_in(log: &[u8], piece: impl Fn(usize) -> usize) -> Diagnosis {
    let mut scanner = Scanner::new(rules());
    let (mut at, mut turn) = (0, 0);
    while at < log.len() {
        let end = (at + piece(turn).max(1)).min(log.len());
        scanner.feed(&log[at..end]);
        (at, turn) = (end, turn + 1);
    }
    scanner.finish(&Context::default())
}

/// Lines of the kinds that logs are made of, so that drawn logs reach the interesting paths.
fn log_line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"error[E0425]: cannot find value `x` in this scope".to_vec()),
        Just(b"\x1b[31mFAILED\x1b[0m tests/a.py::test_b - AssertionError".to_vec()),
        Just(b"2024-01-01T00:00:00.0000000Z ##[error]Process completed with exit code 1.".to_vec()),
        Just(b"The command \"make test\" exited with 2.".to_vec()),
        Just(b"fatal: unable to access 'https://x/': Empty reply from server\r".to_vec()),
        Just(b"Job succeeded".to_vec()),
        Just(b"progress 1%\rprogress 2%\rcurl: (6) Could not resolve host: x".to_vec()),
        Just(b"   = note: `-D clippy::all` implied by `-D warnings`".to_vec()),
        Just(vec![b'x'; 70_000]),
        prop::collection::vec(any::<u8>(), 0..200),
        "[ -~]{0,120}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_cut_of_the_input_does_not_matter(
        lines in prop::collection::vec(log_line(), 0..60),
        pieces in prop::collection::vec(1usize..90_000, 1..8),
    ) {
        let log = lines.join(&b'\n');
        prop_assert_eq!(fed_in(&log, |turn| pieces[turn % pieces.len()]), diagnose(&log));
    }

    #[test]
    fn any_bytes_get_an_answer_with_a_line_that_exists(log in prop::collection::vec(any::<u8>(), 0..5_000)) {
        let answer = diagnose(&log);
        prop_assert!((0.0..=1.0).contains(&answer.confidence));
        prop_assert!(answer.line.is_none_or(|line| line >= 1 && line <= answer.lines));
        prop_assert!(!render::text(&answer).is_empty());
    }
}

#[test]
fn nothing_says_that_the_cause_is_not_in_the_log() {
    let answer = diagnose("");
    assert_eq!(
        (answer.class, answer.line, answer.lines),
        (Class::Unknown, None, 0)
    );
    assert!(
        answer.why.starts_with("The cause is not in this log"),
        "{}",
        answer.why
    );
}

#[test]
fn a_failure_without_a_cause_is_unknown_at_its_last_word() {
    let answer = diagnose("$ ./check\nchecking\nERROR: Job failed: exit code 3\n");
    assert_eq!(
        (answer.class, answer.line, answer.exit_code),
        (Class::Unknown, Some(3), Some(3))
    );
    assert!(answer.why.contains("not in this log"), "{}", answer.why);
}

#[test]
fn a_job_that_says_it_succeeded_did() {
    let answer = diagnose("fatal: Authentication failed for 'https://x/'\nFinished: SUCCESS\n");
    assert_eq!(
        (answer.class, answer.kind(), answer.exit_code),
        (Class::Success, Kind::Passed, Some(0))
    );
}

#[test]
fn line_numbers_and_excerpt_are_those_of_the_file() {
    let mut log = "filler line\n".repeat(70_000);
    log.push_str("\x1b[1m2024-01-01T00:00:00Z before\x1b[0m\r\nE: Unable to locate package foo\nafter\n");
    let answer = diagnose(&log);
    assert_eq!((answer.class, answer.line), (Class::Dependency, Some(70_002)));
    assert_eq!(answer.excerpt_start, Some(69_998));
    let lines: Vec<&str> = answer.excerpt.lines().collect();
    assert_eq!(lines[3..], ["before", "E: Unable to locate package foo", "after"]);
    assert!(answer.why.contains("foo"), "{}", answer.why);
}

#[test]
fn a_line_of_50_mb_and_a_log_without_a_newline_are_read() {
    let mut log = vec![b'a'; 50_000_000];
    log.extend_from_slice(b"\nerror[E0425]: cannot find value `x` in this scope");
    let answer = diagnose(&log);
    assert_eq!(
        (answer.class, answer.line, answer.lines),
        (Class::CompileError, Some(2), 2)
    );
}

#[test]
fn a_progress_line_is_one_line() {
    let answer = diagnose("one\n 10%\r 20%\rcurl: (6) Could not resolve host: example.org\nthree\n");
    assert_eq!((answer.class, answer.line), (Class::Network, Some(2)));
}

#[test]
fn a_host_that_is_gone_is_not_worth_a_retry_and_a_reset_is() {
    let gone = diagnose(
        "[ERROR] Non-resolvable parent POM: Could not transfer artifact a:b:pom:1 from/to s (https://n.example.org/): n.example.org: Name or service not known\n",
    );
    assert_eq!((gone.class, gone.retry), (Class::Network, Retry::No));
    let reset = diagnose("npm ERR! code ECONNRESET\nnpm ERR! network read ECONNRESET\n");
    assert_eq!((reset.class, reset.retry), (Class::Network, Retry::Now));
    assert_eq!(reset.kind(), Kind::Infrastructure);
}

#[test]
fn the_json_has_the_promised_fields() {
    let json = serde_json::to_value(diagnose("error[E0425]: no\n")).unwrap();
    for field in ["class", "confidence", "line", "excerpt", "exit_code", "why"] {
        assert!(json.get(field).is_some(), "{field} is missing in {json}");
    }
    assert_eq!(json["class"], "compile_error");
}

#[test]
fn memory_does_not_grow_with_the_log() {
    let failures = "src/a.c:1:2: error: x\nFAILED tests/a.py::b - c\nplain output\n".repeat(1_000);
    // Mostly plain text, so that a debug build ends soon.
    let plain = vec![b'.'; failures.len() * 7];
    let mut scanner = Scanner::new(rules());
    let mut fed = 0;
    let mut after_first_part = None;
    while fed < 40_000_000 {
        scanner.feed(&plain);
        scanner.feed(failures.as_bytes());
        fed += plain.len() + failures.len();
        if fed > 10_000_000 {
            after_first_part.get_or_insert_with(resident);
        }
    }
    let grown = resident().saturating_sub(after_first_part.unwrap_or_default());
    assert_eq!(scanner.finish(&Context::default()).class, Class::CompileError);
    assert!(grown < 5_000_000, "grew by {grown} bytes over the last 30 MB");
    assert!(resident() < 100_000_000, "{} bytes in all", resident());
}

/// Resident bytes of this process, as the kernel counts them.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("a /proc file system");
    pages
        .split(' ')
        .nth(1)
        .and_then(|field| field.parse::<usize>().ok())
        .unwrap_or_default()
        * 4096
}
