//! A feature flag in a ConfigMap, as flagd reads it: stepped up by the program, and switched off by what is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ports::conformance::Scene;
use serde_json::{Value, json};
use testkit::cluster::Cluster;
use testkit::peer::{Peer, Reply, Request};
use testkit::{Prometheus, PrometheusSetup};

use super::site::{Router, Site};
use crate::worker::Process;

/// The one that is rolled out stands between others, in a text that somebody wrote by hand.
const FLAGS: &str = r#"{"flags": {
  "banner":   {"state": "ENABLED", "variants": {"a": 1.50, "b": 2e3}, "defaultVariant": "a"},
  "new-cart": {"state": "ENABLED", "variants": {"on": true, "off": false}, "defaultVariant": "off",
               "targeting": {"fractional": [["on", 0], ["off", 100]]}}
}}
"#;
const SHARE: &str = r#"[["on", 0], ["off", 100]]"#;

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    super::scenes!(
        cluster,
        a_flag_is_stepped_up_for_all_and_another_time_switched_off_by_its_errors
    )
}

/// A shop that tells how many of its answers are errors.
#[derive(Default)]
struct Shop {
    is_bad: AtomicBool,
}

impl testkit::peer::Site for Shop {
    fn answer(&self, _: &Request) -> Reply {
        let errors = if self.is_bad.load(Ordering::Relaxed) {
            0.2
        } else {
            0.01
        };
        let text = format!("# TYPE shop_errors gauge\nshop_errors {errors}\n");
        Reply::text(200, text).header("content-type", "text/plain; version=0.0.4")
    }

    fn refuse(&self, status: u16, _: Option<Duration>) -> Reply {
        Reply::empty(status)
    }

    fn state(&self) -> Value {
        Value::Null
    }
}

async fn a_flag_is_stepped_up_for_all_and_another_time_switched_off_by_its_errors(cluster: Arc<Cluster>) {
    let site = Site::start(&cluster, Router::Replicas, 1, Value::Null).await;
    let flags =
        json!({ "metadata": { "name": "flags" }, "data": { "flags.json": FLAGS, "notes": "of others" } });
    site.admin.create(&site.configs(), &flags).await;
    let production = json!({
        "target": "cluster", "workload": "checkout", "container": "web",
        "flag": { "store": "edge", "key": "new-cart" },
        "feature_flag": { "steps": [
            { "set_weight": 10 }, { "analyse": {} }, { "set_weight": 50 }, { "analyse": {} },
        ] },
        "analysis": { "scrape_interval": "250ms", "at_least": "5s", "minimum_samples": 3, "metrics": [
            { "name": "errors", "query": "avg(shop_errors)", "max": 0.1 },
        ] },
        "freeze": { "windows": [] },
    });
    site.stage.add_environment("cart", &production).await;
    let shop = Arc::new(Shop::default());
    let served = Peer::start(shop.clone());
    let prometheus = measuring(&served).await;
    let store = json!({
        "provider": "flagd",
        "cluster": "cluster",
        "config_map": format!("{}/flags", site.namespace),
        "key": "flags.json",
    });
    let env = [
        ("LONGSHORE_FLAGS_EDGE", store.to_string()),
        (
            "LONGSHORE_METRICS_DEFAULT",
            json!({ "url": prometheus.url() }).to_string(),
        ),
    ];
    let worker = site.worker_with(&env.each_ref().map(|(name, value)| (*name, value.as_str())));
    let foreign = site.foreign().await;

    let result = site.turn_on("v2", &worker).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    assert_eq!(site.shares(&cluster), [10, 50, 100]);
    assert_eq!(site.flags().await, with_share(100));

    // Somebody takes it back for the next time; and then it does harm.
    let anew = json!({ "data": { "flags.json": FLAGS } });
    site.by_hand(&site.configs(), "flags", &anew).await;
    // As long as it is on for anybody.
    let harm = async {
        loop {
            let is_on = site.flags().await != FLAGS;
            shop.is_bad.store(is_on, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let result = tokio::select! {
        result = site.turn_on("v3", &worker) => result,
        () = harm => unreachable!("it has no end"),
    };
    assert_eq!(result["verdict"], "rolled_back", "{result:#}");
    let why = result["summary"].as_str().unwrap_or_default();
    assert!(why.contains("errors"), "the measurement decided: {result:#}");
    assert_eq!(site.shares(&cluster)[3..], [10, 0]);
    assert_eq!(site.flags().await, with_share(0));
    println!(
        "a flag in a ConfigMap: on for {:?} % of users, in the API server's account; {why}",
        site.shares(&cluster)
    );

    let written = cluster.writes(&site.namespace);
    assert!(
        written.iter().all(|write| write.kinds == "configmaps"),
        "{written:#?}"
    );
    let stands = site.object(&site.configs(), "flags").await;
    assert_eq!(stands["data"]["notes"], "of others");
    assert_eq!(site.foreign().await, foreign);
    assert_eq!(
        site.stage.deployments().await.len(),
        2,
        "each is in the log: {:?}",
        site.stage.deployments().await
    );
}

/// No other byte is changed.
fn with_share(percent: u32) -> String {
    FLAGS.replace(
        SHARE,
        &format!(r#"[["on", {percent}], ["off", {}]]"#, 100 - percent),
    )
}

/// Collects what it tells of itself.
async fn measuring(shop: &Peer) -> Prometheus {
    let address = shop.url().replace("http://", "");
    let config = format!(
        "global: {{scrape_interval: 250ms, scrape_timeout: 250ms}}
scrape_configs:
- {{job_name: shop, static_configs: [{{targets: ['{address}']}}]}}
"
    );
    let setup = PrometheusSetup {
        config: Some(config),
        ..PrometheusSetup::default()
    };
    Prometheus::start(&setup).await
}

impl Site {
    fn configs(&self) -> String {
        self.path("api/v1", "configmaps")
    }

    async fn turn_on(&self, version: &str, worker: &Process) -> Value {
        let task = self
            .deploy(version, "feature_flag", json!({ "environment": "cart" }))
            .await;
        self.until_over(&task, worker).await
    }

    async fn flags(&self) -> String {
        let stands = self.object(&self.configs(), "flags").await;
        stands["data"]["flags.json"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// For how many of a hundred users it was switched on, in order, as the API server tells it.
    fn shares(&self, cluster: &Cluster) -> Vec<u64> {
        let all = cluster.writes(&self.namespace).into_iter();
        let done = all.filter(|write| write.was_done() && write.kinds == "configmaps");
        let ops = done.flat_map(|write| write.sent.as_array().cloned().unwrap_or_default());
        ops.filter_map(|op| {
            let flags: Value = serde_json::from_str(op["value"].as_str()?).ok()?;
            flags["flags"]["new-cart"]["targeting"]["fractional"][0][1].as_u64()
        })
        .collect()
    }
}
