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

fn superseding() -> Bench {
    Bench::new().with(|staging| staging["when_newer"] = json!("supersede"))
}

#[tokio::test]
async fn where_it_is_set_so_only_the_newest_of_those_that_wait_goes_out() {
    let bench = superseding();
    let lock = "deploy:shop/staging";
    let holder = bench.world().enqueue(crate::bench::task("another", json!({})));
    crate::bench::hold(&bench.world(), &holder, lock).await;
    let first = bench.enqueue("deploy", to("v2", "rolling"));
    let second = bench.enqueue("deploy", to("v3", "rolling"));
    while bench.turn().await {}
    assert_eq!(
        bench.world().queue_of(lock),
        [holder.clone(), first.clone(), second.clone()]
    );
    crate::bench::end(&bench.world(), &holder);
    bench.settle().await;
    let (status, report) = bench.report(&first);
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert!(
        report
            .summary
            .contains("nothing was touched: superseded by the deployment of v3"),
        "{}",
        report.summary
    );
    assert_eq!(bench.report(&second).0, TaskStatus::Completed);
    assert_eq!(bench.stands(), runs("v3"));
    let outcomes: Vec<_> = bench.log.all().into_iter().map(|known| known.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Some(DeploymentOutcome::Superseded),
            Some(DeploymentOutcome::Succeeded)
        ]
    );
    assert!(bench.log.all().iter().all(|known| known.failures.is_empty()));
}

#[tokio::test]
async fn a_pause_a_manual_switch_a_hold_and_an_approval_end_at_once_for_a_newer_one() {
    type Begin = fn() -> (Bench, serde_json::Value);
    let pause: Begin = || {
        let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
            "steps": [{"set_weight": 10}, {"pause": "12h"}, {"set_weight": 50}]}});
        (superseding(), payload)
    };
    let switch: Begin = || {
        let payload = json!({"version": "v2", "environment": "staging", "strategy": "blue_green",
            "switch_traffic": "manual"});
        (superseding(), payload)
    };
    let hold: Begin = || {
        let bench = superseding();
        bench.metrics.set("errors candidate", &[]);
        let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
            "steps": [{"set_weight": 10}, {"analyse": {}}]}});
        (bench, payload)
    };
    let approval: Begin = || {
        let bench = superseding().with(|staging| staging["approval"] = json!({"required": true}));
        (bench, to("v2", "rolling"))
    };
    for (what, begin) in [
        ("pause", pause),
        ("switch", switch),
        ("hold", hold),
        ("approval", approval),
    ] {
        let (bench, payload) = begin();
        let older = bench.enqueue("deploy", payload);
        match what {
            "pause" => {
                while bench.shares().is_empty() {
                    assert!(bench.turn().await, "it runs up to its pause");
                }
            }
            _ => bench.settle().await,
        }
        let began = bench.world().now();
        let newer = bench.enqueue("deploy", to("v3", "rolling"));
        while bench.world().view(&older).expect("the task").report.is_none() {
            assert!(bench.turn().await, "{what}: the older one waits on");
        }
        assert_eq!(bench.world().now(), began, "{what}: no time passed");
        let (_, report) = bench.report(&older);
        assert!(
            report
                .summary
                .contains(&format!("superseded by the deployment of v3 (task {newer})")),
            "{what}: {}",
            report.summary
        );
        assert_eq!(bench.stands(), runs("v1"), "{what}");
        assert_eq!(
            bench.log.all()[0].outcome,
            Some(DeploymentOutcome::Superseded),
            "{what}"
        );
        bench.settle().await;
        if what == "approval" {
            bench.answer(&newer, "approved").await;
        }
        assert_eq!(bench.report(&newer).0, TaskStatus::Completed, "{what}");
        assert_eq!(bench.stands(), runs("v3"), "{what}");
    }
}

#[tokio::test]
async fn a_newer_one_that_is_gone_again_changes_nothing_but_the_question() {
    let bench = superseding();
    let older = bench.enqueue("deploy", waiting_canary());
    bench.settle().await;
    // It hears of one that the log does not know as open.
    bench.world().send_signal(&older, "newer", json!(null));
    bench.settle().await;
    assert_eq!(
        bench.waits_for(&older),
        ["approval/go on (staging, step 3), asked again (1)"]
    );
    bench.answer(&older, "approved").await;
    assert_eq!(bench.report(&older).1.verdict, Verdict::Succeeded);
}

