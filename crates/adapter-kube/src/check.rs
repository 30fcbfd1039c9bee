use domain::{Error, Result};
use serde_json::json;

use crate::connection::Connection;
use crate::names::is_plain;

/// What `longshore doctor` tells of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// As it names itself: `v1.33.2`.
    pub version: String,
    /// What we may not do and would need to, in words: `may not patch deployments in shop`.
    pub missing: Vec<String>,
}

/// What every deployment needs: verb, API group, resource. Routes need more: deploy/kubernetes/role.yaml.
const NEEDED: &[(&str, &str, &str)] = &[
    ("get", "apps", "deployments"),
    ("create", "apps", "deployments"),
    ("patch", "apps", "deployments"),
    ("delete", "apps", "deployments"),
    ("list", "apps", "replicasets"),
    ("list", "", "pods"),
    ("list", "", "events"),
    ("list", "autoscaling", "horizontalpodautoscalers"),
    ("get", "", "podtemplates"),
];

impl Connection {
    /// Whether the cluster answers, and whether we may do there what deployments to a namespace need: the configured one
    /// when none is named. Nothing is changed.
    pub async fn check(&self, namespace: Option<&str>) -> Result<Checked> {
        let namespace = namespace.unwrap_or_else(|| self.namespace());
        if !is_plain(namespace) {
            return Err(Error::invalid(format!("`{namespace}` is no namespace")));
        }
        let told = self.get("/version", "ask the cluster for its version").await?;
        let version = told.unwrap_or_default()["gitVersion"]
            .as_str()
            .unwrap_or("unknown")
            .to_owned();
        let mut missing = Vec::new();
        for (verb, group, resource) in NEEDED {
            if !self.may(verb, group, resource, namespace, None).await? {
                missing.push(format!("may not {verb} {resource} in {namespace}"));
            }
        }
        Ok(Checked { version, missing })
    }

    /// Whether we may do that in a namespace: to one object there, or to each of its kind.
    pub(crate) async fn may(
        &self,
        verb: &str,
        group: &str,
        resource: &str,
        namespace: &str,
        name: Option<&str>,
    ) -> Result<bool> {
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": group, "resource": resource, "name": name,
            } },
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let doing = "ask the cluster what we may do";
        let answer = self.review(path, &question, doing).await?;
        Ok(answer["status"]["allowed"] == true)
    }
}

impl Checked {
    /// An error that says what to do, where something is missing.
    pub fn complete(&self) -> Result<()> {
        if self.missing.is_empty() {
            return Ok(());
        }
        let what = format!("longshore {} of the cluster", self.missing.join(", "));
        Err(Error::denied(what).next("Grant it: docs/kubernetes.md shows the Role that longshore needs"))
    }
}
