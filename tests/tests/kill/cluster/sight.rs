//! What stands in a site, as it is and as it can be compared.

use serde_json::{Value, json};
use testkit::cluster::{Cluster, until};

use super::furniture::{SIDE, WEIGHT, image};
use super::site::{Router, Site};

impl Site {
    /// Pods that are not on their way out.
    pub async fn pods(&self) -> Vec<Value> {
        let mut pods = self
            .admin
            .list(&format!(
                "{}?labelSelector=app=checkout",
                self.path("api/v1", "pods")
            ))
            .await;
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    pub async fn candidates(&self) -> Vec<Value> {
        let mut pods = self.pods().await;
        pods.retain(|pod| pod["metadata"]["labels"][SIDE] == "candidate");
        pods
    }

    /// What users of the workload get of the candidate now, in percent where the route says so.
    pub async fn candidates_share(&self) -> u64 {
        match self.router() {
            Router::Replicas => {
                let all = self.pods().await.len().max(1);
                (self.candidates().await.len() * 100 / all) as u64
            }
            Router::Selector => {
                let service = self.object(&self.services(), "checkout").await;
                match service["spec"]["selector"][SIDE] == "candidate" {
                    true => 100,
                    false => 0,
                }
            }
            Router::Ingress => {
                let ingress = self.object(&self.ingresses(), "web-candidate").await;
                let weight = ingress["metadata"]["annotations"][WEIGHT].as_str();
                weight.and_then(|weight| weight.parse().ok()).expect("a weight")
            }
        }
    }

    /// All pods run this version, and are ready; nothing is beside them.
    pub async fn runs(&self, version: &str) -> bool {
        let deployment = self.object(&self.deployments(), "checkout").await;
        let (pods, image) = (self.pods().await, image(version));
        let is_so = |pod: &Value| pod["spec"]["containers"][1]["image"] == image && is_ready(pod);
        deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
            && Some(pods.len() as u64) == deployment["spec"]["replicas"].as_u64()
            && pods.iter().all(is_so)
    }

    /// What the workload's own Service or Ingress sends to: all that is ready.
    pub async fn serving(&self) -> Vec<Value> {
        let mut pods = self.pods().await;
        pods.retain(is_ready);
        if self.router() != Router::Replicas {
            pods.retain(|pod| pod["metadata"]["labels"][SIDE] == "stable");
        }
        pods
    }

    /// The candidate's processes end and are started again, as a kubelet tells it.
    pub async fn crash_candidates(&self) {
        for pod in self.candidates().await {
            let mut told = pod["status"]["containerStatuses"].clone();
            for container in told.as_array_mut().into_iter().flatten() {
                container["restartCount"] = json!(2);
            }
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let path = format!("{}/{name}/status", self.path("api/v1", "pods"));
            self.admin
                .merge(&path, &json!({ "status": { "containerStatuses": told } }))
                .await;
        }
    }

    /// What is somebody else's, byte for byte and with its resource versions.
    pub async fn foreign(&self) -> Vec<String> {
        let configs = self.path("api/v1", "configmaps");
        let mut all = Vec::new();
        for kinds in [self.deployments(), self.services(), self.ingresses(), configs] {
            all.push(self.object(&kinds, "legacy").await.to_string());
        }
        if self.router() == Router::Ingress {
            all.push(self.object(&self.ingresses(), "web").await.to_string());
        }
        all
    }

    /// Everything that stands there, without what differs between two places and times.
    pub async fn stands(&self) -> Vec<Value> {
        let sets = self.path("apis/apps/v1", "replicasets");
        until("what is gone has been cleared away", || async {
            let sets = self.admin.list(&sets).await;
            let name = |set: &Value| set["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            !sets.iter().any(|set| name(set).starts_with("checkout-candidate"))
        })
        .await;
        let mut all = Vec::new();
        for kinds in [self.deployments(), self.services(), self.ingresses()] {
            all.extend(self.admin.list(&kinds).await);
        }
        for mut set in self.admin.list(&sets).await {
            // How its replicas came and went is the controllers' own pace.
            set["status"] = Value::Null;
            set["metadata"]["generation"] = Value::Null;
            all.push(set);
        }
        for object in &mut all {
            settle(object, &self.namespace);
        }
        all.sort_by_key(ToString::to_string);
        all
    }

    /// What the API server took from longshore, in order and without what differs between two places and times.
    pub fn writes(&self, cluster: &Cluster) -> Vec<String> {
        let all = cluster.writes(&self.namespace);
        let done = all.into_iter().filter(|write| write.was_done());
        done.map(|write| {
            let mut sent = write.sent;
            if let Some(ops) = sent.as_array_mut() {
                ops.retain(|op| op["path"] != "/metadata/resourceVersion");
            }
            settle(&mut sent, &self.namespace);
            format!("{} {} {} {sent}", write.verb, write.kinds, write.name)
        })
        .collect()
    }

    /// Each weight that was set, in order.
    pub fn weights(&self, cluster: &Cluster) -> Vec<String> {
        self.values(cluster, "ingresses")
    }

    /// Each side that the Service was switched to, in order.
    pub fn switches(&self, cluster: &Cluster) -> Vec<String> {
        self.values(cluster, "services")
    }

    fn values(&self, cluster: &Cluster, kinds: &str) -> Vec<String> {
        let all = cluster.writes(&self.namespace);
        let done = all
            .iter()
            .filter(|write| write.was_done() && write.kinds == kinds);
        done.flat_map(|write| write.sent.as_array().cloned().unwrap_or_default())
            .filter(|op| op["path"] != "/metadata/resourceVersion")
            .map(|op| op["value"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions
        .into_iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}
/// Takes away what differs between two places and times.
fn settle(value: &mut Value, namespace: &str) {
    const DIFFERS: [&str; 10] = [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "selfLink",
        "clusterIP",
        "clusterIPs",
        // They come and go in the controllers' order.
        "conditions",
        "lastTransitionTime",
        "lastUpdateTime",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !DIFFERS.contains(&name.as_str()));
            fields.values_mut().for_each(|value| settle(value, namespace));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| settle(value, namespace)),
        Value::String(text) => *text = text.replace(namespace, "NAMESPACE"),
        _ => {}
    }
}
