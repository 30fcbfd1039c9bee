//! SIGSTOP past the lease, and SIGCONT when another worker has done the work.

use std::time::Instant;

use futures_util::{StreamExt, stream};

use crate::bench::{Bench, Came, LONG};
use crate::kills::{Undisturbed, undisturbed};
use crate::points::Point;
use crate::worker::Process;

const AT_ONCE: usize = 4;
const SHORT: &str = "2s";

/// What ends the paused worker's lease.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LeaseEnd {
    /// Time, on Postgres's clock and on the worker's own.
    Time,
    /// The test, in the table alone: when the worker goes on it still believes in its lease, and nothing but the
    /// conditions in its statements stops it.
    Table,
}

impl LeaseEnd {
    fn worker(self, bench: &Bench) -> Process {
        let lease = if self == Self::Time { SHORT } else { LONG };
        bench.worker(&[("LONGSHORE_WORKER_LEASE", lease)])
    }
}

/// Stops a worker at the point until another one has done all the work. Answers whether it came to that, and what
/// it all came to.
async fn pause(point: &Point, end: LeaseEnd) -> (bool, Came) {
    let bench = Bench::new().await;
    bench.watch_rows().await;
    let (mut first, hit) = bench.hit(point, "STOP", || end.worker(&bench)).await;
    let held = bench.note_leases().await;
    bench.open_gate().await;
    let sessions = bench.worker_sessions().await;
    if end == LeaseEnd::Table {
        bench.end_leases().await;
    }
    let second = end.worker(&bench);
    bench
        .until("the second worker has done the rest", async || {
            if end == LeaseEnd::Table {
                bench.end_note_leases(&held).await;
                // Whatever else it was in the middle of: Postgres would end that after as long as the lease was.
                bench.end_silent(&sessions).await;
            }
            bench.is_done().await
        })
        .await;
    let came = bench.done().await;
    let (written, asked) = (bench.snapshot().await, bench.gitlab.requests().len());
    first.signal("CONT");
    if hit && end == LeaseEnd::Time {
        bench
            .until("the first worker has started anew", async || {
                first.said().matches("The worker is ready").count() >= 2
            })
            .await;
        assert!(
            first.is_alive(),
            "{point}: it goes on as a new worker:\n{}",
            first.said()
        );
    }
    // Its end shows that it has come to the end of all that it was doing.
    first.signal("TERM");
    let ended = first.ended().await;
    assert!(ended.success(), "{point}: {ended}\n{}", first.said());
    assert_eq!(
        bench.snapshot().await,
        written,
        "{point}: it wrote something more:\n{}",
        first.said()
    );
    let later: Vec<_> = bench
        .gitlab
        .requests()
        .into_iter()
        .skip(asked)
        // Of comments a worker knows by its clock alone that it may write them: a wrong belief can cost a duplicate, which it
        // takes away again. How many stand is compared below.
        .filter(|request| {
            request.method != "GET" && (end == LeaseEnd::Time || !request.path.contains("/notes"))
        })
        .collect();
    assert!(later.is_empty(), "{point}: it asked for more: {later:?}");
    assert_eq!(bench.done().await, came, "{point}");
    drop(second);
    (hit, came)
}

async fn pause_at_each(points: Vec<Point>, end: LeaseEnd, expected: &Came) {
    let started = Instant::now();
    let paused = |point: Point| async move {
        let (hit, came) = pause(&point, end).await;
        (point, hit, came)
    };
    let cases: Vec<(Point, bool, Came)> = stream::iter(points)
        .map(paused)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{} pauses in {:.1?}", cases.len(), started.elapsed());
    for (point, hit, came) in &cases {
        println!("  {point}");
        assert!(hit, "the worker did not come by: {point}");
        assert_eq!(came, expected, "paused {point}");
    }
}

/// The answers to all writes, and to all reads right before one: there the worker stands between deciding and doing.
fn around_writes(requests: &[Point]) -> Vec<Point> {
    let writes = |point: &Point| matches!(point, Point::Answered { method, .. } if method != "GET");
    let answers: Vec<&Point> = requests
        .iter()
        .filter(|point| matches!(point, Point::Answered { .. }))
        .collect();
    let near = answers
        .iter()
        .enumerate()
        .filter(|(at, point)| writes(point) || answers.get(at + 1).is_some_and(|next| writes(next)));
    near.map(|(_, point)| (*point).clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_past_its_lease_it_writes_nothing_more_and_starts_anew() {
    let Undisturbed { came, requests, .. } = undisturbed().await;
    let points = around_writes(&requests);
    assert!(points.len() >= 4, "{points:?}");
    pause_at_each(points, LeaseEnd::Time, &came).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wrongly_believes_in_its_lease_writes_nothing_more() {
    let Undisturbed { came, requests, .. } = undisturbed().await;
    let answers: Vec<Point> = requests
        .into_iter()
        .filter(|point| matches!(point, Point::Answered { .. }))
        .collect();
    pause_at_each(answers, LeaseEnd::Table, &came).await;
}

/// Its transaction is open and holds the task's row: nobody could take the task over before that ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_in_a_transaction_it_does_not_keep_others_from_the_task() {
    let Undisturbed { came, rows, .. } = undisturbed().await;
    let chosen = [
        " task_steps retry/",
        " task_steps hand-over",
        " tasks update completed",
        " ticket_outbox update creates",
    ];
    let points: Vec<Point> = chosen
        .iter()
        .map(|part| {
            let row = rows.iter().find(|row| row.to_string().contains(part));
            row.unwrap_or_else(|| panic!("no {part:?} in {rows:#?}")).clone()
        })
        .collect();
    pause_at_each(points, LeaseEnd::Time, &came).await;
}
