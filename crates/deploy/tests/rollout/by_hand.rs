//! What somebody changes by hand during a rollout is noticed, held and shown.

use domain::{Idem, TaskId, TaskStatus, Verdict};
use ports::fake::Behaviour;
use ports::{DeploymentOutcome, Fleet, Share, Side};
use serde_json::json;

use crate::bench::{Bench, route, runs, workload};

/// A canary that waits at its first weight, as a person may see it.
pub async fn half_out(bench: &Bench) -> TaskId {
    let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 10}, {"pause": {}}, {"set_weight": 50}]}});
    let id = bench.enqueue("deploy", payload);
    bench.settle().await;
    assert_eq!(bench.shares(), [10.0]);
    id
}

#[tokio::test]
async fn another_version_on_the_stable_side_is_held_and_left_alone_on_a_no() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.fleet.meddle(&workload(), Side::Stable, "v3");
    bench.answer(&id, "approved").await;
    let told = bench.world().told(&id);
    let held = told.last().expect("it tells");
    assert_eq!(held.verdict, Verdict::Held);
    assert!(
        held.summary
            .contains("the stable side of shop/checkout was changed by somebody else: it is told to run v3"),
        "{}",
        held.summary
    );
    assert_eq!(bench.shares(), [10.0], "nothing more was done");
    bench.answer(&id, "rejected").await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert!(report.summary.contains("was left so"), "{}", report.summary);
    let held = "hold: nobody undoes what somebody else did";
    assert!(report.facts.iter().any(|fact| fact.value == held), "{report:#?}");
    assert_eq!(bench.shares(), [10.0], "nobody undoes what somebody else did");
    assert_eq!(bench.log.all()[0].outcome, Some(DeploymentOutcome::Failed));
}

#[tokio::test]
async fn traffic_that_was_parted_by_hand_is_held_and_gone_on_from_on_a_yes() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.router.meddle(&route(), Share { part: 3, of: 100 });
    bench.answer(&id, "approved").await;
    assert_eq!(
        bench.waits_for(&id),
        ["approval/going on after a change by hand (staging, step 5)"]
    );
    bench.answer(&id, "approved").await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded),
        "{report:#?}"
    );
    assert_eq!(bench.shares(), [10.0, 50.0, 100.0, 0.0]);
    assert_eq!(bench.stands(), runs("v2"));
}

#[tokio::test]
async fn a_workload_that_is_paused_by_hand_is_held_and_resumed_on_a_yes() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    let stable = bench.fleet.observe(&workload(), Side::Stable).await;
    let mark = stable.unwrap().unwrap().mark;
    let by_hand = Idem::new("by hand".to_owned());
    bench
        .fleet
        .pause(&workload(), true, &mark, &by_hand)
        .await
        .unwrap();
    bench.answer(&id, "approved").await;
    assert_eq!(
        bench.waits_for(&id),
        ["approval/going on after a change by hand (staging, step 5)"]
    );
    bench.answer(&id, "approved").await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded),
        "{report:#?}"
    );
    assert_eq!(bench.stands(), runs("v2"));
}

#[tokio::test]
async fn nothing_falls_back_to_a_stable_side_that_is_gone_until_it_is_back() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.fleet.remove(&workload(), Side::Stable);
    bench.world().cancel(&id);
    bench.settle().await;
    let told = bench.world().told(&id);
    let held = told.last().expect("it tells");
    assert_eq!(held.verdict, Verdict::Held);
    assert!(
        held.summary
            .contains("is gone, so there is nothing to fall back to; v2 has 10 % of the traffic"),
        "{}",
        held.summary
    );
    assert_eq!(bench.shares(), [10.0]);
    // A yes looks anew; it is still gone.
    bench.answer(&id, "approved").await;
    assert_eq!(
        bench.waits_for(&id),
        ["approval/unwind:rolling back again (staging, try 2)"]
    );
    bench.fleet.meddle(&workload(), Side::Stable, "v1");
    bench.fleet.meddle(&workload(), Side::Stable, "v1");
    bench.answer(&id, "approved").await;
    // One replica came back, four were there: it is brought to its number before it gets the traffic.
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::Cancelled),
        "{report:#?}"
    );
    assert_eq!((bench.shares(), bench.stands()), (vec![10.0, 0.0], runs("v1")));
}