#[tokio::test]
async fn a_pause_that_was_interrupted_for_nothing_is_as_long_as_it_should_be() {
    let bench = superseding();
    let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 10}, {"pause": "1h"}, {"set_weight": 50}]}});
    let id = bench.enqueue("deploy", payload);
    while bench.shares().is_empty() {
        assert!(bench.turn().await);
    }
    while bench.turn().await {}
    let began = bench.world().now();
    for _ in 0..3 {
        bench.world().advance(std::time::Duration::from_secs(900));
        bench.world().send_signal(&id, "newer", json!(null));
        while bench.turn().await {}
    }
    assert_eq!(bench.shares(), [10.0]);
    while bench.shares().len() < 2 {
        if !bench.turn().await {
            let due = bench.world().next_due().expect("it waits for a time");
            let left = due - bench.world().now();
            bench.world().advance(left.to_std().expect("in the future"));
        }
    }
    assert!((bench.world().now() - began).num_seconds() - 3600 < 60);
    assert!((bench.world().now() - began).num_seconds() >= 3600);
}

fn guided() -> Bench {
    Bench::new().with(|staging| staging["approval"] = json!({"required": true}))
}

#[tokio::test]
async fn nobody_waits_behind_a_deployment_that_waits_for_approval() {
    let mut bench = guided();
    let asks = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    let question = bench.waits_for(&asks);
    assert!(question[0].starts_with("approval/plan "), "{question:?}");
    let lock = "deploy:shop/staging";
    assert!(bench.world().queue_of(lock).is_empty(), "it holds nothing");

    // A hotfix that needs no approval goes by.
    bench.settings["environments"]["staging"]["approval"] = json!({"required": false});
    let hotfix = bench.enqueue("deploy", to("v3", "rolling"));
    bench.settle().await;
    assert_eq!(bench.report(&hotfix).0, TaskStatus::Completed);
    assert_eq!(bench.stands(), runs("v3"));

    // What stands is something else now, so that a yes is to nothing.
    bench.answer(&asks, "approved").await;
    let anew = bench.waits_for(&asks);
    assert!(
        anew[0].starts_with("approval/plan ") && anew != question,
        "{anew:?}"
    );
    assert!(bench.world().queue_of(lock).is_empty(), "it let go again");
    assert_eq!(bench.stands(), runs("v3"));
    bench.answer(&asks, "approved").await;
    assert_eq!(bench.report(&asks).0, TaskStatus::Completed);
    assert_eq!(bench.stands(), runs("v2"));
}

#[tokio::test]
async fn an_approved_plan_queues_again_and_is_looked_at_again() {
    let bench = guided();
    let asks = bench.enqueue("deploy", to("v2", "rolling"));
    bench.settle().await;
    let other = bench.world().enqueue(crate::bench::task("another", json!({})));
    let lock = "deploy:shop/staging";
    crate::bench::hold(&bench.world(), &other, lock).await;
    bench.answer(&asks, "approved").await;
    let view = bench.world().view(&asks).expect("the task");
    assert_eq!(
        view.waits_for.expect("it waits").why,
        format!("pending, behind task {other} on {lock}")
    );
    assert_eq!(bench.fleet.effects(), []);
    crate::bench::end(&bench.world(), &other);
    bench.settle().await;
    assert_eq!(bench.report(&asks).0, TaskStatus::Completed);
}

#[tokio::test]
async fn a_flag_that_begins_with_a_pause_holds_nothing_until_somebody_says_go() {
    let bench = Bench::new();
    let payload = json!({"version": "new", "environment": "staging", "strategy": {"name": "feature_flag",
        "steps": [{"pause": {}}, {"set_weight": 50}]}});
    let id = bench.enqueue("deploy", payload);
    bench.settle().await;
    assert!(bench.waits_for(&id)[0].starts_with("approval/plan "));
    assert!(bench.world().queue_of("deploy:shop/staging").is_empty());
    bench.answer(&id, "approved").await;
    assert_eq!(
        bench.report(&id).0,
        TaskStatus::Completed,
        "{:#?}",
        bench.report(&id).1
    );
    assert_eq!(bench.flags.effects(), [50, 100]);
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
