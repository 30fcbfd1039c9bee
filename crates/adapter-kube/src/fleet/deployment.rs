//! A Deployment as the API has it.

use domain::{Error, Result};
use ports::{Mark, Pace, Portion, Side};
use serde_json::{Value, json};

use crate::connection::Op;
use crate::digest;
use crate::names::Name;

/// By which our own Deployments are known.
pub(super) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
pub(super) const MANAGER: &str = "longshore";
const HASH: &str = "pod-template-hash";

#[derive(Clone, Debug)]
pub(super) struct Deployment {
    object: Value,
    /// An autoscaler decides how many replicas it has.
    autoscaled: bool,
}

impl Deployment {
    pub fn new(object: Value, autoscaled: bool) -> Self {
        Self { object, autoscaled }
    }

    pub fn object(&self) -> &Value {
        &self.object
    }

    pub fn spec(&self) -> &Value {
        &self.object["spec"]
    }

    pub fn status(&self, field: &str) -> u32 {
        count(&self.object["status"][field])
    }

    pub fn template(&self) -> &Value {
        &self.spec()["template"]
    }

    pub fn uid(&self) -> &Value {
        &self.object["metadata"]["uid"]
    }

    pub fn resource_version(&self) -> &str {
        self.object["metadata"]["resourceVersion"]
            .as_str()
            .unwrap_or_default()
    }

    /// Somebody deleted it, and it is not gone yet.
    pub fn is_going(&self) -> bool {
        !self.object["metadata"]["deletionTimestamp"].is_null()
    }

    pub fn is_autoscaled(&self) -> bool {
        self.autoscaled
    }

    pub fn is_ours(&self) -> bool {
        self.object["metadata"]["labels"][MANAGED_BY] == MANAGER
    }

    pub fn is_paused(&self) -> bool {
        self.spec()["paused"] == true
    }

    pub fn replicas(&self) -> u32 {
        // The API server fills in 1 where nothing is said.
        self.spec()["replicas"].as_u64().map_or(1, clamp)
    }

    pub fn is_observed(&self) -> bool {
        let generation = self.object["metadata"]["generation"].as_u64();
        self.object["status"]["observedGeneration"].as_u64() >= generation
    }

    /// Everything that is somebody's wish, and nothing that follows from one.
    pub fn mark(&self) -> Mark {
        digest::mark(&json!({
            "uid": self.uid(),
            "template": self.template(),
            "paused": self.is_paused(),
            "replicas": (!self.autoscaled).then(|| self.replicas()),
        }))
    }

    pub fn conditions(&self) -> impl Iterator<Item = &Value> {
        items(&self.object["status"]["conditions"])
    }

    /// The change of its pace; nothing where it replaces all pods at once, which is for a reason.
    pub fn paced(&self, pace: Option<Pace>) -> Option<Op> {
        let now = &self.spec()["strategy"];
        let wanted = strategy(pace?);
        let keep = now["type"] == "Recreate" || *now == wanted;
        (!keep).then(|| Op::put("/spec/strategy", wanted))
    }
}

/// Which of the containers of a pod's template carries the version, and its image.
pub(super) fn container<'a>(
    template: &'a Value,
    wanted: Option<&str>,
    whose: &Name,
) -> Result<(usize, &'a str)> {
    let all: Vec<_> = items(&template["spec"]["containers"]).collect();
    let named = |container: &&Value| container["name"].as_str() == wanted;
    let found = match (wanted, all.as_slice()) {
        (Some(_), _) => all.iter().position(named),
        (None, [_]) => Some(0),
        (None, _) => None,
    };
    if let Some(place) = found {
        return Ok((place, all[place]["image"].as_str().unwrap_or_default()));
    }
    let names: Vec<_> = all
        .iter()
        .filter_map(|container| container["name"].as_str())
        .collect();
    let list = names.join(", ");
    Err(match wanted {
        Some(wanted) => {
            let error = Error::not_found(format!("{whose} has no container {wanted}; it has {list}"));
            match domain::nearest(wanted, names.iter().copied()) {
                Some(near) => error.next(format!("Did you mean {near}?")),
                None => error,
            }
        }
        None => Error::invalid(format!(
            "{whose} has several containers, and nothing says which one carries the version"
        ))
        .next(format!("Name one of {list} as `container`")),
    })
}

