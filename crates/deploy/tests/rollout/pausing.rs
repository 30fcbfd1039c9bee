//! A person stops a deployment where it is, and lets it go on.

use std::time::Duration;

use domain::{TaskId, TaskStatus, Verdict};
use ports::fake::{Behaviour, FleetEffect};
use ports::{DeploymentOutcome, Share, Side};
use serde_json::json;

use crate::bench::{Bench, route, runs, to, workload};
use crate::by_hand::half_out;

/// Paused, and the last that its ticket says is that it is.
fn stands_still(bench: &Bench, id: &TaskId) {
    let view = bench.world().view(id).expect("the task");
    assert_eq!(view.status, TaskStatus::Waiting);
    let waits = view.waits_for.expect("it waits");
    assert_eq!(
        waits.why,
        "for somebody to let it go on: paused by ada: the stock is counted"
    );
    assert!(waits.quiet, "what is told below stays on the ticket");
    let told = bench.world().told(id);
    let told = told.last().expect("it tells");
    assert_eq!(told.verdict, Verdict::Waiting);
    assert_eq!(told.who.as_deref(), Some("ada"));
    assert_eq!(told.summary, "staging: paused by ada: the stock is counted");
    assert!(
        told.next_steps[0].contains(&format!("longshore tasks resume {id}")),
        "{told:#?}"
    );
}

#[tokio::test]
async fn a_canary_stops_before_its_next_weight_and_its_clock_with_it() {
    let bench = Bench::new();
    let id = bench.enqueue("deploy", to("v2", "canary"));
    while bench.shares().is_empty() || bench.world().view(&id).expect("the task").waits_for.is_none() {
        assert!(bench.turn().await, "it runs up to its first interval");
    }
    bench.world().advance(Duration::from_secs(60));
    bench.pause_now(&id, true);
    bench.settle().await;
    stands_still(&bench, &id);
    // Far longer than its interval, and than any deadline of its own.
    bench.world().advance(Duration::from_secs(86_400));
    bench.settle().await;
    assert_eq!(bench.shares(), [10.0], "nothing goes on by itself");
    let resumed = bench.world().now();
    bench.pause_now(&id, false);
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded),
        "{report:#?}"
    );
    assert_eq!(bench.shares(), [10.0, 50.0, 90.0, 100.0, 0.0]);
    let went = bench.world().told(&id);
    let went = went
        .iter()
        .find(|told| told.summary.contains("goes on after a pause of 1d"));
    assert!(
        went.is_some_and(|told| told.verdict == Verdict::Running),
        "{went:#?}"
    );
    let took = bench.world().now() - resumed;
    assert!(
        took.num_seconds() >= 14 * 60,
        "the rest of the interval was still waited for, and two more: {took}"
    );
}

#[tokio::test]
async fn what_is_paused_before_it_begins_changes_nothing_until_it_is_resumed() {
    let bench = Bench::new();
    bench.pause(|_| true);
    let id = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    stands_still(&bench, &id);
    assert!(bench.fleet.effects().is_empty());
    bench.pause_now(&id, false);
    bench.settle().await;
    assert_eq!(bench.stands(), runs("v2"));
}

/// A rolling update with replicas that take a while, stopped in the middle.
async fn halted(deadline: &str) -> (Bench, TaskId) {
    let bench = Bench::new().with(|staging| staging["progress_deadline"] = json!(deadline));
    bench.fleet.add_version("v2", Behaviour::Slow(3));
    let id = bench.enqueue("deploy", to("v2", "rolling"));
    while bench.fleet.effects().is_empty() || bench.world().view(&id).expect("the task").waits_for.is_none() {
        assert!(bench.turn().await, "it runs until its replicas are waited for");
    }
    bench.pause_now(&id, true);
    bench.settle().await;
    stands_still(&bench, &id);
    assert_eq!(bench.fleet.effects().last(), Some(&FleetEffect::Paused(true)));
    (bench, id)
}

#[tokio::test]
async fn a_rolling_update_stops_in_the_middle_and_goes_on_from_there() {
    let (bench, id) = halted("20s").await;
    bench.world().advance(Duration::from_secs(3600));
    bench.pause_now(&id, false);
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded),
        "{report:#?}"
    );
    assert_eq!(bench.stands(), runs("v2"));
    let paused = bench.fleet.effects();
    let paused: Vec<_> = paused
        .iter()
        .filter(|effect| matches!(effect, FleetEffect::Paused(_)))
        .collect();
    assert_eq!(paused, [&FleetEffect::Paused(true), &FleetEffect::Paused(false)]);
}

#[tokio::test]
async fn what_somebody_changes_by_hand_meanwhile_is_held_and_not_taken_for_ours() {
    let (bench, id) = halted("10m").await;
    // Another version, and let go.
    bench.fleet.meddle(&workload(), Side::Stable, "v3");
    bench.pause_now(&id, false);
    bench.settle().await;
    assert_eq!(
        bench.waits_for(&id),
        ["approval/going on after a change by hand (staging, step 0)"]
    );
    let told = bench.world().told(&id);
    let held = told.last().expect("it tells");
    assert_eq!(held.verdict, Verdict::Held);
    assert!(held.summary.contains("it is told to run v3"), "{}", held.summary);
    bench.answer(&id, "rejected").await;
    assert_eq!(bench.report(&id).0, TaskStatus::Failed);
    assert_eq!(bench.stands(), runs("v3"), "nobody undoes it");
}

