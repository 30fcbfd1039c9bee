//! One deployment at a time: others wait in order, and what is newer goes before where it may.

use domain::{TaskStatus, Verdict};
use ports::DeploymentOutcome;
use serde_json::json;

use crate::bench::{Bench, runs, to};

fn waiting_canary() -> serde_json::Value {
    json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 10}, {"pause": {}}, {"set_weight": 50}]}})
}

#[tokio::test]
async fn a_second_deployment_waits_and_says_behind_whom() {
    let bench = Bench::new();
    let first = bench.enqueue("deploy", waiting_canary());
    let second = bench.enqueue("deploy", to("v3", "rolling"));
    bench.settle().await;
    let view = bench.world().view(&second).expect("the task");
    assert_eq!(view.status, TaskStatus::Waiting);
    let why = view.waits_for.expect("it waits").why;
    assert_eq!(
        why,
        format!("pending, behind task {first} on deploy:shop/staging")
    );
    bench.answer(&first, "approved").await;
    assert_eq!(bench.report(&first).1.verdict, Verdict::Succeeded);
    assert_eq!(bench.report(&second).1.verdict, Verdict::Succeeded);
    assert_eq!(bench.stands(), runs("v3"));
    let previous: Vec<_> = bench.log.all().into_iter().map(|known| known.previous).collect();
    assert_eq!(previous, [Some("v1".to_owned()), Some("v2".to_owned())]);
}

#[tokio::test]
async fn where_it_is_set_so_a_newer_one_takes_the_place() {
    let bench = Bench::new().with(|staging| staging["when_newer"] = json!("supersede"));
    let first = bench.enqueue("deploy", waiting_canary());
    bench.settle().await;
    let second = bench.enqueue("deploy", to("v3", "rolling"));
    let third = bench.enqueue("deploy", json!({"version": "v0", "environment": "staging"}));
    bench.settle().await;
    // The first one finds out before it gives users more of it.
    bench.answer(&first, "approved").await;
    let (status, report) = bench.report(&first);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::RolledBack)
    );
    assert!(
        report.summary.contains("superseded by the deployment of v0"),
        "{}",
        report.summary
    );
    let (status, report) = bench.report(&second);
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("nothing was touched: superseded by"),
        "{}",
        report.summary
    );
    assert_eq!(bench.report(&third).0, TaskStatus::Completed);
    assert_eq!(bench.stands(), runs("v0"));
    let outcomes: Vec<_> = bench.log.all().into_iter().map(|known| known.outcome).collect();
    let superseded = Some(DeploymentOutcome::Superseded);
    assert_eq!(
        outcomes,
        [superseded, superseded, Some(DeploymentOutcome::Succeeded)]
    );
    assert!(bench.log.all().iter().all(|known| known.failures.is_empty()));
}

#[tokio::test]
async fn what_is_only_watched_is_not_taken_back_for_a_newer_one() {
    let bench = Bench::new().with(|staging| {
        staging["when_newer"] = json!("supersede");
        staging["watch"] = json!("10m");
    });
    let first = bench.enqueue("deploy", to("v2", "rolling"));
    while bench.stands() != runs("v2") {
        assert!(bench.turn().await, "it runs up to its watch");
    }
    let second = bench.enqueue("deploy", to("v3", "rolling"));
    bench.settle().await;
    assert_eq!(bench.report(&first).1.verdict, Verdict::Succeeded);
    assert_eq!(bench.report(&second).1.verdict, Verdict::Succeeded);
    assert_eq!(bench.stands(), runs("v3"));
}
