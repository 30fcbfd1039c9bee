//! What is laid to a deployment from outside, when nothing can be rolled back.

use domain::TaskStatus;
use serde_json::json;

use crate::bench::{Bench, to, workload};
use crate::rollback::decision;

/// A first version: there is none to go back to.
async fn only_one() -> Bench {
    let bench = Bench::new();
    bench.fleet.add_empty(&workload());
    assert_eq!(bench.deploy(to("v2", "rolling")).await.0, TaskStatus::Completed);
    bench
}

/// A rollback that finds nothing to go back to; somebody else takes the fix that it asks for.
async fn hands_over(bench: &Bench, payload: serde_json::Value) {
    let (id, world) = (bench.enqueue("rollback", payload), bench.world());
    while world.view(&id).expect("the task").report.is_none() {
        assert!(bench.turn().await);
    }
    let (_, report) = bench.report(&id);
    assert!(decision(&report).starts_with("hotfix task"), "{report:#?}");
    let fix = &report.follow_ons[0].task_id;
    assert_eq!(world.claim("another").expect("the fix").info.id, *fix);
    crate::bench::end(&world, fix);
}

#[tokio::test]
async fn what_has_to_be_mended_is_a_failure_until_a_good_version_is_out() {
    let bench = only_one().await;
    let payload = json!({"environment": "staging", "reason": "the till is wrong"});
    hands_over(&bench, payload.clone()).await;
    let failures = bench.log.all()[0].failures.clone();
    assert_eq!(failures.len(), 1);
    assert_eq!(
        (failures[0].cause.as_str(), failures[0].recovered_at),
        ("the till is wrong", None)
    );
    // Asked for again while it lasts, it is the same; and the same version once more mends nothing.
    hands_over(&bench, payload).await;
    bench.deploy(to("v2", "rolling")).await;
    assert_eq!(bench.log.all()[0].failures, failures);
    assert_eq!(bench.deploy(to("v3", "canary")).await.0, TaskStatus::Completed);
    let log = bench.log.all();
    assert_eq!(log[0].failures[0].recovered_at, log[2].ended_at);
    let records = deploy::records::of_log(&log);
    assert!(records[0].failed(), "{records:#?}");
    assert_eq!(records[2].kind, deploy::dora::DeploymentKind::Hotfix);
    assert_eq!(records[2].because_of, [failures[0].id.clone()]);
}

#[tokio::test]
async fn two_incidents_of_one_deployment_are_both_laid_to_it() {
    let bench = only_one().await;
    for incident in ["INC-1", "INC-2", "INC-2"] {
        let payload = json!({"environment": "staging", "reason": "errors", "incident": incident});
        hands_over(&bench, payload).await;
    }
    let log = bench.log.all();
    let ids: Vec<&str> = log[0]
        .failures
        .iter()
        .map(|failure| failure.id.as_str())
        .collect();
    let id = &log[0].what.id;
    assert_eq!(
        ids,
        [format!("{id}/incident/INC-1"), format!("{id}/incident/INC-2")]
    );
    assert_eq!(deploy::records::of_log(&log)[0].incidents.len(), 2);
}
