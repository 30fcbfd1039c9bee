//! `rollback`: where it goes, why, and what it leaves behind.

use domain::{Report, TaskStatus, Verdict};
use ports::fake::FleetEffect;
use ports::{DeploymentKind, DeploymentOutcome, Failure, FlagStore, Share, Side};
use serde_json::json;

use crate::bench::{Bench, commit, flag, route, runs, to, workload};

const ROLLED_BACK: (TaskStatus, Verdict) = (TaskStatus::Completed, Verdict::RolledBack);

#[tokio::test]
async fn it_goes_to_the_last_good_version_and_says_why() {
    let bench = Bench::new();
    for version in ["v2", "v3"] {
        assert_eq!(
            bench.deploy(to(version, "rolling")).await.0,
            TaskStatus::Completed
        );
    }
    let payload = json!({"instruction": "rollback staging", "reason": "checkout is slow"});
    let (status, report) = bench.run("rollback", payload).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(
        report.summary,
        "shop/checkout in staging was rolled back to v2: checkout is slow"
    );
    assert_eq!(
        bench.fleet.effects().last(),
        Some(&FleetEffect::Undone("v2".to_owned()))
    );
    assert_eq!(bench.stands(), runs("v2"));
    let log = bench.log.all();
    let back = &log[2];
    assert_eq!(
        (back.what.kind, back.outcome),
        (DeploymentKind::Rollback, Some(DeploymentOutcome::Succeeded))
    );
    assert_eq!(back.previous.as_deref(), Some("v3"));
    let failures = &log[1].failures;
    assert_eq!(failures.len(), 1, "v3 is blamed");
    assert_eq!(failures[0].cause, "checkout is slow");
    assert!(failures[0].recovered_at.is_some());
    insta::assert_json_snapshot!("rollback_report", report);
}

#[tokio::test]
async fn it_goes_where_it_is_told_to() {
    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    let (status, report) = bench
        .run("rollback", json!({"instruction": "rollback staging to v0"}))
        .await;
    assert_eq!((status, report.verdict), ROLLED_BACK);
    assert_eq!(bench.stands(), runs("v0"));
    let (status, report) = bench
        .run("rollback", json!({"environment": "staging", "version": "v9"}))
        .await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("there is no version v9"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn it_stops_a_running_rollout_first() {
    let bench = Bench::new();
    let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 10}, {"pause": "5m"}, {"set_weight": 50}]}});
    let rollout = bench.enqueue("deploy", payload);
    while bench.shares().is_empty() {
        assert!(bench.turn().await, "it runs up to its first pause");
    }
    let back = bench.enqueue("rollback", json!({"environment": "staging"}));
    bench.settle().await;
    let (status, report) = bench.report(&rollout);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::Cancelled)
    );
    let (status, report) = bench.report(&back);
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert!(
        report
            .facts
            .iter()
            .any(|fact| fact.value.starts_with("v1: it served before the deployment"))
    );
    assert_eq!((bench.shares(), bench.stands()), (vec![10.0, 0.0], runs("v1")));
    let log = bench.log.all();
    assert_eq!(
        log[0].ended_at,
        Some(log[1].asked_at),
        "its pause was not waited for"
    );
    assert_eq!(log[0].failures.len(), 1, "it is blamed although it was cancelled");
}

#[tokio::test]
async fn it_takes_away_what_somebody_left_half_out() {
    let bench = Bench::new();
    bench.fleet.meddle(&workload(), Side::Candidate, "v2");
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(bench.stands(), runs("v1"));
}

#[tokio::test]
async fn a_flag_is_switched_off() {
    let bench = Bench::new().with(|staging| staging["strategy"] = json!("feature_flag"));
    bench.flags.put(&flag(), 40);
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(bench.flags.read(&flag()).await.expect("reads").percent, 0);
    assert_eq!(bench.fleet.calls(), []);
}

#[tokio::test]
async fn with_nothing_to_go_back_to_it_hands_over() {
    let bench = Bench::new();
    bench.fleet.add_running(&workload(), &["v1"], 4);
    let id = bench.enqueue("rollback", json!({"environment": "staging", "issue_iid": 7}));
    assert!(bench.turn().await);
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::ActionNeeded),
        "{report:#?}"
    );
    let hotfix = bench
        .world()
        .view(&report.follow_ons[0].task_id)
        .expect("the hotfix");
    assert_eq!(hotfix.task_type, "implement_fix");
    assert_eq!(hotfix.payload["issue_iid"], 7);
    assert_eq!(
        hotfix.payload["evidence"]["stands"],
        "stable v1 (4), candidate nothing with 0 % of the traffic"
    );
    assert_eq!(
        decision(&report),
        "hotfix task: no earlier version is known that did well"
    );
    assert_eq!(bench.fleet.effects(), []);
}

/// What a report says was decided.
pub fn decision(report: &Report) -> &str {
    let decided = report.facts.iter().find(|fact| fact.label == "Decision");
    &decided
        .unwrap_or_else(|| panic!("no decision: {report:#?}"))
        .value
}

