//! A canary on a real API server whose worker is killed at every write of a step.

use std::sync::Arc;
use std::time::Instant;

use ports::conformance::Scene;
use serde_json::{Value, json};
use testkit::cluster::Cluster;

use super::furniture::image;
use super::site::{Router, Site};

/// What a deployment came to.
#[derive(Debug, PartialEq)]
struct Came {
    verdict: Value,
    stands: Vec<Value>,
    /// What the API server took.
    writes: Vec<String>,
    log: Vec<String>,
    records: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Came {
    async fn of(site: &Site, cluster: &Cluster, result: &Value) -> Self {
        // The first line of a note says what it came to; what is folded below has times and worker names.
        let first = |note: String| {
            note.lines()
                .find(|line| !line.starts_with("<!--"))
                .map(str::to_owned)
        };
        Self {
            verdict: result["verdict"].clone(),
            stands: site.stands().await,
            writes: site.writes(cluster),
            log: site.stage.deployments().await,
            records: site.records(),
            notes: site.notes().into_iter().filter_map(first).collect(),
        }
    }
}

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    let of = |router: Router, replicas: u32| {
        let cluster = Arc::clone(cluster);
        Scene::new("killed at every write of a step", async move {
            as_if_nothing_had_happened(&cluster, router, replicas).await;
        })
        .with(&format!("{router:?}"))
    };
    vec![of(Router::Ingress, 2), of(Router::Replicas, 4)]
}

async fn as_if_nothing_had_happened(cluster: &Cluster, router: Router, replicas: u32) {
    let settings = json!({ "canary": { "steps": [
        { "set_weight": 20 }, { "pause": "1s" }, { "analyse": {} }, { "set_weight": 50 }, { "analyse": {} },
    ] } });
    let calm = Site::start(cluster, router, replicas, settings.clone()).await;
    let expected = {
        let worker = calm.worker();
        let task = calm.deploy("v2", "canary", Value::Null).await;
        let result = calm.until_over(&task, &worker).await;
        assert_eq!(result["verdict"], "succeeded", "{result:#}");
        Came::of(&calm, cluster, &result).await
    };
    let row = format!("{} succeeded {}", image("v2"), image("v1"));
    assert_eq!(expected.log, [row]);
    assert_eq!(expected.records, [["running", "success"]]);

    let site = Site::start(cluster, router, replicas, settings).await;
    let foreign = site.foreign().await;
    site.stage.gate_every_write().await;
    let task = site.deploy("v2", "canary", Value::Null).await;
    let begun = Instant::now();
    let (killed, last) = site.stage.kill_at_every_write(&task, || site.worker()).await;
    println!(
        "{router:?}: killed {} times in {:.1?}: {killed:#?}",
        killed.len(),
        begun.elapsed()
    );
    assert!(killed.len() > 30, "{killed:#?}");
    let result = site.until_over(&task, &last).await;
    let came = Came::of(&site, cluster, &result).await;
    println!(
        "{router:?}: the API server took {:#?}; notes: {:#?}",
        came.writes, came.notes
    );
    assert_eq!(came, expected);
    assert_eq!(site.foreign().await, foreign);
    site.until_all_run("v2", &last).await;
}
