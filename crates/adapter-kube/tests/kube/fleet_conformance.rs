//! Deployments pass the suite of the fleet port.

use std::sync::Arc;

use async_trait::async_trait;
use ports::conformance::fleet::{FleetWorld, Versions};
use ports::conformance::{Breakage, Scene};
use ports::{Fleet, Side, WorkloadRef};
use serde_json::{Value, json};
use testkit::cluster::{Cluster, until};
use testkit::peer::Fault;

use crate::site::{Site, image};

struct World {
    site: Site,
}

async fn world(cluster: Arc<Cluster>) -> World {
    let site = Site::start(cluster).await;
    let path = site.path("apis/apps/v1", "deployments");
    // Of the same labels but one: a wrong selector would find its pods.
    let labels = json!({ "app": "neighbour", "tier": "web" });
    let neighbour = json!({
        "metadata": { "name": "neighbour" },
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "web", "image": image("v1") }] },
            },
        },
    });
    site.admin().create(&path, &neighbour).await;
    World { site }
}

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    ports::fleet_conformance!(scenes world(Arc::clone(cluster)))
}

#[async_trait]
impl FleetWorld for World {
    fn port(&self) -> &dyn Fleet {
        &self.site.fleet
    }
    fn versions(&self) -> Versions {
        Versions {
            first: "v1".to_owned(),
            second: "v2".to_owned(),
            third: "v3".to_owned(),
            crashing: "v4-crash".to_owned(),
            missing: "-v9".to_owned(),
        }
    }
    async fn running(&self, versions: &[&str], replicas: u32) -> WorkloadRef {
        let (first, rest) = versions.split_first().expect("a version");
        self.site.make("checkout", first, replicas).await;
        for version in rest {
            self.site.meddle("checkout", version).await;
            self.site.complete("checkout").await;
        }
        self.site.at()
    }
    async fn empty(&self) -> WorkloadRef {
        self.site.make_pod_template("checkout").await;
        self.site.at()
    }
    fn missing(&self) -> WorkloadRef {
        self.site.workload("nothing")
    }
    async fn settle(&self, _: &WorkloadRef) {
        until("all is done that can be done", || async {
            let mut settled = true;
            for side in [Side::Stable, Side::Candidate] {
                if let Some(group) = self.site.group("checkout", side).await {
                    let crashes = group.restarts > 0 && !group.trouble.is_empty();
                    settled &= group.observed && (group.is_complete() || group.paused || crashes);
                }
            }
            settled
        })
        .await;
    }
    async fn meddle(&self, _: &WorkloadRef, side: Side, version: &str) {
        let name = match side {
            Side::Stable => "checkout",
            Side::Candidate => "checkout-candidate",
        };
        self.site.meddle(name, version).await;
    }
    async fn changes(&self) -> usize {
        self.site.changes()
    }
    async fn foreign(&self) -> String {
        let neighbour = self.site.admin().get(&self.site.deployment("neighbour")).await;
        let ours = self.site.admin().get(&self.site.deployment("checkout")).await;
        format!(
            "{}\n{}",
            neighbour.expect("stands"),
            ours.map(foreign).unwrap_or_default()
        )
    }
    async fn deny_writes(&self) {
        self.site.deny_writes().await;
    }
    async fn break_next(&self, breakage: Breakage) {
        self.site.break_next(&match breakage {
            Breakage::RateLimited(wait) => Fault::RateLimited(wait),
            Breakage::OutOfOrder => Fault::Status(503),
            Breakage::DoneThenCut => Fault::DoneThenCut,
            Breakage::NoAnswer => Fault::Hang,
        });
    }
}

/// A Deployment without the fields that are longshore's to change, and without what the cluster counts by itself.
pub fn foreign(mut deployment: Value) -> Value {
    let mut take = |pointer: &str, field: &str| {
        let found = deployment.pointer_mut(pointer).and_then(Value::as_object_mut);
        found.and_then(|fields| fields.remove(field));
    };
    take("", "status");
    for field in ["resourceVersion", "generation", "managedFields"] {
        take("/metadata", field);
    }
    take("/metadata/annotations", "deployment.kubernetes.io/revision");
    take("/spec", "strategy");
    take("/spec/template/spec/containers/1", "image");
    deployment
}