#[tokio::test]
async fn a_hotfix_gets_what_is_known_of_the_version_that_it_mends() {
    let bench = Bench::new();
    bench.fleet.add_running(&workload(), &["v1"], 4);
    assert_eq!(bench.deploy(to("v1", "rolling")).await.0, TaskStatus::Completed);
    let id = bench.enqueue(
        "rollback",
        json!({"environment": "staging", "reason": "the till is wrong"}),
    );
    while bench.world().view(&id).expect("the task").report.is_none() {
        assert!(bench.turn().await);
    }
    let (_, report) = bench.report(&id);
    let hotfix = bench
        .world()
        .view(&report.follow_ons[0].task_id)
        .expect("the hotfix");
    assert_eq!(hotfix.payload["reason"], "the till is wrong");
    assert_eq!(hotfix.payload["evidence"]["commit"], commit("v1").sha);
}

#[tokio::test]
async fn each_decision_is_said_with_its_reason() {
    // Rollback, by itself and by a task.
    let bench = Bench::new().bad();
    let (_, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!(
        decision(&report),
        "rollback to v1: it served before, and can take the traffic"
    );
    let bench = Bench::new();
    let (_, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!(decision(&report), "rollback to v0");
    // Hold, where what is to take the traffic is not there.
    bench.fleet.remove(&workload(), Side::Stable);
    let id = bench.enqueue("rollback", json!({"environment": "staging", "version": "v1"}));
    bench.settle().await;
    let told = bench.world().told(&id);
    let held = told.last().expect("it asks");
    assert_eq!(
        (held.verdict, decision(held)),
        (Verdict::Held, "hold: a person decides")
    );
    assert!(held.summary.contains("is gone"), "{}", held.summary);
}

#[tokio::test]
async fn a_dry_run_touches_nothing() {
    let bench = Bench::new();
    let (status, report) = bench
        .run("rollback", json!({"environment": "staging", "dry_run": true}))
        .await;
    assert_eq!(status, TaskStatus::Completed);
    assert!(
        report.summary.starts_with("Nothing was touched: bringing v0 to"),
        "{}",
        report.summary
    );
    assert!(
        report.evidence[0]
            .text
            .contains("go back to the revision with v0")
    );
    assert_eq!((bench.fleet.effects(), bench.log.all()), (vec![], vec![]));
}

#[tokio::test]
async fn it_does_not_wait_behind_a_question_to_a_person() {
    let bench = Bench::new();
    let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 10}, {"pause": {}}, {"set_weight": 50}]}});
    let asks = bench.enqueue("deploy", payload);
    let queued = bench.enqueue("deploy", to("v3", "rolling"));
    bench.settle().await;
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(bench.report(&asks).0, TaskStatus::Cancelled);
    assert_eq!(
        bench.report(&queued).0,
        TaskStatus::Cancelled,
        "what was on its way before is too"
    );
    assert_eq!((bench.shares(), bench.stands()), (vec![10.0, 0.0], runs("v1")));
}

/// What waits for the lock already when the rollback comes, and was asked for after it, comes after it.
#[tokio::test]
async fn it_goes_before_those_who_wait_for_the_environment() {
    let bench = Bench::new();
    let lock = "deploy:shop/staging";
    let holder = bench.world().enqueue(crate::bench::task("another", json!({})));
    crate::bench::hold(&bench.world(), &holder, lock).await;
    let waits = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    let back = bench.enqueue("rollback", json!({"environment": "staging"}));
    assert!(bench.turn().await, "the rollback, up to the lock");
    let later = bench.enqueue("deploy", to("v3", "rolling"));
    while bench.turn().await {}
    let queue = bench.world().queue_of(lock);
    assert_eq!(queue, [holder.clone(), back.clone(), later.clone()]);
    assert_eq!(bench.report(&waits).0, TaskStatus::Cancelled);
    let why = |id| {
        bench
            .world()
            .view(id)
            .expect("the task")
            .waits_for
            .expect("it waits")
            .why
    };
    assert_eq!(why(&back), format!("pending, behind task {holder} on {lock}"));
    assert_eq!(why(&later), format!("pending, behind task {back} on {lock}"));
    crate::bench::end(&bench.world(), &holder);
    bench.settle().await;
    let (status, report) = bench.report(&back);
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(bench.report(&later).0, TaskStatus::Completed);
    assert_eq!(bench.stands(), runs("v3"));
}

#[tokio::test]
async fn it_does_not_wait_behind_an_approval_either() {
    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    let asking = bench
        .clone()
        .with(|staging| staging["approval"] = json!({"required": true}));
    let asks = asking.enqueue("deploy", to("v3", "rolling"));
    asking.settle().await;
    assert_eq!(asking.waits_for(&asks).len(), 1);
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    let (status, report) = bench.report(&asks);
    assert_eq!(status, TaskStatus::Cancelled);
    assert!(
        report.summary.contains("nothing was touched"),
        "{}",
        report.summary
    );
    assert_eq!(bench.stands(), runs("v1"));
}

