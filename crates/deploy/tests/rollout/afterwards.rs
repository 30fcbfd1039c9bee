//! What comes when the work is done changes nothing of it: a forge that is away, and a cancel.

use domain::{Error, Report, TaskId, TaskStatus, Verdict};
use ports::fake::{Answer, EnvironmentOp, Fault};
use ports::{DeploymentOutcome, RecordStatus};
use serde_json::{Value, json};

use crate::bench::{Bench, HEALTH, runs, to};

fn away(bench: &Bench, times: usize, ops: &[EnvironmentOp]) {
    for op in ops {
        let gone = Fault::Fail(Error::unavailable("the forge is away"));
        bench.environments.faults().times(times, *op, gone);
    }
}

fn fact<'a>(report: &'a Report, label: &str) -> &'a str {
    let fact = report.facts.iter().find(|fact| fact.label == label);
    &fact.unwrap_or_else(|| panic!("no {label}: {report:#?}")).value
}

#[tokio::test]
async fn a_forge_that_is_away_at_the_end_fails_nothing() {
    let bench = Bench::new();
    away(&bench, 100, &[EnvironmentOp::Update]);
    let (status, report) = bench.deploy(to("v2", "rolling")).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded)
    );
    assert_eq!(fact(&report, "Not recorded at the forge"), "the forge is away");
    assert_eq!(bench.stands(), runs("v2"));
}

#[tokio::test]
async fn a_forge_that_is_away_for_a_moment_gets_its_record() {
    let bench = Bench::new();
    away(&bench, 2, &[EnvironmentOp::Update]);
    let (_, report) = bench.deploy(to("v2", "rolling")).await;
    assert_eq!(report.verdict, Verdict::Succeeded, "{report:#?}");
    let records = bench.environments.records();
    assert_eq!(records[0].2, [RecordStatus::Running, RecordStatus::Success]);
}

/// A task whose work is done waits for the forge when it is cancelled.
async fn cancelled_at_the_end(bench: &Bench, task_type: &str, payload: Value) -> TaskId {
    away(bench, 1, &[EnvironmentOp::Update]);
    let id = bench.enqueue(task_type, payload);
    let mut why = String::new();
    while !why.starts_with("for the forge to answer until") {
        while bench.turn().await {}
        let waits = bench.world().view(&id).and_then(|view| view.waits_for);
        let waits = waits.expect("it waits");
        why = waits.why;
        assert!(!why.contains("approve"), "{why}");
        let due = waits.at.expect("for some time") - bench.world().now();
        if !why.starts_with("for the forge") {
            bench.world().advance(due.to_std().expect("it is to come"));
        }
    }
    bench.world().cancel(&id);
    bench.settle().await;
    id
}

#[tokio::test]
async fn a_cancel_after_the_end_takes_nothing_back() {
    let bench = Bench::new();
    let id = cancelled_at_the_end(&bench, "deploy", to("v2", "rolling")).await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::Succeeded)
    );
    assert!(report.summary.starts_with("v2 is live as"), "{}", report.summary);
    assert!(fact(&report, "Stopped afterwards").contains("nothing was taken back"));
    assert_eq!(bench.stands(), runs("v2"));
    assert_eq!(bench.log.all()[0].outcome, Some(DeploymentOutcome::Succeeded));
    let records = bench.environments.records();
    assert_eq!(records[0].2, [RecordStatus::Running, RecordStatus::Success]);

    let back = cancelled_at_the_end(&bench, "rollback", json!({"environment": "staging"})).await;
    let (status, report) = bench.report(&back);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::RolledBack)
    );
    assert!(fact(&report, "Stopped afterwards").contains("nothing was taken back"));
    assert_eq!(bench.stands(), runs("v1"));
    assert_eq!(bench.log.all()[1].outcome, Some(DeploymentOutcome::Succeeded));
    let records = bench.environments.records();
    assert_eq!(records[1].2, [RecordStatus::Running, RecordStatus::Success]);
}

#[tokio::test]
async fn a_rollback_needs_no_forge() {
    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    let ops = [
        EnvironmentOp::Commit,
        EnvironmentOp::Create,
        EnvironmentOp::Find,
        EnvironmentOp::Update,
    ];
    away(&bench, 100, &ops);
    let payload = json!({"environment": "staging", "version": "v1", "revert": true});
    let (status, report) = bench.run("rollback", payload).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::RolledBack),
        "{report:#?}"
    );
    assert_eq!(fact(&report, "Not recorded at the forge"), "the forge is away");
    assert_eq!(bench.stands(), runs("v1"));
}

#[tokio::test]
async fn a_task_that_is_tried_anew_is_another_deployment() {
    let bench = Bench::new();
    bench.answers_with(HEALTH, "shop/checkout", "v2", Answer::Refuses);
    let id = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    assert_eq!(bench.report(&id).0, TaskStatus::Failed);
    bench.before.forget();
    bench.probe.set(HEALTH, Answer::Says(200, "ok".to_owned()));
    bench.world().retry(&id);
    bench.settle().await;
    assert_eq!(bench.report(&id).0, TaskStatus::Completed);
    let log = bench.log.all();
    let known: Vec<_> = log
        .iter()
        .map(|known| (known.what.id.clone(), known.what.task_id.clone(), known.outcome))
        .collect();
    assert_eq!(
        known,
        [
            (id.to_string(), id.clone(), Some(DeploymentOutcome::RolledBack)),
            (format!("{id}#2"), id.clone(), Some(DeploymentOutcome::Succeeded)),
        ]
    );
    assert_eq!((log[0].failures.len(), log[1].failures.len()), (1, 0));
}
