//! What is deployed to: a HAProxy, a Prometheus that measures it and the shop behind it, a database with a repository
//! whose settings say how its canaries are judged, and the worker.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::postgres::{Database, Row, Session};
use testkit::{Haproxy, Prometheus, PrometheusSetup, end_kept};
use tokio::sync::Mutex;

use crate::load::{Answer, Version};
use crate::ports::Ports;
use crate::worker::{Process, binary};

/// How a version of the shop is.
#[derive(Clone, Copy, Default)]
pub struct Manners {
    /// One request in so many is answered with an error; none is when 0.
    pub error_every: u64,
    /// It answers in so many milliseconds more than the others.
    pub slower_ms: u64,
}

/// A version answers within 100 to 120 ms, evenly spread.
const ANSWERS_IN_MS: u64 = 100;
const SPREAD_MS: u64 = 20;

/// Far more than any deployment here takes, windows that were extended counted in.
const LIMIT: Duration = Duration::from_secs(240);

pub struct Site {
    session: Mutex<Session>,
    _database: Database,
    haproxy: Haproxy,
    _prometheus: Prometheus,
    worker: Process,
    folder: tempfile::TempDir,
    /// For this test alone as long as it runs.
    _ports: Ports,
}

impl Site {
    pub async fn start(versions: &[Manners]) -> Self {
        let ports = Ports::take();
        let haproxy = Haproxy::start(&backends(&ports));
        let setup = PrometheusSetup {
            config: Some(collected(&ports)),
            ..PrometheusSetup::default()
        };
        let (prometheus, database) = tokio::join!(Prometheus::start(&setup), testkit::postgres::database());
        let folder = tempfile::tempdir().expect("a folder");
        let shop = folder.path().join("versions");
        for (version, manners) in (1..).zip(versions) {
            let name = format!("v{version}");
            let path = shop.join(&name);
            fs::create_dir_all(&path).expect("a version");
            let manners = json!({
                "version": name,
                "error_every": manners.error_every,
                "answers_in_ms": ANSWERS_IN_MS + manners.slower_ms,
                "spread_ms": SPREAD_MS,
            });
            fs::write(path.join("shop.json"), manners.to_string()).expect("its manners");
        }
        let settings = settings(haproxy.port(), ports.preview());
        let mut session = database.session().await;
        session
            .sql(&format!(
                "INSERT INTO repos (id, name, gitlab_url, gitlab_project_id, autonomy_mode, settings)
                 VALUES ('shop', 'shop', 'https://git.invalid', 'group/shop', 'full', '{settings}')"
            ))
            .await;
        let host = json!({
            "state": folder.path().join("state"),
            "haproxy": { "socket": haproxy.socket("admin") },
            "workloads": { "shop": {
                "versions": shop,
                "command": [binary(), "demo-shop", "{port}"],
                "ports": ports.shop(),
                "ready": { "check": "http", "path": "/healthz" },
                "backend": "shop",
            }},
        });
        let env = [
            ("DATABASE_URL", database.url()),
            ("LONGSHORE_HOSTS_WEB", &host.to_string()),
            (
                "LONGSHORE_METRICS_DEFAULT",
                &json!({ "url": prometheus.url() }).to_string(),
            ),
        ];
        let worker = Process::start(&["worker"], &env);
        Self {
            session: Mutex::new(session),
            _database: database,
            haproxy,
            _prometheus: prometheus,
            worker,
            folder,
            _ports: ports,
        }
    }

    pub fn port(&self) -> u16 {
        self.haproxy.port()
    }

    fn workload(&self) -> PathBuf {
        self.folder.path().join("state/shop")
    }

    pub async fn sql(&self, text: &str) -> Vec<Row> {
        self.session.lock().await.sql(text).await
    }

    /// The one value that a question has as its answer.
    pub async fn value(&self, text: &str) -> String {
        let mut rows = self.sql(text).await;
        assert_eq!(rows.len(), 1, "one row was expected of: {text}");
        let value = rows.remove(0).into_iter().next().flatten();
        value.unwrap_or_else(|| panic!("nothing is the answer to {text}"))
    }