#[tokio::test]
async fn nothing_falls_back_to_a_stable_side_that_is_not_well() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.fleet.break_side(&workload(), Side::Stable);
    bench.answer(&id, "rejected").await;
    assert_eq!(
        bench.waits_for(&id),
        ["approval/unwind:rolling back again (staging, try 1)"]
    );
    assert_eq!(bench.shares(), [10.0]);
    bench.answer(&id, "rejected").await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert!(
        report
            .facts
            .iter()
            .any(|fact| fact.value.contains("candidate v2 (1) with 10 %")),
        "{report:#?}"
    );
    let held = |value: &str| value.starts_with("hold: left as it is: the stable side");
    assert!(
        report.facts.iter().any(|fact| held(&fact.value)),
        "nobody changed anything by hand: {report:#?}"
    );
}

#[tokio::test]
async fn a_cancelled_canary_gives_the_traffic_back() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.world().cancel(&id);
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Cancelled, Verdict::Cancelled)
    );
    assert_eq!((bench.shares(), bench.stands()), (vec![10.0, 0.0], runs("v1")));
    let log = bench.log.all();
    assert_eq!(log[0].outcome, Some(DeploymentOutcome::Cancelled));
    assert!(log[0].failures.is_empty(), "a cancel is nobody's failure");
}

#[tokio::test]
async fn what_is_half_out_goes_on_from_there() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    // Left as it is by a person's word.
    bench.fleet.meddle(&workload(), Side::Stable, "v1");
    bench.answer(&id, "approved").await;
    bench.answer(&id, "rejected").await;
    assert_eq!(bench.report(&id).1.verdict, Verdict::Failed);
    let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 10}, {"set_weight": 60}]}});
    let (status, report) = bench.deploy(payload).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded),
        "{report:#?}"
    );
    assert!(report.why.expect("says so").contains("half out already"));
    assert_eq!(
        bench.shares(),
        [10.0, 60.0, 100.0, 0.0],
        "it is not gone back to 10 %"
    );
    assert_eq!(bench.stands(), runs("v2"));
}

#[tokio::test]
async fn a_candidate_that_somebody_replaced_gets_no_more_traffic_on_a_yes() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.fleet.meddle(&workload(), Side::Candidate, "v3");
    bench.answer(&id, "approved").await;
    assert_eq!(
        bench.waits_for(&id),
        ["approval/going on after a change by hand (staging, step 4)"]
    );
    bench.answer(&id, "approved").await;
    let told = bench.world().told(&id);
    let held = told.last().expect("it tells");
    assert!(
        held.summary.contains("v3 stands beside what serves"),
        "{}",
        held.summary
    );
    assert_eq!(bench.shares(), [10.0], "it did not get more");
}

#[tokio::test]
async fn a_candidate_that_is_ready_no_more_gets_no_more_traffic() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.fleet.break_side(&workload(), Side::Candidate);
    let named = bench
        .world()
        .view(&id)
        .expect("the task")
        .waits_for
        .expect("a question");
    bench
        .world()
        .send_signal(&id, &named.signals[0], crate::bench::answer("approved"));
    bench.turn().await;
    let view = bench.world().view(&id).expect("the task");
    let why = view.waits_for.expect("it waits for it").why;
    assert!(why.starts_with("for v2 to become ready (0 of 2 ready"), "{why}");
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::RolledBack),
        "{report:#?}"
    );
    assert_eq!((bench.shares(), bench.stands()), (vec![10.0, 0.0], runs("v1")));
}

#[tokio::test]
async fn a_stable_side_that_comes_up_again_by_itself_is_waited_for() {
    let bench = Bench::new();
    let id = half_out(&bench).await;
    bench.fleet.add_version("v1", Behaviour::Slow(6));
    bench.fleet.meddle(&workload(), Side::Stable, "v1");
    bench.world().cancel(&id);
    bench.settle().await;
    assert_eq!(bench.waits_for(&id), [""; 0], "nobody is asked");
    assert_eq!(bench.report(&id).0, TaskStatus::Cancelled);
    assert_eq!((bench.shares(), bench.stands()), (vec![10.0, 0.0], runs("v1")));
}
