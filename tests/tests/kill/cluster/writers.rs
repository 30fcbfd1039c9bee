//! Others who write at the same time: what is not ours to decide does not hinder, and what is a wish is held.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ports::conformance::Scene;
use serde_json::{Value, json};
use testkit::cluster::Cluster;

use super::furniture::{WEIGHT, image};
use super::site::{Router, Site};
use crate::worker::Process;

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    super::scenes!(cluster,
        who_writes_without_end_hinders_nothing_and_loses_nothing
        an_image_that_is_set_by_hand_is_held_and_left_alone_on_a_no
        a_weight_that_is_set_by_hand_is_held_and_gone_on_from_on_a_yes
        a_version_that_is_set_by_hand_while_replicas_come_up_is_held
        a_roll_out_that_is_paused_by_hand_is_held_and_resumed_on_a_yes
        a_workload_that_is_deleted_by_hand_is_held
        a_right_that_is_missing_is_named_and_what_was_begun_is_taken_back
    )
}

async fn who_writes_without_end_hinders_nothing_and_loses_nothing(cluster: Arc<Cluster>) {
    let steps = json!([{ "set_weight": 20 }, { "pause": "1s" }, { "analyse": {} }, { "set_weight": 50 }]);
    let settings = json!({ "canary": { "steps": steps } });
    let site = Arc::new(Site::start(&cluster, Router::Ingress, 2, settings).await);
    let foreign = site.foreign().await;
    let (over, beats) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn({
        let (site, over, beats) = (Arc::clone(&site), Arc::clone(&over), Arc::clone(&beats));
        async move {
            while !over.load(Ordering::Relaxed) {
                let beat = beats.fetch_add(1, Ordering::Relaxed) + 1;
                let change =
                    json!({ "metadata": { "annotations": { "example.com/beat": beat.to_string() } } });
                // Into the Deployments somebody writes in the adapter's own tests: each of these writes is a wish of theirs, and
                // while its controller has not caught up nobody knows how the replicas are.
                site.by_hand(&site.ingresses(), "web-candidate", &change).await;
                site.by_hand(&site.services(), "checkout", &change).await;
            }
        }
    });
    let worker = site.worker();
    let task = site.deploy("v2", "canary", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    over.store(true, Ordering::Relaxed);
    writer.await.expect("the writer's end");
    let refused = cluster.writes(&site.namespace);
    let refused = refused.iter().filter(|write| write.status == 409).count();
    let beats = beats.load(Ordering::Relaxed);
    println!("{beats} rounds of somebody else's writes; {refused} of ours were refused with 409");
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    assert!(beats > 20, "{beats}");
    assert_eq!(site.weights(&cluster), ["20", "50", "100", "0"]);
    for (kinds, name) in [(site.ingresses(), "web-candidate"), (site.services(), "checkout")] {
        let annotations = &site.object(&kinds, name).await["metadata"]["annotations"];
        assert_eq!(annotations["example.com/beat"], beats.to_string(), "{name}");
        assert_eq!(annotations["example.com/owner"], "ada", "{name}");
    }
    site.until_all_run("v2", &worker).await;
    assert_eq!(site.foreign().await, foreign);
}

struct Halfway {
    task: String,
    asked: String,
}

/// A canary that waits at its first weight until a person says to go on.
async fn half_out(cluster: &Cluster) -> (Site, Process, Halfway) {
    let steps = json!([{ "set_weight": 20 }, { "pause": {} }, { "set_weight": 50 }]);
    let site = Site::start(
        cluster,
        Router::Ingress,
        2,
        json!({ "canary": { "steps": steps } }),
    )
    .await;
    let worker = site.worker();
    let task = site.deploy("v2", "canary", Value::Null).await;
    let asked = site.until_asked(&task, &worker, "go on").await;
    (site, worker, Halfway { task, asked })
}

/// It is said in the task and on the ticket.
fn assert_held(site: &Site, asked: &str, said: &str) {
    assert!(asked.contains("going on after a change by hand"), "{asked}");
    let notes = site.notes();
    assert!(notes.iter().any(|note| note.contains(said)), "{said}: {notes:#?}");
}

async fn an_image_that_is_set_by_hand_is_held_and_left_alone_on_a_no(cluster: Arc<Cluster>) {
    let (site, worker, Halfway { task, asked }) = half_out(&cluster).await;
    site.by_hand(&site.deployments(), "checkout", &with_image("v3"))
        .await;
    let before = site.writes(&cluster);
    site.answer("approve", &task, &asked).await;
    let asked = site.until_asked(&task, &worker, "by hand").await;
    assert_held(
        &site,
        &asked,
        &format!("was changed by somebody else: it is told to run {}", image("v3")),
    );
    site.answer("reject", &task, &asked).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "failed", "{result:#}");
    assert!(
        result["summary"].to_string().contains("was left so"),
        "{result:#}"
    );
    assert_eq!(site.writes(&cluster), before, "nothing more was done, nor undone");
    let stands = site.object(&site.deployments(), "checkout").await;
    assert_eq!(
        stands["spec"]["template"]["spec"]["containers"][1]["image"],
        image("v3")
    );
}