    /// When it was, in Unix seconds.
    async fn time(&self, what: &str, of: &str) -> f64 {
        let text = self
            .value(&format!("SELECT extract(epoch FROM {what}) FROM {of}"))
            .await;
        text.parse().unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// When its last judgement was made, and what it says.
    pub async fn judged(&self, task: &str) -> (f64, String) {
        let of = format!(
            "longshore.task_steps WHERE task_id = '{task}' AND key LIKE 'judge/%' ORDER BY done_at DESC LIMIT 1"
        );
        let why = format!("SELECT outcome #>> '{{ok,judged,judgement,why}}' FROM {of}");
        (self.time("done_at", &of).await, self.value(&why).await)
    }

    /// When a worker first took it.
    pub async fn claimed(&self, task: &str) -> f64 {
        self.time("started_at", &format!("tasks WHERE id = '{task}'"))
            .await
    }

    /// A task, and its id.
    pub async fn ask(&self, task_type: &str, mut payload: Value) -> String {
        payload["environment"] = "production".into();
        self.value(&format!(
            "INSERT INTO tasks (task_type, repo_id, assigned_to, payload)
             VALUES ('{task_type}', 'shop', 'devops', '{payload}') RETURNING id"
        ))
        .await
    }

    pub async fn deploy(&self, version: Version, strategy: Value) -> String {
        let payload = json!({ "version": format!("v{version}"), "strategy": strategy });
        self.ask("deploy", payload).await
    }

    /// What became of it.
    pub async fn ended(&self, task: &str) -> Value {
        let over =
            format!("SELECT status IN ('completed', 'failed', 'cancelled') FROM tasks WHERE id = '{task}'");
        self.until("the task is over", async || self.value(&over).await == "t")
            .await;
        let text = self
            .value(&format!("SELECT result FROM tasks WHERE id = '{task}'"))
            .await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    pub async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let asked = Instant::now();
        while !so().await {
            assert!(
                asked.elapsed() < LIMIT,
                "waited in vain until {what}; tasks: {:?}; the worker:\n{}",
                self.sql("SELECT id, task_type, status, attempt, wait, error FROM tasks")
                    .await,
                self.worker.said()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// From then on there is something to visit.
    pub async fn first_answer(&self) {
        let ask = || crate::load::ask(self.port(), None, false);
        self.until("the shop answers", async || {
            matches!(ask().await, Ok((Answer::Well(_), _)))
        })
        .await;
    }

    /// What HAProxy counted of the shop in a column of its statistics, such as `wretr`, requests that it had to send again.
    pub fn counted(&self, what: &str) -> u64 {
        let stat = self.haproxy.ask("show stat");
        let mut lines = stat.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().expect("names of columns");
        let at = names.iter().position(|name| *name == what).expect("a column");
        let shop = lines.find(|line| line[0] == "shop" && line[1] == "BACKEND");
        let shop = shop.expect("the backend shop");
        shop[at].parse().expect("a number")
    }

    /// What the worker wrote, for one who looks why.
    pub fn said(&self) -> String {
        self.worker.said()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        end_kept(&self.workload());
    }
}

fn backends(ports: &Ports) -> String {
    let (exporter, preview) = (ports.exporter(), ports.preview());
    format!(
        "frontend exporter
  bind 127.0.0.1:{exporter}
  http-request use-service prometheus-exporter if {{ path /metrics }}
frontend preview
  bind 127.0.0.1:{preview}
  default_backend shop
backend shop
  balance roundrobin
  use-server candidate1 if {{ dst_port {preview} }}
  use-server candidate2 if {{ dst_port {preview} }}
  use-server candidate3 if {{ dst_port {preview} }}
  server-template stable 3 127.0.0.1:1 weight 100 disabled
  server-template candidate 3 127.0.0.1:1 weight 0 disabled
"
    )
}

/// How often Prometheus collects: a point of the judge's is four of these.
const SCRAPE: &str = "250ms";

fn collected(ports: &Ports) -> String {
    let (exporter, (first, last)) = (ports.exporter(), ports.shop());
    let shops: Vec<String> = (first..=last).map(|port| format!("'127.0.0.1:{port}'")).collect();
    let shops = shops.join(", ");
    format!(
        "global: {{scrape_interval: {SCRAPE}, scrape_timeout: {SCRAPE}}}
scrape_configs:
- {{job_name: haproxy, params: {{scope: [server]}}, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}
- {{job_name: shop, static_configs: [{{targets: [{shops}]}}]}}
"
    )
}

/// As one would set them, with shorter steps: errors as HAProxy counts them by server, latencies as the shop itself
/// measures them; how they are judged is left to the defaults.
fn settings(front: u16, preview: u16) -> Value {
    let errors = |codes: &str| {
        format!(
            "sum(increase(haproxy_server_http_responses_total{{proxy=\"shop\", server=~\"${{side}}.*\"{codes}}}[${{interval}}]))"
        )
    };
    let (bad, all) = (errors(", code=\"5xx\""), errors(""));
    let seconds = |what: &str| {
        format!("(rate(shop_request_seconds_{what}{{version=\"${{version}}\"}}[${{interval}}]))")
    };
    json!({ "environments": { "production": {
        "target": "web",
        "workload": "shop",
        "router": "shop",
        "replicas": 2,
        "health": [{ "url": format!("http://127.0.0.1:{front}/"), "contains": "shop v" }],
        "smoke": [{ "url": format!("http://127.0.0.1:{preview}/"), "contains": "shop ${version}" }],
        "canary": { "steps": [{ "set_weight": 25 }, { "analyse": {} }, { "set_weight": 50 }, { "analyse": {} }] },
        "analysis": {
            "scrape_interval": SCRAPE,
            "at_least": "25s",
            // A machine that is busy with other things needs more windows, and nobody is here to be asked.
            "extensions": 10,
            "metrics": [
                { "name": "error_rate", "query": format!("{bad} / {all}"), "requests": all, "max": 0.02 },
                {
                    "name": "latency_p95",
                    "query": format!("histogram_quantile(0.95, sum by (le) {})", seconds("bucket")),
                    "requests": format!("sum{} * 1", seconds("count")),
                    "max": 0.5,
                },
            ],
        },
        "freeze": { "windows": [] },
    }}})
}
