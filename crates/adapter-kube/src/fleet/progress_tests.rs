use super::*;
use serde_json::json;

fn deployment() -> Deployment {
    let object = json!({
        "metadata": { "uid": "d", "generation": 4 },
        "spec": { "replicas": 3, "template": { "metadata": { "labels": { "app": "a" } }, "spec": {} } },
        "status": {
            "observedGeneration": 4, "replicas": 4, "updatedReplicas": 1, "availableReplicas": 3,
            "conditions": [
                { "type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable", "message": "x" },
                { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
                  "message": "ReplicaSet \"a-2\" has timed out progressing." },
            ],
        },
    });
    Deployment::new(object, false)
}

fn set(name: &str, revision: u32, app: &str, ready: u32) -> Value {
    json!({
        "metadata": {
            "name": name, "uid": name, "creationTimestamp": format!("2026-01-0{revision}T00:00:00Z"),
            "annotations": { REVISION: revision.to_string() },
            "ownerReferences": [{ "uid": "d", "controller": true }],
        },
        "spec": { "template": {
            "metadata": { "labels": { "app": app, "pod-template-hash": name } }, "spec": {},
        } },
        "status": { "readyReplicas": ready },
    })
}

fn pod(name: &str, container: &Value) -> Value {
    json!({ "metadata": { "uid": name, "name": name }, "status": { "containerStatuses": [container] } })
}

fn event(uid: &str, at: &str, reason: &str) -> Value {
    json!({
        "involvedObject": { "uid": uid, "kind": "Pod", "name": uid },
        "lastTimestamp": at, "reason": reason, "message": "told",
    })
}

#[test]
fn progress_is_that_of_the_newest_set_and_trouble_is_told_in_the_clusters_words() {
    let crashing = json!({
        "name": "web", "restartCount": 3,
        "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 40s" } },
        "lastState": { "terminated": { "reason": "OOMKilled", "exitCode": 137 } },
    });
    let beginning = json!({ "name": "web", "state": { "waiting": { "reason": "ContainerCreating" } } });
    let recovered = json!({
        "name": "web", "restartCount": 1, "state": { "running": {} },
        "lastState": { "terminated": { "reason": "Error", "exitCode": 2 } },
    });
    let mut unplaced = pod("p5", &json!({}));
    unplaced["status"] = json!({ "conditions": [
        { "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes" },
    ] });
    let following = Following {
        sets: vec![set("a-1", 1, "old", 3), set("a-2", 2, "a", 1)],
        pods: vec![
            pod("p1", &crashing),
            pod("p2", &crashing),
            pod("p3", &beginning),
            pod("p4", &recovered),
            unplaced,
        ],
        events: vec![
            event("p1", "2026-01-02T00:00:01Z", "BackOff"),
            event("somebody", "2026-01-02T00:00:09Z", "BackOff"),
            event("p2", "2026-01-02T00:00:05Z", "FailedMount"),
        ],
    };
    let group = group(&deployment(), "shop:v2", &following);
    assert_eq!(
        (
            group.wanted,
            group.total,
            group.updated,
            group.ready,
            group.available
        ),
        (3, 4, 1, 1, 3)
    );
    assert_eq!((group.observed, group.restarts), (true, 7));
    assert_eq!(
        group.trouble,
        [
            "2 pods: web: CrashLoopBackOff (it ended with OOMKilled, exit code 137): back-off 40s",
            "1 pod: web ended with Error, exit code 2",
            "1 pod: no node takes it: 0/3 nodes",
            "ProgressDeadlineExceeded: ReplicaSet \"a-2\" has timed out progressing.",
            "Pod p2: FailedMount: told",
            "Pod p1: BackOff: told",
        ]
    );
}

#[test]
fn revisions_are_those_of_its_own_sets_newest_first() {
    let mut others = set("b-9", 9, "b", 1);
    others["metadata"]["ownerReferences"][0]["uid"] = json!("another");
    let sets = vec![
        set("a-1", 1, "x", 0),
        set("a-3", 3, "z", 1),
        others,
        set("a-2", 2, "y", 0),
    ];
    let own = owned_by(sets, &json!("d"));
    let version = |template: &Value| template["metadata"]["labels"]["app"].as_str().map(str::to_owned);
    let listed = revisions(&own, version);
    let listed: Vec<_> = listed
        .iter()
        .map(|revision| (revision.id.0.as_str(), revision.version.as_str()))
        .collect();
    assert_eq!(listed, [("a-3", "z"), ("a-2", "y"), ("a-1", "x")]);
    assert!(
        newest(&own, &deployment()).is_none(),
        "none has this template yet"
    );
}
