//! What stands in a namespace before longshore comes, and who it is there.

use serde_json::json;
use testkit::cluster::{Cluster, until};

use super::site::{Router, Site};

/// As it is handed to people.
const ROLE: &str = include_str!("../../../../deploy/kubernetes/role.yaml");
pub const SIDE: &str = "longshore/side";
pub const WEIGHT: &str = "nginx.ingress.kubernetes.io/canary-weight";

impl Site {
    /// A workload with `v1`, what its traffic goes through, and the same of somebody else.
    pub(super) async fn furnish(&self, replicas: u32) {
        let owner = json!({ "example.com/owner": "ada" });
        for (name, version, replicas) in [("checkout", "v1", replicas), ("legacy", "v0", 1)] {
            self.add_workload(name, version, replicas).await;
        }
        let mut services = vec![("legacy", json!({ "app": "legacy" }))];
        match self.router() {
            Router::Replicas => services.push(("checkout", json!({ "app": "checkout" }))),
            _ => services.push(("checkout", json!({ "app": "checkout", SIDE: "stable" }))),
        }
        if self.router() == Router::Ingress {
            services.push((
                "checkout-candidate",
                json!({ "app": "checkout", SIDE: "candidate" }),
            ));
        }
        for (name, selector) in services {
            let service = json!({
                "metadata": { "name": name, "annotations": owner },
                "spec": { "selector": selector, "ports": [{ "port": 80, "name": "http" }] },
            });
            self.admin.create(&self.services(), &service).await;
        }
        let mut ingresses = vec![("legacy", "legacy", owner.clone())];
        if self.router() == Router::Ingress {
            let mut canary = owner.clone();
            canary["nginx.ingress.kubernetes.io/canary"] = json!("true");
            canary["nginx.ingress.kubernetes.io/canary-by-header"] = json!("X-Try");
            canary[WEIGHT] = json!("0");
            ingresses.extend([
                ("web", "checkout", owner),
                ("web-candidate", "checkout-candidate", canary),
            ]);
        }
        for (name, service, annotations) in ingresses {
            let backend = json!({ "service": { "name": service, "port": { "number": 80 } } });
            let path = json!({ "path": "/", "pathType": "Prefix", "backend": backend });
            let ingress = json!({
                "metadata": { "name": name, "annotations": annotations },
                "spec": { "rules": [{ "host": "shop.example", "http": { "paths": [path] } }] },
            });
            self.admin.create(&self.ingresses(), &ingress).await;
        }
        let config = json!({ "metadata": { "name": "legacy" }, "data": { "weight": "10" } });
        self.admin
            .create(&self.path("api/v1", "configmaps"), &config)
            .await;
        until("everything runs", || async {
            let legacy = self.object(&self.deployments(), "legacy").await;
            let ours = self.object(&self.deployments(), "checkout").await;
            self.runs("v1").await
                && legacy["status"]["availableReplicas"] == 1
                && ours["status"]["availableReplicas"] == replicas
        })
        .await;
    }

    pub(super) async fn add_workload(&self, name: &str, version: &str, replicas: u32) {
        let mut labels = json!({ "app": name, "tier": "web" });
        if self.router() != Router::Replicas {
            labels[SIDE] = json!("stable");
        }
        let owner = json!({ "example.com/owner": "ada" });
        let deployment = json!({
            "metadata": { "name": name, "labels": { "team": "checkout" }, "annotations": owner },
            "spec": {
                "replicas": replicas,
                "selector": { "matchLabels": { "app": name } },
                "template": {
                    "metadata": { "labels": labels, "annotations": { "example.com/scrape": "true" } },
                    "spec": { "containers": [
                        { "name": "mesh", "image": "mesh.example/proxy:1" },
                        { "name": "web", "image": image(version), "env": [{ "name": "REGION", "value": "eu" }] },
                    ] },
                },
            },
        });
        let path = format!("{}?fieldManager=gitops", self.deployments());
        self.admin.create(&path, &deployment).await;
    }
}

pub fn image(version: &str) -> String {
    format!("registry.example:5000/shop/checkout:{version}")
}

/// A kubeconfig of a service account with the role that the documentation asks for, and no more.
pub async fn as_longshore(cluster: &Cluster, namespace: &str) -> (String, String) {
    let token = cluster.token(namespace, "longshore").await;
    let ours = ROLE.replace("namespace: shop", &format!("namespace: {namespace}"));
    let (role, binding) = ours.split_once("\n---\n").expect("two objects");
    let folder = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
    for (kinds, object) in [("roles", role), ("rolebindings", binding)] {
        cluster
            .admin()
            .create_yaml(&format!("{folder}/{kinds}"), object)
            .await;
    }
    until("the role is in force", || {
        cluster.may(&token, namespace, "patch", "networking.k8s.io", "ingresses")
    })
    .await;
    let path = cluster.kubeconfig(namespace, &token);
    (path.to_str().expect("a path of text").to_owned(), token)
}
