//! What serves again after going back is verified, and what was found is said.

use domain::{Report, TaskId, TaskStatus, Verdict};
use ports::fake::Answer;
use ports::{DeploymentKind, DeploymentOutcome};
use serde_json::{Value, json};

use crate::bench::{Bench, HEALTH, runs, to};

const TAKEN_BACK: (TaskStatus, Verdict) = (TaskStatus::Failed, Verdict::RolledBack);
const ROLLED_BACK: (TaskStatus, Verdict) = (TaskStatus::Completed, Verdict::RolledBack);
const WELL: &str = "v1 serves again: 1 of 1 health checks answered, error_rate 0.01 (at most 0.02) over 30s; latency_p95 is \
                    not measured, since it has no limit of its own";

pub fn fact<'a>(report: &'a Report, label: &str) -> &'a str {
    let fact = report.facts.iter().find(|fact| fact.label == label);
    &fact.unwrap_or_else(|| panic!("no {label}: {report:#?}")).value
}

fn says(report: &Report, label: &str) -> bool {
    report.facts.iter().any(|fact| fact.label == label)
}

fn canary() -> Value {
    json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 20}, {"pause": "1m"}, {"analyse": {}}]}})
}

fn back() -> Value {
    json!({"environment": "staging", "reason": "checkout is slow"})
}

/// Runs it until it asks a person, and answers what it said then.
async fn held(bench: &Bench, task_type: &str, payload: Value) -> (TaskId, Report) {
    let id = bench.enqueue(task_type, payload);
    bench.settle().await;
    let asked = bench.waits_for(&id);
    assert!(
        asked.len() == 1 && asked[0].contains("looking again at what serves"),
        "{asked:?}"
    );
    let told = bench.world().told(&id).pop().expect("it says why");
    assert_eq!(told.verdict, Verdict::Held);
    assert_eq!(fact(&told, "Decision"), "hold: a person decides");
    (id, told)
}

#[tokio::test]
async fn a_deployment_that_took_itself_back_says_what_was_verified() {
    let bench = Bench::new().bad();
    let id = bench.enqueue("deploy", canary());
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    assert_eq!(fact(&report, "Verified"), WELL);
    assert_eq!(report.data["verified"], true);
    // The traffic does not wait for it.
    let done = bench.world().view(&id).expect("the task").done;
    let at = |name: &str| {
        let at = done.iter().position(|step| step.contains(name));
        at.unwrap_or_else(|| panic!("no {name}: {done:?}"))
    };
    assert!(at("retire/") < at("health/back-0") && at("health/back-0") < at("verify/0"));
    let (question, window) = bench.metrics.asked().pop().expect("it was measured");
    assert_eq!(question.query, "errors stable");
    assert_eq!(
        (window.end - window.start).num_seconds(),
        26,
        "30 s, the first point after 4"
    );
    let failure = bench.log.all()[0].failures[0].clone();
    let over = failure.recovered_at.expect("it is over");
    assert_eq!(over, failure.began_at, "since the traffic was back");
    assert_eq!(window.end, failure.began_at + chrono::TimeDelta::seconds(30));
}

#[tokio::test]
async fn a_rollback_says_what_was_verified() {
    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    let (status, report) = bench.run("rollback", back()).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(fact(&report, "Verified"), WELL);
}

#[tokio::test]
async fn health_that_refuses_after_the_way_back_is_held_and_said() {
    let bench = Bench::new().bad();
    bench.probe.set(HEALTH, Answer::Refuses);
    let (id, told) = held(&bench, "deploy", canary()).await;
    let why = "the health check failed: health: connection refused";
    assert!(
        told.summary
            .contains(&format!("Held: v1 serves again, and is not well: {why}")),
        "{}",
        told.summary
    );
    assert_eq!((bench.shares(), bench.stands()), (vec![20.0, 0.0], runs("v1")));
    // A yes looks again.
    bench.probe.set(HEALTH, Answer::Says(200, "ok".to_owned()));
    bench.answer(&id, "approved").await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    assert_eq!(fact(&report, "Verified"), WELL);
    assert!(bench.log.all()[0].failures[0].recovered_at.is_some());

    let bench = Bench::new().bad();
    bench.probe.set(HEALTH, Answer::Refuses);
    let (id, _) = held(&bench, "deploy", canary()).await;
    bench.answer(&id, "rejected").await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert_eq!(fact(&report, "Not well"), format!("v1 serves again; {why}"));
    assert!(
        report
            .summary
            .ends_with(&format!("; v1 serves again and is not well: {why}")),
        "{}",
        report.summary
    );
    assert!(!says(&report, "Verified"));
    assert_eq!(bench.log.all()[0].failures[0].recovered_at, None, "it lasts");
}

