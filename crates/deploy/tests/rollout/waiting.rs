//! What is waited for: told in words, and not measured with what comes after it.

use domain::{TaskStatus, Verdict};
use ports::fake::Behaviour;
use serde_json::json;

use crate::bench::{Bench, to};

#[tokio::test]
async fn what_is_waited_for_is_told_in_words() {
    let bench = Bench::new();
    bench.fleet.add_version("v2", Behaviour::Slow(2));
    let payload = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 10}, {"pause": "1m"}, {"analyse": {}}]}});
    let id = bench.enqueue("deploy", payload);
    let mut whys: Vec<String> = Vec::new();
    while bench.turn().await {
        let world = bench.world();
        let Some(wake) = world.view(&id).expect("the task").waits_for else {
            break;
        };
        let why = wake.why.split(" until ").next().unwrap_or_default().to_owned();
        if whys.last() != Some(&why) {
            whys.push(why);
        }
        let due = wake.at.expect("nothing asks");
        world.advance((due - world.now()).to_std().unwrap_or_default());
    }
    assert_eq!(
        whys[..3],
        [
            "for v2 to become ready (0 of 1 ready)",
            "in the pause of step 4",
            "for 2s of measurements",
        ]
    );
}

#[tokio::test]
async fn what_is_watched_begins_when_the_new_replicas_are_ready() {
    let mut windows = Vec::new();
    for behaviour in [Behaviour::Healthy, Behaviour::Slow(4)] {
        let bench = Bench::new().with(|staging| staging["watch"] = json!("30m"));
        bench.fleet.add_version("v2", behaviour);
        let (status, report) = bench.deploy(to("v2", "rolling")).await;
        let good = (TaskStatus::Completed, Verdict::Succeeded);
        assert_eq!((status, report.verdict), good, "{report:#?}");
        let window = bench.metrics.asked()[0].1;
        windows.push(window.end - window.start);
    }
    assert_eq!(windows[0], windows[1], "the roll-out itself is not measured");
}
