//! An API server that goes away in the middle of a rollout, again and again.

use std::time::Instant;

use serde_json::{Value, json};
use testkit::cluster::Cluster;

use super::site::{Router, Site};

/// Where it goes away: while the candidate comes up, while it has its first share, and while the stable side is replaced.
const AT: [&str; 3] = [
    "wait::text LIKE '%to become ready%'",
    "wait::text LIKE '%in the pause of step%'",
    "wait::text LIKE '%to become ready%' AND EXISTS (SELECT FROM longshore.task_steps WHERE key LIKE 'roll-out/%')",
];

pub async fn a_rollout_over_restarts_of_the_api_server(mut cluster: Cluster) {
    let steps = json!([{ "set_weight": 20 }, { "pause": "3s" }, { "analyse": {} }, { "set_weight": 50 }]);
    let settings = json!({ "canary": { "steps": steps } });
    let site = Site::start(&cluster, Router::Ingress, 2, settings).await;
    let (foreign, worker, stage) = (site.foreign().await, site.worker(), &site.stage);
    let task = site.deploy("v2", "canary", Value::Null).await;
    let begun = Instant::now();
    for at in AT {
        let there = format!("EXISTS (SELECT FROM tasks WHERE id = '{task}' AND {at})");
        stage
            .until(at, &worker, || async { stage.holds(&there).await })
            .await;
        cluster.stop_api();
        let tried = format!("failures > 0 FROM tasks WHERE id = '{task}'");
        stage
            .until("it has been tried in vain", &worker, || async {
                stage.holds(&tried).await
            })
            .await;
        cluster.start_api().await;
        println!("the API server was away at: {at} ({:.1?})", begun.elapsed());
    }
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    assert_eq!(site.weights(&cluster), ["20", "50", "100", "0"]);
    let made = site.writes(&cluster);
    assert_eq!(
        made.iter().filter(|write| write.starts_with("create")).count(),
        1,
        "{made:#?}"
    );
    site.until_all_run("v2", &worker).await;
    assert_eq!(site.foreign().await, foreign);
}