#[tokio::test]
async fn errors_above_the_limit_after_the_way_back_are_held_and_said() {
    let why = "error_rate: 1 of 1 values failed, the latest 0.05; 0 may";
    let bench = Bench::new();
    bench.metrics.set("errors candidate", &[0.5]);
    bench.metrics.set("errors stable", &[0.05]);
    let (id, told) = held(&bench, "deploy", canary()).await;
    assert!(told.summary.ends_with(why), "{}", told.summary);
    bench.answer(&id, "rejected").await;
    let (_, report) = bench.report(&id);
    assert_eq!(
        fact(&report, "Not well"),
        format!(
            "v1 serves again: 1 of 1 health checks answered; {why}; latency_p95 is not measured, since it has no limit of \
             its own"
        )
    );

    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    bench.errors_with("v1", 0.05);
    let (id, told) = held(&bench, "rollback", back()).await;
    assert!(told.summary.ends_with(why), "{}", told.summary);
    bench.answer(&id, "rejected").await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert_eq!(
        report.summary,
        format!("shop/checkout in staging was left as it is: v1 serves again and is not well: {why}")
    );
    let log = bench.log.all();
    assert_eq!(log[1].outcome, Some(DeploymentOutcome::Failed));
    assert_eq!(log[0].failures[0].recovered_at, None, "it lasts");
    // The next version that does well ends it, and was not planned.
    assert_eq!(bench.deploy(to("v3", "canary")).await.0, TaskStatus::Completed);
    let log = bench.log.all();
    assert!(log[0].failures[0].recovered_at.is_some());
    let records = deploy::records::of_log(&log);
    assert_eq!(records[2].kind, deploy::dora::DeploymentKind::Hotfix);
}

#[tokio::test]
async fn without_data_nothing_is_called_verified() {
    let words = "v1 serves again: 1 of 1 health checks answered; error_rate: no data over 30s (0 of 1 values that are needed); ";
    let bench = Bench::new().bad();
    let (metrics, router) = (bench.metrics.clone(), bench.router.clone());
    bench.before.each(move || {
        let is_back = router.effects().last().is_some_and(|share| share.part == 0);
        metrics.set("errors stable", if is_back { &[] } else { &[0.01] });
    });
    let (status, report) = bench.deploy(canary()).await;
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    assert!(fact(&report, "Not verified").starts_with(words), "{report:#?}");
    assert!(!says(&report, "Verified"));

    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    bench.metrics.set("errors stable", &[]);
    let (status, report) = bench.run("rollback", back()).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert!(fact(&report, "Not verified").starts_with(words), "{report:#?}");
    assert_eq!(report.data["verified"], false);
}

#[tokio::test]
async fn where_nothing_is_declared_that_is_said() {
    let bare = || {
        Bench::new().bad().with(|staging| {
            staging["health"] = json!([]);
            staging["analysis"]["metrics"] = json!([{"name": "error_rate", "query": "errors ${side}"}]);
        })
    };
    let words = "v1 serves again; nothing is declared to verify it by: staging has neither health checks nor metrics with \
                 limits of their own";
    let bench = bare();
    let (_, report) = bench.deploy(canary()).await;
    assert_eq!(fact(&report, "Not verified"), words);
    let bench = bare();
    bench.deploy(to("v2", "rolling")).await;
    let (_, report) = bench.run("rollback", back()).await;
    assert_eq!(fact(&report, "Not verified"), words);

    let by_health = Bench::new().bad().with(|staging| {
        staging["analysis"]["metrics"] = json!([{"name": "error_rate", "query": "errors ${side}"}])
    });
    let (_, report) = by_health.deploy(canary()).await;
    assert_eq!(
        fact(&report, "Verified"),
        "v1 serves again: 1 of 1 health checks answered; nothing is measured, since no metric has a limit of its own"
    );
}

/// Runs a task until it measures what serves again.
async fn measuring(bench: &Bench, task_type: &str, payload: Value) -> TaskId {
    let id = bench.enqueue(task_type, payload);
    while bench.turn().await {}
    let waits = bench.world().view(&id).and_then(|view| view.waits_for);
    let why = waits.expect("it waits").why;
    assert!(why.starts_with("for measurements of what serves again"), "{why}");
    id
}

#[tokio::test]
async fn a_rollback_that_is_stopped_while_it_measures_is_back() {
    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    let id = measuring(&bench, "rollback", back()).await;
    assert_eq!(bench.stands(), runs("v1"), "the traffic is back by then");
    bench.world().cancel(&id);
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::RolledBack),
        "{report:#?}"
    );
    assert_eq!(
        fact(&report, "Not verified"),
        "v1 serves again; it was stopped before that was known"
    );
    let log = bench.log.all();
    assert_eq!(
        (log[1].what.kind, log[1].outcome),
        (DeploymentKind::Rollback, Some(DeploymentOutcome::Succeeded))
    );
}

#[tokio::test]
async fn who_waits_for_the_environment_does_not_wait_for_measurements() {
    let bench = Bench::new();
    let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 20}, {"pause": {}}]}});
    let id = bench.enqueue("deploy", payload);
    bench.settle().await;
    let before = bench.world().now();
    bench.world().cancel(&id);
    while bench.turn().await {}
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::Cancelled)
    );
    assert_eq!(bench.world().now(), before);
    assert!(
        fact(&report, "Not verified").contains("was not measured, since whoever comes next"),
        "{report:#?}"
    );
}