pub(super) fn strategy(pace: Pace) -> Value {
    let portion = |portion| match portion {
        Portion::Replicas(replicas) => json!(replicas),
        Portion::Percent(percent) => json!(format!("{percent}%")),
    };
    json!({
        "type": "RollingUpdate",
        "rollingUpdate": {
            "maxUnavailable": portion(pace.max_unavailable),
            "maxSurge": portion(pace.max_surge),
        },
    })
}

/// A template without what its ReplicaSet wrote into it.
pub(super) fn without_hash(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    template
}

/// What stands beside a Deployment: made like it, with labels that say which side it is.
pub(super) fn candidate(
    stable: &Deployment,
    name: &Name,
    label: &str,
    version: (usize, &str),
    replicas: u32,
) -> Value {
    let mut spec = stable.spec().clone();
    spec["replicas"] = json!(replicas);
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("paused");
    }
    spec["selector"]["matchLabels"][label] = json!(Side::Candidate.as_str());
    // What the stable side's selector says of the label must not contradict that.
    if let Some(expressions) = spec["selector"]["matchExpressions"].as_array_mut() {
        expressions.retain(|expression| expression["key"] != label);
    }
    spec["template"] = beside(stable.template(), label, version);
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name.name,
            "namespace": name.namespace,
            // Not the stable side's: tools that keep their own objects by a label would take this for one of them.
            "labels": { MANAGED_BY: MANAGER, label: Side::Candidate.as_str() },
        },
        "spec": spec,
    })
}

/// The template of what stands beside.
pub(super) fn beside(stable: &Value, label: &str, (place, image): (usize, &str)) -> Value {
    let mut template = stable.clone();
    template["metadata"]["labels"][label] = json!(Side::Candidate.as_str());
    template["spec"]["containers"][place]["image"] = json!(image);
    template
}

/// The first Deployment of a workload, from the PodTemplate of its name.
pub(super) fn first(
    pods: &Value,
    name: &Name,
    label: &str,
    (place, image): (usize, &str),
    replicas: u32,
    pace: Option<Pace>,
) -> Value {
    let mut template = pods["template"].clone();
    template["metadata"]["labels"][label] = json!(Side::Stable.as_str());
    template["spec"]["containers"][place]["image"] = json!(image);
    let mut spec = json!({
        "replicas": replicas,
        "selector": { "matchLabels": template["metadata"]["labels"] },
        "template": template,
    });
    if let Some(pace) = pace {
        spec["strategy"] = strategy(pace);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name.name,
            "namespace": name.namespace,
            "labels": { MANAGED_BY: MANAGER, label: Side::Stable.as_str() },
        },
        "spec": spec,
    })
}

/// A selector as lists take it.
pub(super) fn selector(spec: &Value) -> String {
    let labels = spec["selector"]["matchLabels"].as_object();
    let equal = labels
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
    let expressions = items(&spec["selector"]["matchExpressions"]).map(|expression| {
        let key = expression["key"].as_str().unwrap_or_default();
        let values: Vec<_> = items(&expression["values"]).filter_map(Value::as_str).collect();
        let values = values.join(",");
        match expression["operator"].as_str() {
            Some("In") => format!("{key} in ({values})"),
            Some("NotIn") => format!("{key} notin ({values})"),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(",")
}

pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

pub(super) fn count(number: &Value) -> u32 {
    number.as_u64().map_or(0, clamp)
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[path = "deployment_tests.rs"]
mod tests;
