//! The cluster that tests run against behaves as one.

use serde_json::json;
use testkit::cluster::{Cluster, until};

/// One test: a cluster takes its time to start.
#[tokio::test]
async fn deployments_become_ready_or_not_as_their_images_say_and_go_away() {
    let mut cluster = Cluster::start().await;
    cluster.make_namespace("shop").await;
    let path = "/apis/apps/v1/namespaces/shop/deployments";
    for (name, image) in [("good", "shop:v1"), ("failing", "shop:crash")] {
        let labels = json!({ "app": name });
        let deployment = json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": 2,
                "selector": { "matchLabels": labels },
                "template": {
                    "metadata": { "labels": labels },
                    "spec": { "containers": [{ "name": "web", "image": image }] },
                },
            },
        });
        cluster.admin().create(path, &deployment).await;
    }
    let (admin, path) = (cluster.admin().clone(), &path);
    let status = |name: &'static str| {
        let admin = admin.clone();
        async move {
            let found = admin.get(&format!("{path}/{name}")).await;
            found.unwrap_or_default()["status"].clone()
        }
    };
    until("both are ready", || async {
        status("good").await["availableReplicas"] == 2
    })
    .await;
    until("both have been tried", || async {
        status("failing").await["unavailableReplicas"] == 2
    })
    .await;
    let pods = "/api/v1/namespaces/shop/pods?labelSelector=app=failing";
    until("they crash", || async {
        let pods = admin.list(pods).await;
        let crashes = |pod: &serde_json::Value| {
            let container = &pod["status"]["containerStatuses"][0];
            container["state"]["waiting"]["reason"] == "CrashLoopBackOff" && container["restartCount"] == 3
        };
        pods.len() == 2 && pods.iter().all(crashes)
    })
    .await;

    cluster.stop_api();
    cluster.start_api().await;
    cluster.admin().delete(&format!("{path}/good")).await;
    let left = "/api/v1/namespaces/shop/pods?labelSelector=app=good";
    until("nothing is left of it", || async {
        admin.list(left).await.is_empty()
    })
    .await;
}
