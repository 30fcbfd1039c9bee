//! `deploy` and `rollback` over a shop in memory: what they do, decide and say, and that no crash does it twice.

mod afterwards;
mod bench;
mod by_hand;
mod flag_alone;
mod follows;
mod gates;
mod group;
mod incidents;
mod matrix;
mod on_postgres;
mod pausing;
mod queue;
mod refused;
mod revert;
mod rollback;
mod shipped;
mod smoke;
mod told;
mod verifying;
mod waiting;

use domain::{Autonomy, TaskStatus, Verdict};
use ports::fake::{Answer, Fault, FleetEffect, FleetOp, MetricOp};
use ports::{DeploymentOutcome, Granularity, RecordStatus};
use serde_json::json;

use bench::{Bench, HEALTH, PREVIEW, route, runs, to, workload};

const GOOD: (TaskStatus, Verdict) = (TaskStatus::Completed, Verdict::Succeeded);
const TAKEN_BACK: (TaskStatus, Verdict) = (TaskStatus::Failed, Verdict::RolledBack);

#[tokio::test]
async fn a_good_canary_is_promoted() {
    let bench = Bench::new();
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert_eq!(report.summary, "v2 is live as shop/checkout in staging (canary)");
    assert_eq!(bench.shares(), [10.0, 50.0, 90.0, 100.0, 0.0]);
    assert_eq!(bench.stands(), runs("v2"));
    let log = bench.log.all();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].outcome, Some(DeploymentOutcome::Succeeded));
    assert_eq!(log[0].previous.as_deref(), Some("v1"));
    assert_eq!(log[0].what.sha.as_deref(), Some(bench::commit("v2").sha.as_str()));
    let records = bench.environments.records();
    assert_eq!(records[0].2, [RecordStatus::Running, RecordStatus::Success]);
    insta::assert_json_snapshot!("canary_report", report);
}

#[tokio::test]
async fn a_bad_canary_is_taken_back_by_itself() {
    let bench = Bench::new().bad();
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    assert_eq!(bench.shares(), [10.0, 0.0]);
    assert_eq!(bench.stands(), runs("v1"));
    let log = bench.log.all();
    assert_eq!(log[0].outcome, Some(DeploymentOutcome::RolledBack));
    assert_eq!(log[0].failures.len(), 1);
    assert!(log[0].failures[0].recovered_at.is_some());
    assert!(log[0].reached_at.is_some(), "a tenth of the users got it");
    assert_eq!(
        deploy::records::of_log(&log)[0].outcome,
        deploy::dora::DeploymentOutcome::RolledBack
    );
    let records = bench.environments.records();
    assert_eq!(records[0].2, [RecordStatus::Running, RecordStatus::Failed]);
    insta::assert_json_snapshot!("canary_taken_back_report", report);
}

#[tokio::test]
async fn a_judged_window_is_over_before_it_is_read_and_begins_with_the_weight() {
    let bench = Bench::new();
    let (_, report) = bench.deploy(to("v2", "canary")).await;
    let asked = bench.metrics.asked();
    // Three steps, two metrics, on both sides.
    assert_eq!(asked.len(), 12);
    let window = asked[0].1;
    assert_eq!(
        ((window.end - window.start).num_seconds(), window.step.as_secs()),
        (296, 4),
        "the first point is of the first four seconds"
    );
    assert_eq!(asked[0].0.query, "errors candidate");
    assert!(asked[4].1.start > window.end, "each step has a window of its own");
    let judged = report.data["judged"].as_array().expect("judgements");
    let looks: Vec<_> = judged
        .iter()
        .map(|judged| &judged[1]["judgement"]["look"])
        .collect();
    assert_eq!(looks, [1, 2, 3], "each look is over all windows so far");
    let points = &judged[2][1]["judgement"]["findings"][0]["evidence"]["points"]["canary"];
    assert_eq!(points, 225.0);
    assert!(
        judged[2][1]["judgement"]["why"]
            .as_str()
            .expect("why")
            .ends_with("; promote")
    );
}

#[tokio::test]
async fn a_metric_is_asked_where_it_is_kept() {
    let bench = Bench::new().with(|staging| {
        let logged = json!({"name": "logged", "source": "logs", "query": "lines ${side}", "max": 1});
        staging["analysis"]["metrics"]
            .as_array_mut()
            .expect("a list")
            .push(logged);
        staging["gates"] = json!({"monitoring": true});
    });
    for side in ["stable", "candidate"] {
        bench.metrics.set(&format!("lines {side}"), &[0.5]);
    }
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    for (question, _) in bench.metrics.asked() {
        let kept = if question.query.starts_with("lines") {
            "logs"
        } else {
            "default"
        };
        assert_eq!(question.source, kept, "{}", question.query);
    }
}

