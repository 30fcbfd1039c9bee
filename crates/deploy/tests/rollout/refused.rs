//! What cannot be is told before anything is touched.

use domain::{TaskStatus, Verdict};
use ports::{JobStatus, Pipeline};
use serde_json::{Value, json};

use crate::bench::{Bench, at, commit, to};

async fn refused(bench: &Bench, payload: Value) -> String {
    let (status, report) = bench.deploy(payload.clone()).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::Failed),
        "{payload}: {report:#?}"
    );
    assert_eq!(bench.fleet.effects(), [], "{payload}");
    assert_eq!(bench.shares(), [0.0; 0], "{payload}");
    format!("{} {}", report.summary, report.next_steps.join(" "))
}

#[tokio::test]
async fn bad_input_is_told_before_anything_is_touched() {
    let in_staging = |more: Value| {
        let mut payload = json!({"version": "v2", "environment": "staging"});
        for (key, value) in more.as_object().expect("an object") {
            payload[key] = value.clone();
        }
        payload
    };
    for (payload, words) in [
        (
            json!({"version": "v2", "environment": "stagin"}),
            "did you mean \"staging\"?",
        ),
        (in_staging(json!({"strategy": "canaryy"})), "did you mean canary?"),
        (
            in_staging(json!({"strategy": "canary", "initial_percentage": 101})),
            "initial_percentage is 101, which is no percentage",
        ),
        (
            in_staging(json!({"strategy": "canary", "steps": [{"set_weight": 50}, {"set_weight": 10}]})),
            "steps go up only",
        ),
        (
            in_staging(json!({"increment": 10})),
            "increment belongs to the strategy canary",
        ),
        (
            json!({"version": "v9", "environment": "staging"}),
            "there is no version v9",
        ),
        (
            in_staging(json!({"commit": "v9"})),
            "there is no commit, tag or branch \"v9\"",
        ),
        (json!({"instruction": "ship it"}), "`deploy VERSION to ENV`"),
    ] {
        let said = refused(&Bench::new(), payload).await;
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn settings_that_do_not_fit_are_told() {
    for (change, words) in [
        (
            json!({"target": "clutser"}),
            "no target \"clutser\"; did you mean \"cluster\"?",
        ),
        (
            json!({"canary": {"intervall": "5m"}}),
            "unknown field `intervall`",
        ),
        (json!({"max_surge": 3}), "unknown field `max_surge`"),
    ] {
        let bench = Bench::new().with(|staging| {
            for (key, value) in change.as_object().expect("an object") {
                staging[key] = value.clone();
            }
        });
        let said = refused(&bench, to("v2", "canary")).await;
        assert!(said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn a_shut_gate_lets_nothing_through() {
    let gated = |gates: Value| Bench::new().with(|staging| staging["gates"] = gates);
    let pipeline = |status| Pipeline {
        id: 7,
        status,
        git_ref: "v2".to_owned(),
        sha: commit("v2").sha,
        url: "https://forge.example/7".to_owned(),
    };
    let bench = gated(json!({"pipeline": true}));
    let said = refused(&bench, to("v2", "rolling")).await;
    assert!(
        said.contains("\"pipeline passed\" is shut: there is no pipeline of v2"),
        "{said}"
    );
    bench.forge.add_pipeline(&at(), pipeline(JobStatus::Failed));
    let said = refused(&bench, to("v2", "rolling")).await;
    assert!(said.contains("pipeline 7 failed"), "{said}");
    bench.forge.add_pipeline(&at(), pipeline(JobStatus::Succeeded));
    let (status, report) = bench.deploy(to("v2", "rolling")).await;
    assert_eq!(status, TaskStatus::Completed);
    assert!(
        report
            .facts
            .iter()
            .any(|fact| fact.value.starts_with("open: pipeline 7 passed")),
        "{report:#?}"
    );

    let bench = gated(json!({"after": ["qa"]}));
    let said = refused(&bench, to("v2", "rolling")).await;
    assert!(
        said.contains("\"qa first\" is shut: v2 was not deployed there"),
        "{said}"
    );

    let bench = gated(json!({"monitoring": true}));
    bench.metrics.set("errors stable", &[]);
    let said = refused(&bench, to("v2", "rolling")).await;
    assert!(said.contains("nothing is measured for errors"), "{said}");

    let bench = gated(json!({"deployments_per_day": 1}));
    assert_eq!(bench.deploy(to("v2", "rolling")).await.0, TaskStatus::Completed);
    let (status, report) = bench.deploy(to("v3", "rolling")).await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("1 in the last 24 hours, of at most 1"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn staging_comes_before_production() {
    let mut bench = Bench::new();
    let mut production = crate::bench::staging();
    production["gates"] = json!({"after": ["staging"]});
    bench.settings["environments"]["production"] = production;
    let to_production = || json!({"instruction": "deploy v2 to production"});
    assert_eq!(bench.deploy(to_production()).await.0, TaskStatus::Failed);
    assert_eq!(bench.deploy(to("v2", "rolling")).await.0, TaskStatus::Completed);
    // Both run the same workload here: what counts is what the log says of staging.
    assert_eq!(bench.deploy(to_production()).await.0, TaskStatus::Completed);
}
