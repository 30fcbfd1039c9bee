//! Commands as checks: what they are given, what is left of them, and what is told.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use adapter_monitor::{CommandConfig, ProbeConfig};
use domain::{Error, ErrorKind};
use ports::{Check, Probe, Seen};
use rustix::process::{Pid, test_kill_process};
use tokio::time::timeout;

use super::{TIMEOUT, probes};

pub fn shell(script: &str) -> CommandConfig {
    let mut config = CommandConfig::new("/bin/sh".into());
    config.args = vec!["-c".to_owned(), script.to_owned()];
    config
}

fn check(values: &[(&str, &str)], limit: Option<Duration>) -> Check {
    let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Check::Command {
        name: "smoke".to_owned(),
        values: values.iter().map(own).collect(),
        timeout: limit,
    }
}

async fn run(config: CommandConfig, check: &Check) -> Result<Seen, Error> {
    let commands = BTreeMap::from([("smoke".to_owned(), config)]);
    let probes = probes(&ProbeConfig {
        commands,
        ..ProbeConfig::default()
    });
    probes.check(check).await
}

/// Waits until the file that a script writes is there with a line in it.
async fn written(file: &Path) -> String {
    let there = async {
        loop {
            match std::fs::read_to_string(file) {
                Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                _ => tokio::task::yield_now().await,
            }
        }
    };
    timeout(TIMEOUT, there).await.expect("it is written")
}

/// Waits until there is no such process any more.
async fn gone(pid: &str) {
    let pid = Pid::from_raw(pid.parse().expect("a number")).expect("a process");
    let gone = async {
        while test_kill_process(pid).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, gone).await.expect("it ends");
}

#[tokio::test]
async fn it_is_told_what_is_checked_and_nothing_of_the_worker() {
    let mut config =
        shell("echo \"$LONGSHORE_VERSION at $BASE as ${CARGO_MANIFEST_DIR:-nobody}\"; command -v cat");
    config
        .env
        .insert("BASE".to_owned(), "https://shop.example".into());
    let version = "v2; rm -rf / $(id)";
    let seen = run(config, &check(&[("LONGSHORE_VERSION", version)], None))
        .await
        .expect("runs");
    assert!(seen.well, "{seen:?}");
    assert!(
        seen.what.contains("v2; rm -rf / $(id) at [secret] as nobody | /"),
        "{seen:?}"
    );
}

#[tokio::test]
async fn both_of_its_outputs_stand_in_their_order() {
    let seen = run(
        shell("echo one; echo two >&2; echo three; exit 7"),
        &check(&[], None),
    )
    .await;
    let seen = seen.expect("runs");
    assert!(!seen.well && seen.what.starts_with("exit code 7 in "), "{seen:?}");
    assert!(seen.what.ends_with(": one | two | three"), "{seen:?}");
}

#[tokio::test]
async fn what_it_writes_is_read_to_the_end_and_kept_only_in_part() {
    let script = "i=0; while [ $i -lt 20000 ]; do echo \"line $i of a long report\"; i=$((i+1)); done";
    let seen = run(shell(script), &check(&[], Some(TIMEOUT)))
        .await
        .expect("runs");
    assert!(
        seen.well && seen.what.ends_with("line 19999 of a long report"),
        "{seen:?}"
    );
    assert!(seen.what.len() < 1100, "{}", seen.what.len());
}

#[tokio::test]
async fn at_its_time_limit_it_ends_with_all_that_it_started() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = shell("sleep 600 & echo $! > pid; echo waiting; wait");
    config.folder = Some(folder.path().to_owned());
    let limit = Duration::from_millis(400);
    let seen = run(config, &check(&[], Some(limit))).await.expect("runs");
    assert_eq!(
        (seen.well, seen.what.as_str()),
        (false, "not done within 400 ms: waiting")
    );
    gone(&written(&folder.path().join("pid")).await).await;
}

#[tokio::test]
async fn what_it_leaves_running_ends_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = shell("sleep 600 & echo $! > pid; echo done");
    config.folder = Some(folder.path().to_owned());
    let seen = run(config, &check(&[], Some(TIMEOUT))).await.expect("runs");
    assert!(seen.well && seen.what.ends_with(": done"), "{seen:?}");
    gone(&written(&folder.path().join("pid")).await).await;
}

#[tokio::test]
async fn a_look_that_is_given_up_ends_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = shell("sleep 600 & echo $! > pid; wait");
    config.folder = Some(folder.path().to_owned());
    let file = folder.path().join("pid");
    let look = tokio::spawn(async move { run(config, &check(&[], None)).await });
    let pid = written(&file).await;
    look.abort();
    gone(&pid).await;
}

#[tokio::test]
async fn one_that_cannot_be_started_is_no_verdict_on_the_version() {
    let missing = CommandConfig::new("/nowhere/smoke.sh".into());
    let mut misplaced = shell("true");
    misplaced.folder = Some("/nowhere".into());
    for config in [missing, misplaced] {
        let error = run(config, &check(&[], None))
            .await
            .expect_err("cannot be started");
        assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
        assert!(
            error
                .to_string()
                .contains("the command `smoke` could not be started"),
            "{error}"
        );
    }
    let error = run(shell("true"), &check(&[("LONGSHORE_VERSION", "a\0b")], None)).await;
    assert_eq!(
        error.expect_err("no process can be told").kind,
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn one_that_a_signal_ends_is_not_well() {
    let seen = run(shell("kill -9 $$"), &check(&[], None)).await.expect("runs");
    assert!(
        !seen.well && seen.what.starts_with("ended by signal 9"),
        "{seen:?}"
    );
}