#[tokio::test]
async fn a_dry_run_tells_the_plan_and_touches_nothing() {
    let bench = Bench::new();
    let (status, report) = bench
        .deploy(json!({"instruction": "deploy v2 to staging with canary", "dry_run": true}))
        .await;
    assert_eq!((status, report.verdict), GOOD);
    assert_eq!(
        report.summary,
        "Nothing was touched: bringing v2 to shop/checkout in staging would take 18 steps and at least 15m6s"
    );
    assert_eq!(bench.fleet.effects(), []);
    assert_eq!(bench.log.all(), []);
    assert_eq!(bench.environments.records().len(), 0);
    insta::assert_snapshot!("plan", report.evidence[0].text);
}

#[tokio::test]
async fn blue_green_switches_at_once_and_back_at_once() {
    let bench = Bench::new();
    bench.router.add_route(&route(), Granularity::AllOrNothing);
    let (status, report) = bench.deploy(to("v2", "blue_green")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert_eq!((bench.shares(), bench.stands()), (vec![100.0, 0.0], runs("v2")));

    let bench = Bench::new().bad();
    bench.router.add_route(&route(), Granularity::AllOrNothing);
    let (status, report) = bench.deploy(to("v2", "blue_green")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    assert_eq!((bench.shares(), bench.stands()), (vec![100.0, 0.0], runs("v1")));
    let rolled = |effect: &FleetEffect| matches!(effect, FleetEffect::RolledOut(_));
    assert!(!bench.fleet.effects().iter().any(rolled), "the old one was kept");
}

#[tokio::test]
async fn a_manual_switch_waits_for_a_person() {
    for (decision, status, shares) in [
        ("approved", TaskStatus::Completed, vec![100.0, 0.0]),
        ("rejected", TaskStatus::Failed, vec![]),
    ] {
        let bench = Bench::new();
        let payload = json!({"version": "v2", "environment": "staging", "strategy": "blue-green",
            "switch_traffic": "manual"});
        let id = bench.enqueue("deploy", payload);
        bench.settle().await;
        assert_eq!(
            bench.waits_for(&id),
            ["approval/switch all traffic (staging, step 2)"]
        );
        bench.answer(&id, decision).await;
        assert_eq!(bench.report(&id).0, status);
        assert_eq!(bench.shares(), shares);
    }
}

#[tokio::test]
async fn the_preview_is_checked_before_users_get_any_of_it() {
    let bench = Bench::new();
    bench.probe.set(PREVIEW, Answer::Refuses);
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    assert!(
        report
            .summary
            .contains("the smoke check failed: preview: connection refused"),
        "{}",
        report.summary
    );
    assert_eq!((bench.shares(), bench.stands()), (vec![], runs("v1")));
    let log = bench.log.all();
    assert_eq!(log[0].reached_at, None);
    assert_eq!(
        deploy::records::of_log(&log)[0].outcome,
        deploy::dora::DeploymentOutcome::FailedBefore
    );
}

#[tokio::test]
async fn a_rolling_deployment_replaces_and_a_crash_loop_is_undone() {
    let bench = Bench::new();
    let (status, report) = bench.deploy(json!({"instruction": "deploy v2 to staging"})).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert_eq!(bench.fleet.effects(), [FleetEffect::RolledOut("v2".to_owned())]);

    let bench = Bench::new();
    let (status, report) = bench.deploy(to("broken", "rolling")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    assert!(
        report
            .summary
            .contains("its replicas were started again 3 times (0 of 4 ready, 4 old ones left)"),
        "{}",
        report.summary
    );
    let undone = FleetEffect::Undone("v1".to_owned());
    assert_eq!(
        bench.fleet.effects(),
        [FleetEffect::RolledOut("broken".to_owned()), undone]
    );
    assert_eq!(bench.stands(), runs("v1"));
}

#[tokio::test]
async fn a_watched_deployment_can_still_be_rolled_back() {
    let bench = Bench::new().with(|staging| staging["watch"] = json!("30m"));
    bench.errors_with("v2", 0.09);
    let (status, report) = bench.deploy(to("v2", "rolling")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    assert!(
        report
            .summary
            .contains("error_rate: 1 of 1 values failed, the latest 0.09; 0 may"),
        "{}",
        report.summary
    );
    assert_eq!(bench.stands(), runs("v1"));
}

#[tokio::test]
async fn a_feature_flag_is_stepped_and_switched_off_the_same_way() {
    let bench = Bench::new();
    let (status, report) = bench.deploy(to("checkout-v2", "feature_flag")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert_eq!(bench.flags.effects(), [10, 50, 90, 100]);
    assert_eq!(bench.fleet.calls(), [], "no deployment");

    let bench = Bench::new();
    bench.errors_while_on(0.05);
    let (status, report) = bench.deploy(to("checkout-v2", "feature_flag")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    assert_eq!(bench.flags.effects(), [10, 0]);
}

#[tokio::test]
async fn too_little_to_judge_by_is_waited_for_and_then_asked_about() {
    for (decision, verdict, stands) in [
        ("approved", Verdict::Succeeded, runs("v2")),
        ("rejected", Verdict::RolledBack, runs("v1")),
    ] {
        let bench = Bench::new();
        bench.metrics.set("errors candidate", &[]);
        let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
            "steps": [{"set_weight": 10}, {"pause": "1m"}, {"analyse": {}}]}});
        let id = bench.enqueue("deploy", payload);
        bench.settle().await;
        let asked: Vec<_> = bench.metrics.asked();
        let windows: Vec<i64> = asked
            .iter()
            .filter(|(question, _)| question.query == "errors candidate")
            .map(|(_, window)| (window.end - window.start).num_seconds())
            .collect();
        assert_eq!(windows.len(), 4, "once, and three extensions");
        assert!(windows.iter().all(|length| *length >= windows[0]), "{windows:?}");
        let of = |at: usize| asked[at * asked.len() / 4].1;
        assert!((1..4).all(|at| of(at).start > of(at - 1).end), "{asked:?}");
        assert_eq!(
            bench.waits_for(&id),
            ["approval/going on without a verdict (staging, step 4)"]
        );
        let told = bench.world().told(&id);
        let question = told.last().expect("it asked");
        assert_eq!(question.verdict, Verdict::NeedsApproval);
        assert!(
            question
                .summary
                .contains("no data: error_rate: 0 intervals have enough data on both sides; 5 are needed"),
            "{}",
            question.summary
        );
        bench.answer(&id, decision).await;
        assert_eq!(bench.report(&id).1.verdict, verdict);
        assert_eq!(bench.stands(), stands);
    }
}

#[tokio::test]
async fn without_a_router_replicas_share_the_traffic() {
    let bench = Bench::new().with(|staging| {
        staging.as_object_mut().expect("an object").remove("router");
    });
    let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 50}, {"analyse": {}}]}});
    let (status, report) = bench.deploy(payload.clone()).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert_eq!((bench.shares(), bench.stands()), (vec![], runs("v2")));

    let bench = Bench::new().bad().with(|staging| {
        staging.as_object_mut().expect("an object").remove("router");
    });
    let (status, report) = bench.deploy(payload).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    assert_eq!(bench.stands(), runs("v1"));
}

