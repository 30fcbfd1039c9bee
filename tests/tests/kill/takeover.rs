//! How long a dead worker's task waits for another one.

use std::time::{Duration, Instant};

use testkit::peer::{Fault, When};

use crate::bench::Bench;

/// What a busy machine may add to the promise.
const BUSY: Duration = Duration::from_secs(5);

/// Kills the one of two workers that runs a task, and measures until the other has it.
async fn taken_over_within(lease: Duration, poll: Duration, env: &[(&str, &str)]) {
    let bench = Bench::new().await;
    bench.sql("DELETE FROM tasks WHERE priority = 8").await;
    bench.gitlab.fault(&When::on("GET", "/trace"), &Fault::Hang);
    // The read must not end before its worker does.
    let patient = [env, &[("LONGSHORE_GITLAB_TIMEOUT", "10m")]].concat();
    let mut workers = [bench.worker(&patient), bench.worker(&patient)];
    bench
        .until_holds("both workers are ready", "count(*) = 2 FROM longshore.workers")
        .await;
    bench.until_reading().await;
    let owner = bench
        .value("SELECT w.pid FROM tasks t JOIN longshore.workers w ON w.id = t.worker_id")
        .await;
    let owner = workers
        .iter_mut()
        .find(|worker| owner == worker.pid().to_string());
    let died = Instant::now();
    owner.expect("the worker that reads the log").kill();
    let lease_end = bench
        .value("SELECT extract(epoch FROM w.lease_until) FROM tasks t JOIN longshore.workers w ON w.id = t.worker_id")
        .await;
    bench
        .until_holds(
            "the other one has it",
            "EXISTS (SELECT FROM tasks WHERE attempt = 2)",
        )
        .await;
    let took = died.elapsed();
    let after_end: f64 = bench
        .value(&format!("SELECT extract(epoch FROM claimed_at AT TIME ZONE 'UTC') - {lease_end} FROM tasks WHERE attempt = 2"))
        .await
        .parse()
        .expect("seconds");
    println!(
        "taken over {took:.1?} after the kill, {after_end:.2} s after the lease's end; lease {lease:?}, poll {poll:?}"
    );
    assert!(
        after_end >= 0.0,
        "nobody takes a task whose lease still holds: {after_end}"
    );
    assert!(
        after_end <= (poll + BUSY).as_secs_f64(),
        "{after_end} s after the lease's end"
    );
    assert!(took <= lease + poll + BUSY, "{took:?}");
    bench.gitlab.clear_faults();
    let came = bench.done().await;
    assert_eq!((came.retries, came.notes[0]), (1, 1), "{came:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_takes_over_within_a_short_lease_and_a_poll() {
    let short = [
        ("LONGSHORE_WORKER_LEASE", "2s"),
        ("LONGSHORE_WORKER_POLL", "200ms"),
    ];
    taken_over_within(Duration::from_secs(2), Duration::from_millis(200), &short).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_takes_over_within_the_default_lease_and_poll() {
    taken_over_within(Duration::from_secs(15), Duration::from_secs(1), &[]).await;
}

/// Without `LISTEN` the poll is all there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_worker_takes_over_where_nobody_listens() {
    let deaf = [
        ("LONGSHORE_WORKER_LEASE", "3s"),
        ("LONGSHORE_DATABASE_LISTEN", "false"),
    ];
    taken_over_within(Duration::from_secs(3), Duration::from_secs(1), &deaf).await;
}