async fn a_weight_that_is_set_by_hand_is_held_and_gone_on_from_on_a_yes(cluster: Arc<Cluster>) {
    let (site, worker, Halfway { task, asked }) = half_out(&cluster).await;
    let change = json!({ "metadata": { "annotations": { WEIGHT: "3" } } });
    site.by_hand(&site.ingresses(), "web-candidate", &change).await;
    site.answer("approve", &task, &asked).await;
    let asked = site.until_asked(&task, &worker, "by hand").await;
    assert_held(&site, &asked, "the candidate gets 3 % now");
    assert_eq!(site.candidates_share().await, 3);
    site.answer("approve", &task, &asked).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    assert_eq!(site.weights(&cluster), ["20", "50", "100", "0"]);
    site.until_all_run("v2", &worker).await;
}

async fn a_version_that_is_set_by_hand_while_replicas_come_up_is_held(cluster: Arc<Cluster>) {
    let site = Site::start(&cluster, Router::Replicas, 2, Value::Null).await;
    let worker = site.worker();
    let task = site.deploy("unready", "rolling", Value::Null).await;
    let stage = &site.stage;
    let waits = "EXISTS (SELECT FROM tasks WHERE wait::text LIKE '%to become ready%')";
    stage
        .until("it waits for replicas", &worker, || async {
            stage.holds(waits).await
        })
        .await;
    // Somebody does not want to wait for the deadline, and mends it.
    site.by_hand(&site.deployments(), "checkout", &with_image("v3"))
        .await;
    let asked = site.until_asked(&task, &worker, "by hand").await;
    assert_held(&site, &asked, &format!("it is told to run {}", image("v3")));
    site.answer("reject", &task, &asked).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "failed", "{result:#}");
    stage
        .until("what they wished for runs", &worker, || async {
            site.runs("v3").await
        })
        .await;
}

async fn a_roll_out_that_is_paused_by_hand_is_held_and_resumed_on_a_yes(cluster: Arc<Cluster>) {
    let settings = json!({ "progress_deadline": "5s" });
    let site = Site::start(&cluster, Router::Replicas, 2, settings).await;
    let (worker, stage) = (site.worker(), &site.stage);
    let (paused, resumed) = (
        json!({ "spec": { "paused": true } }),
        json!({ "spec": { "paused": null } }),
    );
    site.by_hand(&site.deployments(), "checkout", &paused).await;
    let task = site.deploy("v2", "rolling", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "failed", "{result:#}");
    assert!(
        result["summary"].to_string().contains("checkout is paused"),
        "{result:#}"
    );
    assert_eq!(site.writes(&cluster), Vec::<String>::new());
    site.by_hand(&site.deployments(), "checkout", &resumed).await;

    let task = site.deploy("unready", "rolling", Value::Null).await;
    let waits = "EXISTS (SELECT FROM tasks WHERE wait::text LIKE '%to become ready%')";
    stage
        .until("it waits for replicas", &worker, || async {
            stage.holds(waits).await
        })
        .await;
    site.by_hand(&site.deployments(), "checkout", &paused).await;
    let asked = site.until_asked(&task, &worker, "by hand").await;
    assert_held(&site, &asked, "was changed by somebody else");
    site.answer("approve", &task, &asked).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(
        result["verdict"], "rolled_back",
        "it went on, and did not become ready: {result:#}"
    );
    let resumes = |write: &&String| write.contains(r#"{"op":"remove","path":"/spec/paused"}"#);
    let writes = site.writes(&cluster);
    assert_eq!(writes.iter().filter(resumes).count(), 1, "{writes:#?}");
    site.until_all_run("v1", &worker).await;
}

async fn a_workload_that_is_deleted_by_hand_is_held(cluster: Arc<Cluster>) {
    let (site, worker, Halfway { task, asked }) = half_out(&cluster).await;
    let path = format!("{}/checkout-candidate", site.deployments());
    site.admin.delete(&path).await;
    site.answer("approve", &task, &asked).await;
    let asked = site.until_asked(&task, &worker, "by hand").await;
    assert_held(&site, &asked, "candidate side of checkout is gone");
    site.answer("reject", &task, &asked).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "failed", "{result:#}");

    // The share that nobody answers goes back to what serves.
    let rollback = site.roll_back().await;
    let result = site.until_over(&rollback, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    assert_eq!(site.candidates_share().await, 0);
    site.until_all_run("v1", &worker).await;
}

async fn a_right_that_is_missing_is_named_and_what_was_begun_is_taken_back(cluster: Arc<Cluster>) {
    let site = Site::start(&cluster, Router::Ingress, 2, Value::Null).await;
    let (foreign, worker) = (site.foreign().await, site.worker());
    site.deny_patches(&cluster, "networking.k8s.io", "ingresses")
        .await;
    let task = site.deploy("v2", "canary", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    let said = result["summary"].to_string();
    assert!(
        said.contains("cannot patch resource") && said.contains("ingresses"),
        "the cluster's own words: {said}"
    );
    assert!(result.to_string().contains("docs/kubernetes.md"), "{result:#}");
    let made: Vec<_> = site
        .writes(&cluster)
        .iter()
        .map(|write| write[..6].to_owned())
        .collect();
    assert_eq!(made, ["create", "delete"]);
    site.until_all_run("v1", &worker).await;
    assert_eq!(site.foreign().await, foreign);
}

fn with_image(version: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "web", "image": image(version) }] } } } })
}
