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
    assert!(said.contains("nothing is measured for error_rate"), "{said}");

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

/// The bench's clock begins on Thursday 1970-01-01, at midnight UTC.
fn until_friday_noon(bench: &Bench) {
    bench
        .world()
        .advance(std::time::Duration::from_secs(36 * 60 * 60));
}

fn frozen_by_default() -> Bench {
    Bench::new().with(|staging| {
        staging.as_object_mut().expect("an object").remove("freeze");
    })
}

#[tokio::test]
async fn nothing_starts_on_a_friday_afternoon_and_the_error_says_until_when_and_how_to_override() {
    let bench = frozen_by_default();
    until_friday_noon(&bench);
    let said = refused(&bench, to("v2", "canary")).await;
    assert!(
        said.contains("the gate \"no freeze\" is shut: Friday afternoon, until Sat 1970-01-03 00:00 UTC"),
        "{said}"
    );
    assert!(
        said.contains(
            "create the task again after Sat 1970-01-03 00:00 UTC, or with payload.override_freeze {\"name\""
        ),
        "{said}"
    );
    bench
        .world()
        .advance(std::time::Duration::from_secs(12 * 60 * 60));
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!(status, TaskStatus::Completed, "{report:#?}");
}

#[tokio::test]
async fn an_override_lets_it_through_and_is_shown() {
    let bench = frozen_by_default();
    until_friday_noon(&bench);
    let mut payload = to("v2", "rolling");
    payload["override_freeze"] = json!({"name": "ada", "reason": "the shop is down"});
    let (status, report) = bench.deploy(payload).await;
    assert_eq!(status, TaskStatus::Completed, "{report:#?}");
    let shown = "open: Friday afternoon, until Sat 1970-01-03 00:00 UTC, overridden by ada: the shop is down";
    assert!(
        report
            .facts
            .iter()
            .any(|fact| fact.label == "Gate no freeze" && fact.value == shown),
        "{report:#?}"
    );
}

#[tokio::test]
async fn a_freeze_is_on_the_clocks_of_the_repository_unless_the_environment_has_its_own() {
    for (own, is_frozen) in [(json!({}), true), (json!({"time_zone": "UTC"}), false)] {
        let mut bench = Bench::new().with(|staging| staging["freeze"] = own);
        // At one o'clock on Friday morning in UTC it is one in the afternoon there.
        bench.settings["time_zone"] = json!("Pacific/Auckland");
        bench
            .world()
            .advance(std::time::Duration::from_secs(25 * 60 * 60));
        let (status, report) = bench.deploy(to("v2", "rolling")).await;
        assert_eq!(status == TaskStatus::Failed, is_frozen, "{report:#?}");
    }
}

#[tokio::test]
async fn a_rollback_is_never_frozen() {
    let bench = frozen_by_default();
    until_friday_noon(&bench);
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::RolledBack),
        "{report:#?}"
    );
}

#[tokio::test]
async fn an_approval_that_comes_in_a_freeze_starts_nothing() {
    let bench =
        frozen_by_default().with(|staging| staging["approval"] = json!({"required": true, "within": "7d"}));
    let id = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    until_friday_noon(&bench);
    bench.answer(&id, "approved").await;
    let (status, report) = bench.report(&id);
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("\"no freeze\" is shut"),
        "{}",
        report.summary
    );
    assert_eq!(bench.fleet.effects(), []);
}
