//! SIGTERM and Ctrl-C, and the exit codes that docs/operations.md lists.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::mpsc;

use testkit::peer::{Fault, Phase, When};

use crate::bench::{Bench, LONG};
use crate::worker::Process;

const STOPPING: &str = "Stopping: waiting for running tasks";

/// A worker with this grace that reads the first build's log, and gets it when the answer's sender goes.
async fn reading(bench: &Bench, grace: &str) -> (Process, mpsc::Sender<()>) {
    let (let_go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    bench.gitlab.on_request(move |request, phase| {
        if phase == Phase::Arrived && request.path.ends_with("/trace") {
            let wait = wait.lock().expect("nobody panics here").take();
            // Ends when the sender goes.
            wait.map(|wait| wait.recv());
        }
    });
    let worker = bench.worker(&[
        ("LONGSHORE_WORKER_LEASE", LONG),
        ("LONGSHORE_WORKER_GRACE", grace),
        ("LONGSHORE_GITLAB_TIMEOUT", "10m"),
    ]);
    bench.until_reading().await;
    (worker, let_go)
}

async fn until_said(bench: &Bench, process: &Process, words: &str) {
    bench
        .until(&format!("it says {words:?}"), async || {
            process.said().contains(words)
        })
        .await;
}

/// Nothing is left to the end of a lease, and nobody is blamed for a crash.
async fn assert_released(bench: &Bench, worker: &Process) {
    let owned = bench
        .value("SELECT count(*) FROM tasks WHERE worker_id IS NOT NULL OR crashes > 0")
        .await;
    assert_eq!(owned, "0", "{}", worker.said());
    let registered = bench
        .value("SELECT count(*) FROM longshore.workers WHERE lease_until > clock_timestamp()")
        .await;
    assert_eq!(registered, "0", "{}", worker.said());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_signal_claims_nothing_more_and_lets_the_running_task_end() {
    for signal in ["TERM", "INT"] {
        let bench = Bench::new().await;
        let (mut worker, let_go) = reading(&bench, "10m").await;
        worker.signal(signal);
        until_said(&bench, &worker, STOPPING).await;
        drop(let_go);
        assert_eq!(worker.ended().await.code(), Some(0), "{}", worker.said());
        let tasks = bench
            .sql("SELECT status, attempt FROM tasks WHERE task_type = 'fix_build' ORDER BY priority DESC")
            .await;
        let text = |status: &str, attempt: &str| vec![Some(status.to_owned()), Some(attempt.to_owned())];
        assert_eq!(
            tasks,
            [text("completed", "1"), text("pending", "0")],
            "{signal}\n{}",
            worker.said()
        );
        assert_released(&bench, &worker).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_within_the_grace_is_released_at_once() {
    let bench = Bench::new().await;
    let (mut worker, let_go) = reading(&bench, "1s").await;
    worker.signal("TERM");
    assert_eq!(worker.ended().await.code(), Some(0), "{}", worker.said());
    assert_released(&bench, &worker).await;
    drop(let_go);
    // It takes the task at once, though the lease was long.
    let _next = bench.steady_worker();
    let came = bench.done().await;
    assert_eq!((came.retries, came.notes), (1, vec![1, 1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_grace_and_still_releases() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let bench = Bench::new().await;
        let (mut worker, let_go) = reading(&bench, "10m").await;
        worker.signal("TERM");
        until_said(&bench, &worker, STOPPING).await;
        worker.signal(signal);
        assert_eq!(worker.ended().await.code(), Some(code), "{}", worker.said());
        assert_released(&bench, &worker).await;
        drop(let_go);
    }
}

/// A note under way that GitLab does not answer is dropped too; its lease ends, and another drainer looks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_does_not_wait_for_notes() {
    let bench = Bench::new().await;
    bench
        .gitlab
        .faults(2, &When::on("POST", "/notes"), &Fault::DoneThenHang);
    let mut worker = bench.worker(&[
        ("LONGSHORE_WORKER_LEASE", LONG),
        ("LONGSHORE_GITLAB_TIMEOUT", "5m"),
    ]);
    bench
        .until("a note is under way", async || {
            bench
                .gitlab
                .requests()
                .iter()
                .any(|request| request.path.ends_with("/notes"))
        })
        .await;
    worker.signal("TERM");
    until_said(&bench, &worker, "stopping:").await;
    worker.signal("TERM");
    assert_eq!(worker.ended().await.code(), Some(143), "{}", worker.said());
    assert_released(&bench, &worker).await;
}

/// A port that nothing listens on any more.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    format!("postgres://nobody@127.0.0.1:{port}/none")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_exit_code_is_the_documented_one() {
    let bench = Bench::new().await;
    let (here, gone) = (bench.database.url(), nobody());
    let mut seen = BTreeSet::new();
    let mut check =
        async |what: &str, args: &[&str], env: &[(&str, &str)], signal: Option<&str>, code: i32| {
            let mut process = Process::start(args, env);
            if let Some(signal) = signal {
                until_said(&bench, &process, "Postgres does not answer").await;
                process.signal(signal);
            }
            assert_eq!(
                process.ended().await.code(),
                Some(code),
                "{what}:\n{}",
                process.said()
            );
            seen.insert(code);
            process.said()
        };
    check("done", &["migrate"], &[("DATABASE_URL", here)], None, 0).await;
    let said = check(
        "no such task",
        &["tasks", "show", "t-1"],
        &[("DATABASE_URL", here)],
        None,
        1,
    )
    .await;
    assert!(said.contains("t-1"), "{said}");
    let said = check("no database is named", &["worker"], &[], None, 2).await;
    assert!(said.contains("DATABASE_URL"), "{said}");
    let wrong = [("DATABASE_URL", here), ("LONGSHORE_WORKER_LEASE", "soon")];
    let said = check("a wrong setting", &["worker"], &wrong, None, 2).await;
    assert!(said.contains("LONGSHORE_WORKER_LEASE"), "{said}");
    let away = [
        ("DATABASE_URL", gone.as_str()),
        ("LONGSHORE_DATABASE_CONNECT_TIMEOUT", "1s"),
    ];
    let said = check("an unreachable database", &["worker"], &away, None, 3).await;
    assert!(said.contains("Is Postgres running"), "{said}");
    let waits = [
        ("DATABASE_URL", gone.as_str()),
        ("LONGSHORE_DATABASE_CONNECT_TIMEOUT", "10m"),
    ];
    check("Ctrl-C before it started", &["worker"], &waits, Some("INT"), 130).await;
    check(
        "SIGTERM before it started",
        &["worker"],
        &waits,
        Some("TERM"),
        143,
    )
    .await;

    // 70 is a bug, which no test can order; 127 is the scripts' own.
    seen.extend([70, 127]);
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md"))
        .expect("the page");
    let (_, section) = page.split_once("## Exit codes").expect("a section on exit codes");
    let (section, _) = section.split_once("\n## ").expect("a section after it");
    let mut documented: BTreeSet<i32> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok())
        .collect();
    documented.insert(127);
    assert_eq!(documented, seen, "documented and seen");
}