#[tokio::test]
async fn the_first_deployment_makes_the_workload_or_leaves_nothing() {
    let bench = Bench::new().with(|staging| staging["replicas"] = json!(2));
    bench.fleet.add_empty(&workload());
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert_eq!(bench.stands(), [Some(("v2".to_owned(), 2)), None]);
    assert!(report.why.expect("says why").contains("first deployment"));

    let bench = Bench::new();
    bench.fleet.add_empty(&workload());
    bench.probe.set(HEALTH, Answer::Refuses);
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    assert!(
        report
            .summary
            .contains("nothing ran before, and nothing runs now"),
        "{}",
        report.summary
    );
    assert_eq!(bench.stands()[0], Some(("v2".to_owned(), 0)));
    assert_eq!(bench.log.all()[0].outcome, Some(DeploymentOutcome::Failed));

    // The one after it finds a workload without replicas, and gives it some.
    bench.probe.set(HEALTH, Answer::Says(200, "ok".to_owned()));
    let (status, report) = bench.deploy(to("v3", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert_eq!(bench.stands(), [Some(("v3".to_owned(), 1)), None]);
}

#[tokio::test]
async fn what_runs_already_is_left_alone() {
    let bench = Bench::new();
    let (status, report) = bench.deploy(to("v1", "canary")).await;
    assert_eq!((status, report.verdict), GOOD);
    assert_eq!(
        report.summary,
        "v1 runs already as shop/checkout in staging and is well"
    );
    assert_eq!(bench.fleet.effects(), []);
    bench.probe.set(HEALTH, Answer::Refuses);
    let (status, report) = bench.deploy(to("v1", "canary")).await;
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert!(
        report.summary.contains("nothing had been changed"),
        "{}",
        report.summary
    );
    assert!(
        report.summary.contains("the health check failed"),
        "{}",
        report.summary
    );
    assert_eq!(bench.fleet.effects(), []);
}

#[tokio::test]
async fn a_person_approves_exactly_this_plan() {
    let mut bench = Bench::new().with(|staging| {
        staging["approval"] = json!({"approvers": ["ada"]});
    });
    bench.autonomy = Autonomy::Guided;
    let id = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    let asked = bench.waits_for(&id);
    assert!(
        asked[0].starts_with("approval/plan ") && asked[0].ends_with("(v2 to staging)"),
        "{asked:?}"
    );
    let told = bench.world().told(&id);
    insta::assert_json_snapshot!("approval", told.last().expect("it asks"));
    assert_eq!(bench.environments.records()[0].2, [RecordStatus::Blocked]);
    // Somebody who may not answers.
    let other = json!({"decision": "approved", "by": "eve", "at": "2026-01-01T00:00:00Z"});
    bench.world().send_signal(&id, &asked[0], other);
    bench.settle().await;
    let again = bench.waits_for(&id);
    assert_eq!(again, [format!("{}, asked again (1)", asked[0])]);
    assert_eq!(bench.fleet.effects(), []);
    // What stands changes before ada answers: her yes is to another plan.
    bench.fleet.meddle(&workload(), ports::Side::Stable, "v0");
    bench.answer(&id, "approved").await;
    let anew = bench.waits_for(&id);
    assert!(anew[0].starts_with("approval/plan ") && anew != asked, "{anew:?}");
    assert_eq!(bench.fleet.effects(), []);
    bench.answer(&id, "approved").await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert!(
        report
            .facts
            .iter()
            .any(|fact| fact.label == "Approved by" && fact.value == "ada")
    );
    assert_eq!(bench.log.all()[0].previous.as_deref(), Some("v0"));
}

#[tokio::test]
async fn a_plan_that_nobody_approves_touches_nothing() {
    let bench = Bench::new().with(|staging| staging["approval"] = json!({"required": true, "within": "1h"}));
    let id = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    bench.world().advance(std::time::Duration::from_secs(3600));
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert!(
        report.summary.contains("nobody approved plan"),
        "{}",
        report.summary
    );
    assert_eq!(bench.fleet.effects(), []);
    assert_eq!(
        bench.environments.records()[0].2,
        [RecordStatus::Blocked, RecordStatus::Canceled]
    );
    assert_eq!(bench.log.all()[0].started_at, None);
}

#[tokio::test]
async fn a_forge_that_refuses_its_record_stops_no_deployment() {
    let bench = Bench::new();
    bench.environments.deny_writes();
    let (status, report) = bench.deploy(to("v2", "rolling")).await;
    assert_eq!((status, report.verdict), GOOD);
    let fact = report
        .facts
        .iter()
        .find(|fact| fact.label == "Not recorded at the forge");
    assert!(
        fact.expect("it says so")
            .value
            .contains("may not be written by us")
    );
}

#[tokio::test]
async fn an_outage_is_waited_out_and_an_answer_that_got_lost_is_not_done_twice() {
    let bench = Bench::new();
    bench.fleet.faults().next(FleetOp::Launch, Fault::DoThenTimeout);
    bench.fleet.faults().next(
        FleetOp::RollOut,
        Fault::Fail(domain::Error::unavailable("no route")),
    );
    bench
        .router
        .faults()
        .next(ports::fake::RouterOp::Set, Fault::DoThenTimeout);
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    assert_eq!(bench.shares(), [10.0, 50.0, 90.0, 100.0, 0.0]);
    let launched = |effect: &&FleetEffect| matches!(effect, FleetEffect::Launched { .. });
    assert_eq!(bench.fleet.effects().iter().filter(launched).count(), 1);
}

#[tokio::test]
async fn a_store_of_measurements_that_does_not_answer_is_no_verdict() {
    let bench = Bench::new();
    let gone = Fault::Fail(domain::Error::unavailable("connection refused"));
    bench.metrics.faults().times(4, MetricOp::Range, gone);
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    let judged = &report.evidence[0].text;
    assert!(
        judged.contains("error_rate could not be read: connection refused"),
        "{judged}"
    );
    assert_eq!(
        bench.shares(),
        [10.0, 50.0, 90.0, 100.0, 0.0],
        "it waited, and went on"
    );
}