fn with_approval(bench: &Bench) -> Bench {
    bench
        .clone()
        .with(|staging| staging["approval"] = json!({"required": true}))
}

#[tokio::test]
async fn a_yes_is_to_what_stood_when_it_was_asked_for() {
    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    let asking = with_approval(&bench);
    let back = asking.enqueue("rollback", json!({"environment": "staging"}));
    asking.settle().await;
    let first = asking.waits_for(&back);
    assert_eq!(first.len(), 1);
    // A version that mends it goes out while nobody answers.
    bench.deploy(to("v3", "rolling")).await;
    asking.answer(&back, "approved").await;
    let again = asking.waits_for(&back);
    assert!(
        again.len() == 1 && again != first,
        "it is asked about v3: {again:?}"
    );
    assert_eq!(bench.stands(), runs("v3"));
    asking.answer(&back, "approved").await;
    let (status, report) = asking.report(&back);
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(bench.stands(), runs("v2"));
}

#[tokio::test]
async fn what_came_while_it_waited_for_its_turn_is_not_rolled_back_unseen() {
    let bench = Bench::new();
    let holder = bench.world().enqueue(crate::bench::task("another", json!({})));
    crate::bench::hold(&bench.world(), &holder, "deploy:shop/staging").await;
    let back = bench.enqueue("rollback", json!({"environment": "staging"}));
    assert!(bench.turn().await, "the rollback, up to the lock");
    bench.fleet.meddle(&workload(), Side::Stable, "v3");
    crate::bench::end(&bench.world(), &holder);
    bench.settle().await;
    assert_eq!(bench.waits_for(&back).len(), 1);
    assert_eq!(bench.stands(), runs("v3"));
    bench.answer(&back, "rejected").await;
    let (status, report) = bench.report(&back);
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert!(
        report.summary.contains("nothing was touched"),
        "{}",
        report.summary
    );
    assert_eq!(bench.stands(), runs("v3"));
}

#[tokio::test]
async fn a_plan_that_could_not_be_carried_out_says_so() {
    let bench = Bench::new();
    bench.fleet.meddle(&workload(), Side::Candidate, "v2");
    bench.router.meddle(&route(), Share { part: 10, of: 100 });
    bench.fleet.break_side(&workload(), Side::Stable);
    let payload = json!({"environment": "staging", "dry_run": true});
    let (_, report) = bench.run("rollback", payload).await;
    assert_eq!(report.verdict, Verdict::ActionNeeded);
    assert!(
        report.summary.contains("is not well (0 of 4 ready)"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn what_was_brought_out_last_says_whether_a_flag_is_switched_off() {
    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    bench.deploy(to("checkout-v2", "feature_flag")).await;
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(bench.flags.read(&flag()).await.expect("reads").percent, 0);
    assert_eq!(bench.stands(), runs("v2"));
    assert_eq!(bench.log.all()[1].failures.len(), 1, "the flag's is blamed");
    // What is left is what runs: no flag's name is taken for a version.
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_eq!(bench.stands(), runs("v1"));
}

#[tokio::test]
async fn a_version_by_wish_is_rolled_back_where_flags_are_usual() {
    let bench = Bench::new().with(|staging| staging["strategy"] = json!("feature_flag"));
    bench.deploy(to("v2", "canary")).await;
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!((status, report.verdict), ROLLED_BACK, "{report:#?}");
    assert_ne!(bench.stands(), runs("v2"));
}

#[tokio::test]
async fn a_first_deployment_that_is_running_is_stopped() {
    let bench = Bench::new().with(|staging| staging["watch"] = json!("30m"));
    bench.fleet.add_empty(&workload());
    let first = bench.enqueue("deploy", to("v2", "rolling"));
    while bench.turn().await {}
    assert_eq!(bench.stands()[0], Some(("v2".to_owned(), 1)));
    let back = bench.enqueue("rollback", json!({"environment": "staging"}));
    // The fix that it asks for is another's to make.
    while bench
        .world()
        .view(&back)
        .is_some_and(|view| view.report.is_none())
    {
        assert!(bench.turn().await, "it does not wait for the watch's end");
    }
    assert_eq!(bench.report(&first).0, TaskStatus::Cancelled);
    let (status, report) = bench.report(&back);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::ActionNeeded),
        "{report:#?}"
    );
    assert_eq!(bench.stands()[0], Some(("v2".to_owned(), 0)));
}

#[tokio::test]
async fn what_was_reported_against_the_bad_version_is_over_with_it() {
    let bench = Bench::new();
    bench.deploy(to("v2", "rolling")).await;
    let mut known = bench.log.all().remove(0);
    known.what.id = "another".to_owned();
    known.failures = vec![Failure {
        id: "alarm".to_owned(),
        cause: "errors".to_owned(),
        began_at: known.asked_at,
        recovered_at: None,
    }];
    bench.log.put(known);
    bench.run("rollback", json!({"environment": "staging"})).await;
    assert!(bench.log.all()[1].failures[0].recovered_at.is_some());
}
