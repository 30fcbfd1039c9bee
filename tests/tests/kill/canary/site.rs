//! A database, a HAProxy with a backend of somebody else's, and a shop in three versions.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use testkit::{Haproxy, Ports, Prometheus, PrometheusSetup, end_kept};

use super::wire::Wire;
use crate::bench::LONG;
use crate::stage::Stage;
use crate::worker::{Process, binary};

/// Somebody set a weight of theirs at run time, too.
const OTHERS_WEIGHT: &str = "set weight other/green 3";

fn backends(exporter: u16) -> String {
    format!(
        "frontend exporter
  bind 127.0.0.1:{exporter}
  http-request use-service prometheus-exporter if {{ path /metrics }}
backend shop
  balance roundrobin
  server-template stable 3 127.0.0.1:1 weight 100 disabled
  server-template candidate 3 127.0.0.1:1 weight 0 disabled
backend other
  balance leastconn
  server green 127.0.0.1:2 weight 7
  server stable1 127.0.0.1:3 weight 13
  server candidate1 127.0.0.1:4 weight 0 disabled
"
    )
}

pub struct Site {
    pub stage: Stage,
    pub haproxy: Haproxy,
    pub wire: Wire,
    /// Where it is judged by measurements.
    prometheus: Option<Prometheus>,
    host: Value,
    folder: tempfile::TempDir,
    /// Keeps the ports for this test alone.
    _ports: Ports,
}

impl Site {
    /// One request in three to `v3` is answered with an error.
    pub async fn start(measured: bool) -> Self {
        let ports = Ports::take();
        let exporter = ports.first();
        let haproxy = Haproxy::start(&backends(exporter));
        haproxy.ask(OTHERS_WEIGHT);
        let folder = tempfile::tempdir().expect("a folder");
        let wire = Wire::start(folder.path().join("wire.sock"), &haproxy.socket("admin"));
        let versions = folder.path().join("versions");
        for (version, error_every) in [("v1", 0), ("v2", 0), ("v3", 3)] {
            fs::create_dir_all(versions.join(version)).expect("a version");
            let manners = json!({ "version": version, "error_every": error_every, "answers_in_ms": 1 });
            fs::write(versions.join(version).join("shop.json"), manners.to_string()).expect("its manners");
        }
        let host = json!({
            "state": folder.path().join("state"),
            "supervisor": "process",
            "haproxy": { "socket": wire.socket() },
            "workloads": { "shop": {
                "versions": versions,
                "command": [binary(), "demo-shop", "{port}"],
                "ports": [exporter + 1, ports.last()],
                "ready": { "check": "http", "path": "/healthz" },
                "backend": "shop",
            }},
        });
        let stage = Stage::new().await;
        let mut production = json!({
            "target": "web",
            "workload": "shop",
            "router": "shop",
            "replicas": 2,
            "health": [{ "url": format!("http://127.0.0.1:{}/healthz", haproxy.port()), "contains": "ok" }],
            "canary": { "steps": [
                { "set_weight": 20 }, { "pause": "1s" }, { "analyse": {} }, { "set_weight": 50 }, { "analyse": {} },
            ]},
            "blue_green": { "keep_warm": "1s" },
            "freeze": { "windows": [] },
        });
        let mut prometheus = None;
        if measured {
            production["analysis"] = analysis();
            let setup = PrometheusSetup {
                config: Some(collected(exporter)),
                ..PrometheusSetup::default()
            };
            prometheus = Some(Prometheus::start(&setup).await);
        }
        stage.add_repo("https://git.invalid", &production).await;
        Self {
            stage,
            haproxy,
            wire,
            prometheus,
            host,
            folder,
            _ports: ports,
        }
    }

    fn workload(&self) -> PathBuf {
        self.folder.path().join("state/shop")
    }

    pub fn worker(&self) -> Process {
        let host = self.host.to_string();
        let metrics = self.prometheus.as_ref().map(Prometheus::url);
        let metrics = metrics.map(|url| json!({ "url": url }).to_string());
        let mut env = vec![
            ("DATABASE_URL", self.stage.database.url()),
            ("LONGSHORE_HOSTS_WEB", &host),
            ("LONGSHORE_WORKER_LEASE", LONG),
            ("LONGSHORE_WORKER_MAX_CRASHES", "1000"),
        ];
        env.extend(
            metrics
                .as_deref()
                .map(|store| ("LONGSHORE_METRICS_DEFAULT", store)),
        );
        Process::start(&["worker"], &env)
    }

    pub async fn deploy(&self, version: &str, strategy: &str) -> String {
        let payload = json!({ "version": version, "environment": "production", "strategy": strategy });
        self.stage.add_task("deploy", &payload).await
    }

    /// How many servers of a side run, and what each of them weighs, as HAProxy has it.
    pub fn running(&self, side: &str) -> Vec<u32> {
        let servers = self.servers("shop");
        let of_side = servers.iter().filter(|(name, _)| name.starts_with(side));
        of_side
            .filter(|(_, words)| words[0] == "2")
            .map(|(_, words)| words[2].parse().expect("a weight"))
            .collect()
    }

    /// State, state as it was told, weight and all that follows, of each server of a backend.
    fn servers(&self, backend: &str) -> BTreeMap<String, Vec<String>> {
        let stat = self.haproxy.ask(&format!("show servers state {backend}"));
        let lines = stat.lines().skip(2).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
                // The seconds since its state changed go on by themselves.
                words[9].clear();
                (words[3].clone(), words.split_off(5))
            })
            .collect()
    }

    /// What is somebody else's: their backend as HAProxy has it, and the whole of haproxy.cfg.
    pub fn foreign(&self) -> (BTreeMap<String, Vec<String>>, String) {
        let file = fs::read_to_string(self.haproxy.dir().join("haproxy.cfg")).expect("haproxy.cfg");
        (self.servers("other"), file)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        end_kept(&self.workload());
    }
}

const SCRAPE: &str = "250ms";

fn collected(exporter: u16) -> String {
    format!(
        "global: {{scrape_interval: {SCRAPE}, scrape_timeout: {SCRAPE}}}
scrape_configs:
- {{job_name: haproxy, params: {{scope: [server]}}, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}
"
    )
}

/// Errors as HAProxy counts them.
fn analysis() -> Value {
    let answers = |codes: &str| {
        format!(
            "sum(increase(haproxy_server_http_responses_total{{proxy=\"shop\", server=~\"${{side}}.*\"{codes}}}[${{interval}}]))"
        )
    };
    json!({ "scrape_interval": SCRAPE, "at_least": "5s", "minimum_samples": 3, "metrics": [
        { "name": "errors", "query": format!("{} / {}", answers(", code=\"5xx\""), answers("")), "max": 0.02 },
    ] })
}