#[tokio::test]
async fn what_went_on_from_half_way_is_let_go_when_it_is_cancelled() {
    let bench = Bench::new();
    bench.fleet.add_version("v2", Behaviour::Slow(12));
    bench.fleet.meddle(&workload(), Side::Stable, "v2");
    let id = bench.enqueue("deploy", to("v2", "rolling"));
    let waits = |wake: durable::Wake| wake.why.contains("to become ready");
    while !bench
        .world()
        .view(&id)
        .expect("the task")
        .waits_for
        .is_some_and(waits)
    {
        assert!(bench.turn().await, "it runs until its replicas are waited for");
    }
    bench.pause_now(&id, true);
    bench.settle().await;
    stands_still(&bench, &id);
    assert_eq!(bench.fleet.effects(), [FleetEffect::Paused(true)]);
    bench.world().cancel(&id);
    bench.settle().await;
    assert_eq!(bench.report(&id).0, TaskStatus::Cancelled);
    assert_eq!(
        bench.fleet.effects(),
        [FleetEffect::Paused(true), FleetEffect::Paused(false)]
    );
    assert_eq!(bench.stands(), runs("v2"));
}

#[tokio::test]
async fn a_pause_holds_after_a_yes_to_what_was_changed_by_hand_and_is_told_once() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.router.meddle(&route(), Share { part: 3, of: 100 });
    bench.answer(&id, "approved").await;
    bench.pause_now(&id, true);
    bench.answer(&id, "approved").await;
    stands_still(&bench, &id);
    assert_eq!(bench.shares(), [10.0], "whoever said yes knew of no pause");
    let told = bench.world().told(&id);
    let paused = told.iter().filter(|told| told.summary.contains("paused by ada"));
    assert_eq!(paused.count(), 1, "{told:#?}");
    bench.pause_now(&id, false);
    bench.settle().await;
    assert_eq!(bench.report(&id).0, TaskStatus::Completed);
    assert_eq!(bench.shares(), [10.0, 50.0, 100.0, 0.0]);
}

#[tokio::test]
async fn a_long_pause_makes_no_window_longer_and_no_extension() {
    let bench = Bench::new();
    for query in ["errors candidate", "latency candidate"] {
        bench.metrics.set(query, &[]);
    }
    let id = bench.enqueue("deploy", to("v2", "canary"));
    while bench.shares().is_empty() || bench.world().view(&id).expect("the task").waits_for.is_none() {
        assert!(bench.turn().await, "it runs up to its first interval");
    }
    bench.pause_now(&id, true);
    bench.settle().await;
    bench.world().advance(Duration::from_secs(86_400));
    let resumed = bench.world().now();
    bench.pause_now(&id, false);
    bench.settle().await;
    assert!(
        bench.waits_for(&id)[0].starts_with("approval/going on without a verdict"),
        "{:?}",
        bench.waits_for(&id)
    );
    let took = bench.world().now() - resumed;
    assert!(
        (20..25).contains(&took.num_minutes()),
        "the interval, and three more: {took}"
    );
    let asked = bench.metrics.asked();
    assert!(!asked.is_empty());
    for (_, window) in asked {
        let length = window.end - window.start;
        assert!(length.num_minutes() <= 6, "{length}");
    }
}

#[tokio::test]
async fn what_is_cancelled_while_it_stands_still_goes_back_at_once() {
    let (bench, id) = halted("10m").await;
    bench.world().cancel(&id);
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::Cancelled),
        "{report:#?}"
    );
    assert_eq!(bench.stands(), runs("v1"), "and is not left half way, stopped");
}

#[tokio::test]
async fn a_rollback_goes_before_a_pause() {
    let (bench, id) = halted("10m").await;
    let back = bench.enqueue(
        "rollback",
        json!({"environment": "staging", "reason": "the till is wrong"}),
    );
    bench.settle().await;
    assert_eq!(bench.report(&id).0, TaskStatus::Cancelled);
    assert_eq!(bench.report(&back).0, TaskStatus::Completed);
    assert_eq!(bench.stands(), runs("v1"));
    assert!(bench.fleet.stands(&workload(), Side::Candidate).is_none());
}

#[tokio::test]
async fn a_newer_deployment_goes_before_a_pause_where_it_may() {
    let bench = Bench::new().with(|staging| staging["when_newer"] = json!("supersede"));
    bench.pause(|done| !done.iter().any(|step| step.contains("wait")));
    let older = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    stands_still(&bench, &older);
    bench.pause(|_| false);
    bench.enqueue("deploy", to("v3", "rolling"));
    bench.settle().await;
    let outcomes: Vec<_> = bench.log.all().into_iter().map(|known| known.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Some(DeploymentOutcome::Superseded),
            Some(DeploymentOutcome::Succeeded)
        ]
    );
    assert_eq!(bench.stands(), runs("v3"));
}
