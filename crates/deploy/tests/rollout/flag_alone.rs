//! An environment that declares a flag and nothing that runs.

use domain::{TaskStatus, Verdict};
use serde_json::json;

use crate::bench::{Bench, to};
use crate::{GOOD, TAKEN_BACK};

/// An environment of nothing but a flag, as few words as it can be.
fn flag_alone() -> Bench {
    Bench::new().with(|staging| {
        // What is only compared is of no use to it.
        let metrics = staging["analysis"]["metrics"].as_array_mut().expect("a list");
        metrics.retain(|metric| metric["max"].is_number());
        for workload_only in ["target", "workload", "router", "smoke"] {
            staging.as_object_mut().expect("settings").remove(workload_only);
        }
    })
}

#[tokio::test]
async fn a_flag_needs_nothing_that_runs() {
    let payload = || json!({"version": "checkout-v2", "environment": "staging"});
    let bench = flag_alone();
    let (status, report) = bench.deploy(payload()).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert!(
        report.summary.contains("new-checkout in staging"),
        "{}",
        report.summary
    );
    assert_eq!(bench.flags.effects(), [10, 50, 90, 100]);
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::RolledBack),
        "{report:#?}"
    );
    assert_eq!(bench.flags.effects(), [10, 50, 90, 100, 0]);
    assert_eq!(bench.fleet.calls(), []);

    let bench = flag_alone();
    bench.errors_while_on(0.05);
    let (status, report) = bench.deploy(payload()).await;
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    assert_eq!(bench.flags.effects(), [10, 0]);
}

#[tokio::test]
async fn what_needs_something_that_runs_is_refused_where_there_is_a_flag_alone() {
    let canary = ("deploy", to("v2", "canary"), "the strategy canary needs");
    let back = (
        "rollback",
        json!({"environment": "staging", "version": "v1"}),
        "a rollback to v1 needs",
    );
    for (task_type, payload, words) in [canary, back] {
        let bench = flag_alone();
        let (status, report) = bench.run(task_type, payload).await;
        assert_eq!(status, TaskStatus::Failed, "{report:#?}");
        let said = format!("{words} something that runs, but staging of ");
        assert!(report.summary.contains(&said), "{}", report.summary);
        assert!(
            report.summary.contains("has only the flag new-checkout"),
            "{}",
            report.summary
        );
        assert_eq!(bench.flags.effects(), [] as [u32; 0]);
    }
}
