//! Two services in one task: the second after the first, and both or none.

use std::sync::Arc;

use ports::conformance::Scene;
use serde_json::{Value, json};
use testkit::cluster::{Cluster, until};

use super::furniture::image;
use super::site::{Router, Site};

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    super::scenes!(
        cluster,
        two_services_go_out_in_order_and_both_come_back_when_the_second_fails
    )
}

async fn two_services_go_out_in_order_and_both_come_back_when_the_second_fails(cluster: Arc<Cluster>) {
    let site = Site::start(
        &cluster,
        Router::Replicas,
        2,
        json!({ "progress_deadline": "8s" }),
    )
    .await;
    site.add_workload("cart", "v1", 2).await;
    site.until_both_run(["v1", "v1"]).await;
    let cart = json!({
        "target": "cluster", "workload": "cart", "container": "web", "replicas": 2, "progress_deadline": "8s",
        "freeze": { "windows": [] },
    });
    site.stage.add_environment("cart", &cart).await;
    let (foreign, worker) = (site.foreign().await, site.worker());

    let task = site.deploy_both("v2", "v2").await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    site.until_both_run(["v2", "v2"]).await;

    let task = site.deploy_both("v3", "crash").await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    assert!(result.to_string().contains("CrashLoopBackOff"), "{result:#}");
    site.until_both_run(["v2", "v2"]).await;
    let (seen, log) = (site.images(&cluster), site.stage.deployments().await);
    println!(
        "a group: {}\n  the API server took {seen:#?}\n  log {log:#?}",
        result["summary"].as_str().unwrap_or_default()
    );
    assert_eq!(
        seen,
        [
            "checkout v2",
            "cart v2",
            "checkout v3",
            "cart crash",
            "cart v2",
            "checkout v2"
        ]
    );
    // Nothing was wrong with the first: it went back for the sake of the other.
    let [v1, v2, v3, crash] = ["v1", "v2", "v3", "crash"].map(image);
    assert_eq!(
        log,
        [
            format!("{v2} succeeded {v1}"),
            format!("{v2} succeeded {v1}"),
            format!("{v3} cancelled {v2}"),
            format!("{crash} rolled_back {v2}"),
        ]
    );
    assert_eq!(site.foreign().await, foreign);
}

impl Site {
    async fn deploy_both(&self, checkout: &str, cart: &str) -> String {
        let services = json!({
            "cart": { "version": cart, "after": ["production"] },
            "production": checkout,
        });
        let payload = json!({ "strategy": "group", "services": services });
        self.stage.add_task("deploy", &payload).await
    }

    async fn until_both_run(&self, versions: [&str; 2]) {
        until("both run", || async {
            for (name, version) in ["checkout", "cart"].into_iter().zip(versions) {
                let stands = self.object(&self.deployments(), name).await;
                let (status, container) = (
                    &stands["status"],
                    &stands["spec"]["template"]["spec"]["containers"][1],
                );
                let runs = container["image"] == image(version)
                    && status["observedGeneration"] == stands["metadata"]["generation"]
                    && ["replicas", "updatedReplicas", "availableReplicas"]
                        .iter()
                        .all(|count| status[count] == 2);
                if !runs {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// `WORKLOAD VERSION`, each time that the API server was told to run one.
    fn images(&self, cluster: &Cluster) -> Vec<String> {
        let all = cluster.writes(&self.namespace).into_iter();
        let done = all.filter(|write| write.was_done() && write.kinds == "deployments");
        done.flat_map(|write| {
            let ops = write.sent.as_array().cloned().unwrap_or_default();
            let versions = ops.into_iter().filter_map(|op| version(&op["value"]));
            versions
                .map(|version| format!("{} {version}", write.name))
                .collect::<Vec<_>>()
        })
        .collect()
    }
}

/// Of the image in what was written, however much of the object that was.
fn version(written: &Value) -> Option<String> {
    let known = image("");
    match written {
        Value::String(text) => text.strip_prefix(&known).map(str::to_owned),
        Value::Array(items) => items.iter().find_map(version),
        Value::Object(fields) => fields.values().find_map(version),
        _ => None,
    }
}
