//! SIGKILL, and then another worker.

use std::time::Instant;

use futures_util::{StreamExt, stream};

use crate::bench::{Bench, Came};
use crate::points::Point;

/// Cases at once: most of a case is waiting.
const AT_ONCE: usize = 8;

/// What an undisturbed run comes to, and the points in it.
pub struct Undisturbed {
    pub came: Came,
    pub rows: Vec<Point>,
    pub requests: Vec<Point>,
}

pub async fn undisturbed() -> Undisturbed {
    let bench = Bench::new().await;
    bench.watch_rows().await;
    let _worker = bench.steady_worker();
    let came = bench.done().await;
    assert_eq!(came.retries, 1, "{came:#?}");
    assert_eq!(came.notes, [1, 1], "{came:#?}");
    let handed_over = came
        .tasks
        .iter()
        .filter(|task| task.starts_with("implement_fix"))
        .count();
    assert_eq!((came.tasks.len(), handed_over), (3, 1), "{came:#?}");
    Undisturbed {
        came,
        rows: bench.rows_written().await,
        requests: bench.requests_made(),
    }
}

/// Kills a worker at each point, lets another one go on, and compares what it all came to.
async fn kill_at_each(points: Vec<Point>, expected: &Came) {
    let started = Instant::now();
    let killed = |point: Point| async move {
        let bench = Bench::new().await;
        bench.watch_rows().await;
        let (mut worker, hit) = bench.hit(&point, "KILL", || bench.steady_worker()).await;
        worker.kill();
        bench.bury().await;
        let _next = bench.steady_worker();
        (point, hit, bench.done().await)
    };
    let cases: Vec<(Point, bool, Came)> = stream::iter(points)
        .map(killed)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    println!("{} kills in {:.1?}", cases.len(), started.elapsed());
    let mut wrong = Vec::new();
    for (point, hit, came) in &cases {
        println!("  {point}");
        if !hit {
            wrong.push(format!("the worker did not come by: {point}"));
        } else if came != expected {
            wrong.push(format!("killed {point}: {came:#?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} kills went wrong; expected was {expected:#?}\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

fn in_table(points: Vec<Point>, table: &str) -> Vec<Point> {
    let of_table =
        |point: &Point| matches!(point, Point::Row { what, .. } if what.split(' ').nth(2) == Some(table));
    points.into_iter().filter(of_table).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_step_it_retries_once_hands_over_once_and_tells_once() {
    let Undisturbed { came, rows, .. } = undisturbed().await;
    let steps = in_table(rows, "task_steps");
    assert!(steps.len() > 10, "{steps:?}");
    kill_at_each(steps, &came).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_claim_and_any_result_it_tells_once() {
    let Undisturbed { came, rows, .. } = undisturbed().await;
    let tasks = in_table(rows, "tasks");
    assert!(tasks.len() > 5, "{tasks:?}");
    kill_at_each(tasks, &came).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_point_between_result_and_note_it_tells_once() {
    let Undisturbed { came, rows, .. } = undisturbed().await;
    let notes = in_table(rows, "ticket_outbox");
    assert!(notes.len() > 5, "{notes:?}");
    kill_at_each(notes, &came).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_any_request_it_asks_for_nothing_twice() {
    let Undisturbed { came, requests, .. } = undisturbed().await;
    let writes = requests
        .iter()
        .filter(|point| matches!(point, Point::Lost { .. }))
        .count();
    assert!(writes >= 3 && requests.len() > 8, "{requests:?}");
    kill_at_each(requests, &came).await;
}
