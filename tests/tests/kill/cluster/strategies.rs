//! Each strategy to its end and back, and how long the way back takes.

use std::sync::Arc;

use ports::conformance::Scene;
use serde_json::{Value, json};
use testkit::Registry;
use testkit::cluster::{Cluster, until};

use super::furniture::image;
use super::site::{Router, Site};
use crate::worker::Process;

/// From a failed judgement, or from the wish to go back, until all traffic is on the good version again.
const LONGEST_WAY_BACK: f64 = 10.0;

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    super::scenes!(cluster,
        rolling_goes_out_and_comes_back_from_what_does_not_run
        what_cannot_be_deployed_touches_nothing
        what_its_registry_does_not_hold_touches_nothing
        blue_green_switches_a_service_and_switches_it_back
        a_canary_by_replicas_is_promoted_or_taken_back
        a_canary_by_annotations_is_promoted_or_taken_back
    )
}

async fn rolling_goes_out_and_comes_back_from_what_does_not_run(cluster: Arc<Cluster>) {
    let settings = json!({ "progress_deadline": "8s" });
    let site = Site::start(&cluster, Router::Replicas, 2, settings).await;
    let (foreign, worker) = (site.foreign().await, site.worker());
    let before = site.object(&site.deployments(), "checkout").await;
    let task = site.deploy("v2", "rolling", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    site.until_all_run("v2", &worker).await;
    assert_eq!(site.writes(&cluster).len(), 1, "{:#?}", site.writes(&cluster));
    let mut after = site.object(&site.deployments(), "checkout").await;
    let changed = &mut after["spec"]["template"]["spec"]["containers"][1]["image"];
    assert_eq!(*changed, json!(image("v2")));
    *changed = json!(image("v1"));
    assert_eq!(after["spec"]["template"], before["spec"]["template"]);
    for kept in ["labels", "name"] {
        assert_eq!(after["metadata"][kept], before["metadata"][kept]);
    }
    assert_eq!(after["metadata"]["annotations"]["example.com/owner"], "ada");

    for (version, said) in [
        ("crash", "CrashLoopBackOff"),
        ("bad", "ImagePullBackOff"),
        ("unready", "nothing has changed for 8s"),
    ] {
        let task = site.deploy(version, "rolling", Value::Null).await;
        let result = site.until_over(&task, &worker).await;
        assert_eq!(result["verdict"], "rolled_back", "{version}: {result:#}");
        assert!(result.to_string().contains(said), "{version}: {result:#}");
        site.until_all_run("v2", &worker).await;
    }
    let sets = site.path("apis/apps/v1", "replicasets");
    let sets = site
        .admin
        .list(&format!("{sets}?labelSelector=app=checkout"))
        .await;
    assert_eq!(
        sets.len(),
        5,
        "each version has one: going back takes the old one up again"
    );

    let asked = site.stage.value("SELECT clock_timestamp()").await;
    let task = site.roll_back().await;
    site.until_it_is("v1", &worker).await;
    way_back("rollback after a finished rolling", &site, &asked).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    let (v1, v2) = (image("v1"), image("v2"));
    let failed = |version: &str| format!("{} rolled_back {v2}", image(version));
    assert_eq!(
        site.stage.deployments().await,
        [
            format!("{v2} succeeded {v1}"),
            failed("crash"),
            failed("bad"),
            failed("unready"),
            format!("{v1} succeeded {v2}"),
        ]
    );
    assert_eq!(site.foreign().await, foreign);
}

async fn what_cannot_be_deployed_touches_nothing(cluster: Arc<Cluster>) {
    let site = Site::start(&cluster, Router::Ingress, 2, Value::Null).await;
    let worker = site.worker();
    let stood = site.stands().await;
    let task = site.deploy("v2", "canary", json!({ "dry_run": true })).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    let plan = result["data"]["plan"].as_array().expect("a plan");
    let whats: Vec<_> = plan.iter().filter_map(|line| line["what"].as_str()).collect();
    assert_eq!(
        whats[0],
        format!("start 1 replica of {} beside what serves", image("v2"))
    );
    assert!(
        whats.contains(&"send 10 % of the traffic to the new version"),
        "{whats:#?}"
    );

    for (version, strategy, more, said) in [
        ("v 2", "rolling", Value::Null, "no image can have that name"),
        (
            "v2",
            "rolling",
            json!({ "environment": "prodution" }),
            "production",
        ),
        ("v2", "canary", json!({ "initial_percentage": 120 }), "120"),
        ("v2", "canary", json!({ "max_surge": 1 }), "max_surge"),
    ] {
        let task = site.deploy(version, strategy, more).await;
        let result = site.until_over(&task, &worker).await;
        assert_eq!(result["verdict"], "failed", "{version}: {result:#}");
        assert!(
            result["summary"].to_string().contains(said),
            "{version}: {result:#}"
        );
    }
    assert_eq!(site.writes(&cluster), Vec::<String>::new());
    assert_eq!(site.stands().await, stood);
}

async fn what_its_registry_does_not_hold_touches_nothing(cluster: Arc<Cluster>) {
    let site = Site::start(&cluster, Router::Replicas, 2, Value::Null).await;
    let registry = Registry::start().await;
    let image = |version: &str| format!("{}/shop/checkout:{version}", registry.host());
    let is = |version: &str| {
        let containers = json!([{ "name": "web", "image": image(version) }]);
        json!({ "spec": { "template": { "spec": { "containers": containers } } } })
    };
    site.by_hand(&site.deployments(), "checkout", &is("v1")).await;
    let runs = async |version: &str| {
        let pods = site.serving().await;
        let stands = site.object(&site.deployments(), "checkout").await;
        let replicas = ["replicas", "updatedReplicas", "availableReplicas"];
        replicas.iter().all(|of| stands["status"][of] == 2)
            && pods.len() == 2
            && site.pods().await.len() == 2
            && pods
                .iter()
                .all(|pod| pod["spec"]["containers"][1]["image"] == image(version))
    };
    until("the registry's image runs", || runs("v1")).await;
    registry.push("shop/checkout", "v2").await;
    let described = json!({
        "host": registry.host(),
        "username": Registry::USER,
        "password": Registry::PASSWORD,
        "ca_file": registry.certificate.certificate,
    });
    let described = described.to_string();
    let worker = site.worker_with(&[("LONGSHORE_REGISTRIES_MAIN", &described)]);
    let (stood, foreign) = (site.stands().await, site.foreign().await);
    let task = site.deploy("v9", "rolling", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    println!("a tag that its registry does not hold: {}", result["summary"]);
    assert_eq!(result["verdict"], "failed", "{result:#}");
    let said = format!("the registry {} has no such image", registry.host());
    assert!(result["summary"].to_string().contains(&said), "{result:#}");
    assert_eq!(cluster.writes(&site.namespace), [], "nothing was even tried");
    assert_eq!(site.stands().await, stood);
    assert_eq!(site.foreign().await, foreign);

    let task = site.deploy("v2", "rolling", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "what it holds: {result:#}");
    until("it runs", || runs("v2")).await;
}

async fn blue_green_switches_a_service_and_switches_it_back(cluster: Arc<Cluster>) {
    let settings = json!({ "progress_deadline": "8s", "blue_green": { "keep_warm": "1s" } });
    let site = Site::start(&cluster, Router::Selector, 2, settings).await;
    let (foreign, worker) = (site.foreign().await, site.worker());
    let task = site.deploy("v2", "blue_green", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    site.until_all_run("v2", &worker).await;
    assert_eq!(site.switches(&cluster), ["candidate", "stable"]);

    let task = site.deploy("unready", "blue_green", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    assert_eq!(site.switches(&cluster).len(), 2, "it was never switched to");

    let task = site
        .deploy("v3", "blue_green", json!({ "keep_warm": "8s" }))
        .await;
    crashes_once_it_has(&site, &worker, 100).await;
    site.until_it_is("v2", &worker).await;
    way_back_from_judging("blue-green by a Service's selector", &site, &task).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    assert!(result.to_string().contains("started again"), "{result:#}");
    assert_eq!(
        site.switches(&cluster),
        ["candidate", "stable", "candidate", "stable"]
    );
    site.until_all_run("v2", &worker).await;
    assert_eq!(site.foreign().await, foreign);
}

async fn a_canary_by_replicas_is_promoted_or_taken_back(cluster: Arc<Cluster>) {
    let steps = json!([{ "set_weight": 25 }, { "pause": "8s" }, { "analyse": {} }]);
    let settings = json!({ "canary": { "steps": steps }, "progress_deadline": "8s" });
    let site = Site::start(&cluster, Router::Replicas, 4, settings).await;
    let (foreign, worker) = (site.foreign().await, site.worker());
    let task = site.deploy("v2", "canary", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    site.until_all_run("v2", &worker).await;

    let task = site.deploy("v3", "canary", Value::Null).await;
    crashes_once_it_has(&site, &worker, 25).await;
    site.until_it_is("v2", &worker).await;
    way_back_from_judging("canary by replicas", &site, &task).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");

    let task = site.deploy("crash", "canary", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    assert!(result.to_string().contains("CrashLoopBackOff"), "{result:#}");
    site.until_all_run("v2", &worker).await;
    assert_eq!(site.foreign().await, foreign);
}

async fn a_canary_by_annotations_is_promoted_or_taken_back(cluster: Arc<Cluster>) {
    let steps = json!([{ "set_weight": 20 }, { "pause": "8s" }, { "analyse": {} }, { "set_weight": 50 }]);
    let settings = json!({ "canary": { "steps": steps }, "progress_deadline": "8s" });
    let site = Site::start(&cluster, Router::Ingress, 2, settings).await;
    let (foreign, worker) = (site.foreign().await, site.worker());
    let task = site.deploy("v2", "canary", Value::Null).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    site.until_all_run("v2", &worker).await;
    assert_eq!(site.weights(&cluster), ["20", "50", "100", "0"]);

    let task = site.deploy("v3", "canary", Value::Null).await;
    crashes_once_it_has(&site, &worker, 20).await;
    site.until_it_is("v2", &worker).await;
    way_back_from_judging("canary by ingress-nginx annotations", &site, &task).await;
    let result = site.until_over(&task, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    assert_eq!(site.weights(&cluster)[4..], ["20", "0"]);

    // A person wants it back while it waits at its first weight.
    let waits =
        json!({ "strategy": { "name": "canary", "steps": [{ "set_weight": 20 }, { "pause": "1h" }] } });
    let task = site.deploy("v3", "canary", waits).await;
    site.until_share(20, &worker).await;
    let asked = site.stage.value("SELECT clock_timestamp()").await;
    let rollback = site.roll_back().await;
    site.until_it_is("v2", &worker).await;
    way_back("rollback in the middle of a canary", &site, &asked).await;
    let result = site.until_over(&rollback, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    assert_eq!(site.until_over(&task, &worker).await["verdict"], "cancelled");
    assert_eq!(site.weights(&cluster)[6..], ["20", "0"]);

    let asked = site.stage.value("SELECT clock_timestamp()").await;
    let rollback = site.roll_back().await;
    site.until_it_is("v1", &worker).await;
    way_back("rollback after a finished canary", &site, &asked).await;
    let result = site.until_over(&rollback, &worker).await;
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    site.until_all_run("v1", &worker).await;
    assert_eq!(site.foreign().await, foreign);
}

/// In the middle of the pause that is judged after it.
async fn crashes_once_it_has(site: &Site, worker: &Process, share: u64) {
    site.until_share(share, worker).await;
    let pauses =
        "EXISTS (SELECT FROM tasks WHERE status = 'waiting' AND wait::text LIKE '%in the pause of step%')";
    let stage = &site.stage;
    stage
        .until("it pauses", worker, || async { stage.holds(pauses).await })
        .await;
    site.crash_candidates().await;
}

async fn way_back_from_judging(what: &str, site: &Site, task: &str) {
    let judged = format!(
        "SELECT max(done_at) FROM longshore.task_steps WHERE task_id = '{task}' AND key LIKE 'judge/%'"
    );
    let judged = site.stage.value(&judged).await;
    assert!(!judged.is_empty(), "{what}: nothing was judged");
    way_back(what, site, &judged).await;
}

/// How long ago that was, now that the good version has all traffic again.
async fn way_back(what: &str, site: &Site, since: &str) {
    let seconds = site
        .stage
        .value(&format!(
            "SELECT extract(epoch FROM clock_timestamp() - '{since}'::timestamptz)"
        ))
        .await;
    let seconds: f64 = seconds.parse().expect("a number");
    println!("{what}: all traffic back after {seconds:.2} s");
    assert!(seconds < LONGEST_WAY_BACK, "{what}: {seconds} s");
}

impl Site {
    async fn until_share(&self, share: u64, worker: &Process) {
        let what = format!("the candidate gets {share} %");
        self.stage
            .until(&what, worker, || async { self.candidates_share().await == share })
            .await;
    }

    /// All that answers users is of this version.
    async fn until_it_is(&self, version: &str, worker: &Process) {
        let image = image(version);
        self.stage
            .until("the good version has all traffic", worker, || async {
                let pods = match self.candidates_share().await {
                    0 => self.serving().await,
                    _ => Vec::new(),
                };
                !pods.is_empty()
                    && pods
                        .iter()
                        .all(|pod| pod["spec"]["containers"][1]["image"] == image)
            })
            .await;
    }
}
