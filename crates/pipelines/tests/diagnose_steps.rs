//! Alarms before the failing command: what ran before a command that would not have run had it failed explains nothing.

use pipelines::diagnose::{Class, Context, Diagnosis, RuleSet, diagnose_bytes};

fn diagnosed(log: &str) -> Diagnosis {
    let rules = RuleSet::builtin().unwrap_or_else(|error| panic!("{error}"));
    diagnose_bytes(rules, log.as_bytes(), &Context::default())
}

#[test]
fn a_scripts_next_command_clears_what_the_one_before_it_printed() {
    let log = "\x1b[32;1m$ ./wait\x1b[0;m\nconnect to app:9999: Connection refused\n\
               \x1b[32;1m$ ./deploy\x1b[0;m\nstep one\n\x1b[31;1mERROR: Job failed: exit code 3\x1b[0;m\n";
    assert_eq!(diagnosed(log).class, Class::Unknown);
    let uncoloured = log.replace("\x1b[32;1m$ ./deploy", "$ ./deploy");
    assert_eq!(diagnosed(&uncoloured).class, Class::ServiceUnavailable);
}

#[test]
fn a_command_that_follows_without_saying_so_only_weakens() {
    let log = "[Pipeline] sh\n+ ./wait\nconnect to db:5432: Connection refused\n[Pipeline] sh\n+ ./run\n{}ERROR: script returned exit code 1\nFinished: FAILURE\n";
    let alone = diagnosed(&log.replace("{}", ""));
    assert_eq!((alone.class, alone.line), (Class::ServiceUnavailable, Some(3)));
    let told = diagnosed(&log.replace("{}", "src/a.c:3:4: error: expected ';'\n"));
    assert_eq!((told.class, told.line), (Class::CompileError, Some(6)));
}

#[test]
fn quoted_words_and_failures_that_were_put_up_with_yield() {
    let log = "- fix: Segmentation fault when the index is empty\nHEAD is now at 1f2e3d4 No space left on device\n\
               ERROR: permission denied: /etc/x (ignored)\nFAILED tests/test_a.py::test_b - assert 1 == 2\n";
    let diagnosis = diagnosed(log);
    assert_eq!((diagnosis.class, diagnosis.line), (Class::TestFailure, Some(4)));
}

#[test]
fn prefixes_of_servers_are_no_part_of_the_line() {
    let line = "src/a.c:3:4: error: expected ';'";
    for prefix in [
        "[10:12:31]W:\t [Step 2/3] ",
        "build\t27-Jan-2024 13:56:02\t",
        "Step #1 - \"cc\": ",
    ] {
        let diagnosis = diagnosed(&format!("{prefix}{line}\n"));
        assert_eq!(diagnosis.class, Class::CompileError, "{prefix}");
        assert!(diagnosis.why.contains("src/a.c line 3"), "{}", diagnosis.why);
    }
}

#[test]
fn a_failure_that_no_rule_knows_is_guessed_by_its_command_and_shown_by_its_last_complaint() {
    let log = "##[group]Run npm run lint\n##[endgroup]\nx: 3 files\nerror: the frobnicator is upside down\n\
               ##[error]Process completed with exit code 1.\nPost job cleanup.\nerror: nothing to clean\n";
    let diagnosis = diagnosed(log);
    assert_eq!((diagnosis.class, diagnosis.line), (Class::Lint, Some(4)));
    assert!(diagnosis.confidence < 0.5, "{}", diagnosis.confidence);
    let other = diagnosed(&log.replace("npm run lint", "./go.sh"));
    assert_eq!((other.class, other.line), (Class::Unknown, Some(4)));
}
