//! How far a Deployment is, and what its pods and the cluster say is wrong.

use chrono::{DateTime, Utc};
use ports::{Group, Revision, RevisionId};
use serde_json::Value;

use super::deployment::{Deployment, count, items, without_hash};

const REVISION: &str = "deployment.kubernetes.io/revision";
/// So many troubles are told, each at most so long.
const MOST: usize = 10;
const LONGEST: usize = 300;

/// What belongs to a Deployment, as it was listed.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// Its ReplicaSets and nobody else's.
    pub sets: Vec<Value>,
    /// The pods of its newest ReplicaSet.
    pub pods: Vec<Value>,
    /// Warnings of the namespace.
    pub events: Vec<Value>,
}

/// Those of a list that this object owns as their controller.
pub(super) fn owned_by(list: Vec<Value>, uid: &Value) -> Vec<Value> {
    let owned = |item: &Value| {
        items(&item["metadata"]["ownerReferences"])
            .any(|owner| owner["controller"] == true && owner["uid"] == *uid)
    };
    list.into_iter().filter(owned).collect()
}

/// The ReplicaSet of the present template, where the controller has made it; it takes the oldest of equals.
pub(super) fn newest<'a>(sets: &'a [Value], deployment: &Deployment) -> Option<&'a Value> {
    let wanted = deployment.template();
    sets.iter()
        .filter(|set| without_hash(&set["spec"]["template"]) == *wanted)
        .min_by_key(|set| set["metadata"]["creationTimestamp"].as_str())
}

pub(super) fn group(deployment: &Deployment, version: &str, following: &Following) -> Group {
    let newest = newest(&following.sets, deployment);
    let restarts = following.pods.iter().map(restarts).sum();
    Group {
        version: version.to_owned(),
        mark: deployment.mark(),
        observed: deployment.is_observed(),
        paused: deployment.is_paused(),
        wanted: deployment.replicas(),
        total: deployment.status("replicas"),
        updated: deployment.status("updatedReplicas"),
        ready: newest.map_or(0, |set| count(&set["status"]["readyReplicas"])),
        available: deployment.status("availableReplicas"),
        restarts,
        trouble: trouble(deployment, newest, following),
    }
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    let of = |field| items(&pod["status"][field]);
    of("containerStatuses").chain(of("initContainerStatuses"))
}

fn restarts(pod: &Value) -> u32 {
    containers(pod)
        .map(|container| count(&container["restartCount"]))
        .sum()
}

/// Pods first, as they are now; then what the controller says; then the cluster's warnings, newest first.
fn trouble(deployment: &Deployment, newest: Option<&Value>, following: &Following) -> Vec<String> {
    let mut said: Vec<(usize, String)> = Vec::new();
    for text in following.pods.iter().flat_map(of_pod) {
        match said.iter_mut().find(|(_, before)| *before == text) {
            Some((pods, _)) => *pods += 1,
            None => said.push((1, text)),
        }
    }
    let of_pods = said.into_iter().map(|(pods, text)| match pods {
        1 => format!("1 pod: {text}"),
        _ => format!("{pods} pods: {text}"),
    });
    let refused = deployment.conditions().filter(|condition| {
        let is = |kind: &str, status: &str| condition["type"] == kind && condition["status"] == status;
        is("Progressing", "False") || is("ReplicaFailure", "True")
    });
    let refused = refused.map(|condition| {
        let text = |field: &str| condition[field].as_str().unwrap_or_default();
        format!("{}: {}", text("reason"), text("message"))
    });
    let concerned: Vec<_> = [Some(deployment.uid()), newest.map(|set| &set["metadata"]["uid"])]
        .into_iter()
        .flatten()
        .chain(following.pods.iter().map(|pod| &pod["metadata"]["uid"]))
        .collect();
    let mut events: Vec<_> = following
        .events
        .iter()
        .filter(|event| concerned.contains(&&event["involvedObject"]["uid"]))
        .collect();
    events.sort_by_key(|event| std::cmp::Reverse(seen_at(event)));
    let warned = events.into_iter().map(|event| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let of = &event["involvedObject"];
        let (kind, name) = (text(&of["kind"]), text(&of["name"]));
        format!(
            "{kind} {name}: {}: {}",
            text(&event["reason"]),
            text(&event["message"])
        )
    });
    let mut told: Vec<String> = Vec::new();
    for text in of_pods.chain(refused).chain(warned) {
        let text: String = text.chars().take(LONGEST).collect();
        if !told.contains(&text) && told.len() < MOST {
            told.push(text);
        }
    }
    told
}

fn of_pod(pod: &Value) -> Vec<String> {
    let unplaced = items(&pod["status"]["conditions"])
        .filter(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False")
        .filter_map(|condition| condition["message"].as_str())
        .map(|message| format!("no node takes it: {message}"));
    let stuck = containers(pod).filter_map(of_container);
    unplaced.chain(stuck).collect()
}

fn of_container(container: &Value) -> Option<String> {
    let name = container["name"].as_str().unwrap_or_default();
    let ended = [&container["state"], &container["lastState"]]
        .into_iter()
        .map(|state| &state["terminated"])
        .find(|ended| count(&ended["exitCode"]) != 0 || ended["reason"] == "OOMKilled");
    let ended = ended.map(|ended| {
        let reason = ended["reason"].as_str().unwrap_or("Error");
        format!("{reason}, exit code {}", count(&ended["exitCode"]))
    });
    let waiting = &container["state"]["waiting"];
    let reason = waiting["reason"].as_str().unwrap_or_default();
    // Every container begins so.
    let waits = !matches!(reason, "" | "ContainerCreating" | "PodInitializing");
    let message = waiting["message"].as_str().unwrap_or_default();
    match (waits, ended) {
        (true, Some(ended)) => Some(format!("{name}: {reason} (it ended with {ended}): {message}")),
        (true, None) => Some(format!("{name}: {reason}: {message}")),
        (false, Some(ended)) => Some(format!("{name} ended with {ended}")),
        (false, None) => None,
    }
}

fn seen_at(event: &Value) -> &str {
    let times = ["lastTimestamp", "eventTime", "firstTimestamp"].map(|field| event[field].as_str());
    let made = event["metadata"]["creationTimestamp"].as_str();
    times
        .into_iter()
        .chain([made])
        .flatten()
        .next()
        .unwrap_or_default()
}

/// The versions of the ReplicaSets, newest first, as a rollout's history has them.
pub(super) fn revisions(sets: &[Value], version: impl Fn(&Value) -> Option<String>) -> Vec<Revision> {
    let mut sets: Vec<_> = sets.iter().collect();
    sets.sort_by_key(|set| {
        let annotation = &set["metadata"]["annotations"][REVISION];
        let number: Option<u64> = annotation.as_str().and_then(|number| number.parse().ok());
        std::cmp::Reverse(number)
    });
    let revision = |set: &Value| {
        let meta = &set["metadata"];
        let made = meta["creationTimestamp"].as_str()?;
        Some(Revision {
            // Its number changes whenever it is gone back to.
            id: RevisionId(meta["name"].as_str()?.to_owned()),
            version: version(&set["spec"]["template"])?,
            at: DateTime::parse_from_rfc3339(made)
                .ok()
                .map(|made| made.with_timezone(&Utc)),
        })
    };
    sets.into_iter().filter_map(revision).collect()
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;
