//! `deploy` and `rollback` over a shop in memory: what they do, decide and say, and that no crash does it twice.

mod bench;

use domain::{TaskStatus, Verdict};
use ports::DeploymentOutcome;
use serde_json::json;

use bench::{Bench, runs, to};

#[tokio::test]
async fn a_good_canary_is_promoted() {
    let bench = Bench::new();
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), (TaskStatus::Completed, Verdict::Succeeded), "{report:#?}");
    assert_eq!(report.summary, "v2 is live as shop/checkout in staging (canary)");
    assert_eq!(bench.shares(), [10.0, 50.0, 90.0, 100.0, 0.0]);
    assert_eq!(bench.stands(), runs("v2"));
    let log = bench.log.all();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].outcome, Some(DeploymentOutcome::Succeeded));
    assert_eq!(log[0].previous.as_deref(), Some("v1"));
    insta::assert_json_snapshot!("canary_report", report);
}

#[tokio::test]
async fn a_bad_canary_is_taken_back_by_itself() {
    let bench = Bench::new().bad();
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::RolledBack), "{report:#?}");
    assert_eq!(bench.shares(), [10.0, 0.0]);
    assert_eq!(bench.stands(), runs("v1"));
    let log = bench.log.all();
    assert_eq!(log[0].outcome, Some(DeploymentOutcome::RolledBack));
    assert_eq!(log[0].failures.len(), 1);
    assert!(log[0].failures[0].recovered_at.is_some());
    insta::assert_json_snapshot!("canary_taken_back_report", report);
}

#[tokio::test]
async fn dry() {
    let bench = Bench::new();
    let (_, report) = bench
        .deploy(json!({"instruction": "deploy v2 to staging with canary", "dry_run": true}))
        .await;
    println!("{}", report.evidence[0].text);
    println!("{report:#?}");
}
