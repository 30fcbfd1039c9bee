//! Each strategy on a real API server, well and badly, its worker killed at every write of a step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use ports::conformance::Scene;
use serde_json::{Value, json};
use testkit::cluster::Cluster;

use super::site::{Router, Site};

/// What a deployment came to.
#[derive(Debug, PartialEq)]
struct Came {
    verdict: Value,
    stands: Vec<Value>,
    /// What the API server took.
    writes: Vec<String>,
    log: Vec<String>,
    records: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Came {
    async fn of(site: &Site, cluster: &Cluster, result: &Value) -> Self {
        // The first line of a note says what it came to; what is folded below has times and worker names.
        let first = |note: String| {
            note.lines()
                .find(|line| !line.starts_with("<!--"))
                .map(str::to_owned)
        };
        Self {
            verdict: result["verdict"].clone(),
            stands: site.stands().await,
            writes: site.writes(cluster),
            log: site.stage.deployments().await,
            records: site.records(),
            notes: site.notes().into_iter().filter_map(first).collect(),
        }
    }
}

/// A task that is carried out twice: in peace, and by workers that are killed.
struct Course {
    title: &'static str,
    router: Router,
    replicas: u32,
    settings: Value,
    what: What,
    /// The candidate crashes, once, when it has so much of the traffic.
    crashes_at: Option<u64>,
    verdict: &'static str,
    /// Fewer kills than this would be fewer than it has writes.
    writes: usize,
}

enum What {
    Deploy(&'static str, &'static str),
    /// Of a version that was deployed before, by a worker that nobody killed.
    RollBack(&'static str),
}

impl Course {
    fn good(title: &'static str, router: Router, what: What, writes: usize) -> Self {
        Self {
            title,
            router,
            replicas: 2,
            settings: json!({
                "canary": { "steps": [
                    { "set_weight": 20 }, { "pause": "1s" }, { "analyse": {} }, { "set_weight": 50 }, { "analyse": {} },
                ] },
                "blue_green": { "keep_warm": "1s" },
            }),
            what,
            crashes_at: None,
            verdict: "succeeded",
            writes,
        }
    }

    /// It is judged in time after the crash.
    fn bad(title: &'static str, router: Router, strategy: &'static str, crashes_at: u64) -> Self {
        Self {
            settings: json!({
                "canary": { "steps": [{ "set_weight": 20 }, { "pause": "3s" }, { "analyse": {} }] },
                "blue_green": { "keep_warm": "3s" },
            }),
            crashes_at: Some(crashes_at),
            verdict: "rolled_back",
            ..Self::good(title, router, What::Deploy("v3", strategy), 25)
        }
    }
}

pub fn scenes(cluster: &Arc<Cluster>) -> Vec<Scene> {
    use Router::{Ingress, Replicas, Selector};
    let deploy = |strategy| What::Deploy("v2", strategy);
    let courses = [
        Course::good("a canary by annotations", Ingress, deploy("canary"), 30),
        Course {
            replicas: 4,
            ..Course::good("a canary by replicas", Replicas, deploy("canary"), 30)
        },
        Course::good(
            "blue-green by a Service's selector",
            Selector,
            deploy("blue_green"),
            25,
        ),
        Course::good("a rolling update", Replicas, deploy("rolling"), 12),
        Course::bad("a canary that is taken back", Ingress, "canary", 20),
        Course::bad("blue-green that is switched back", Selector, "blue_green", 100),
        Course {
            verdict: "rolled_back",
            ..Course::good("a rollback", Replicas, What::RollBack("v2"), 12)
        },
    ];
    let scene = |course: Course| {
        let (cluster, title) = (Arc::clone(cluster), course.title);
        Scene::new("killed at every write of a step", async move {
            course.ends_as_if_nothing_had_happened(&cluster).await;
        })
        .with(title)
    };
    courses.into_iter().map(scene).collect()
}

impl Course {
    async fn ends_as_if_nothing_had_happened(self, cluster: &Cluster) {
        let expected = self.in_peace(cluster).await;
        let site = self.site(cluster).await;
        let foreign = site.foreign().await;
        site.stage.gate_every_write().await;
        let (task, crash, begun) = (self.begin(&site).await, Crash::of(&self, &site), Instant::now());
        let (kills, last) = site
            .stage
            .kill_at_every_write(&task, || site.worker(), || crash.is_due())
            .await;
        let took = begun.elapsed();
        let result = site.until_over(&task, &last).await;
        site.until_all_run(self.serves(), &last).await;
        let came = Came::of(&site, cluster, &result).await;
        println!(
            "{}: {kills}, in {took:.1?}; {} ({})\n  weights {:?}, switches {:?}; the API server took {:#?}\n  log {:?}, records {:?}",
            self.title,
            result["verdict"],
            result["summary"].as_str().unwrap_or_default(),
            site.weights(cluster),
            site.switches(cluster),
            came.writes,
            came.log,
            came.records,
        );
        assert!(
            kills.at.len() > self.writes && kills.twice > self.writes / 3,
            "{kills:#?}"
        );
        assert_eq!(came, expected, "{}", self.title);
        assert_eq!(site.foreign().await, foreign, "{}", self.title);
    }

    async fn in_peace(&self, cluster: &Cluster) -> Came {
        let site = self.site(cluster).await;
        let task = self.begin(&site).await;
        let (worker, crash) = (site.worker(), Crash::of(self, &site));
        site.stage
            .until("the task is over", &worker, || async {
                crash.is_due().await;
                site.stage.is_over(&task).await
            })
            .await;
        let result = site.until_over(&task, &worker).await;
        assert_eq!(result["verdict"], self.verdict, "{}: {result:#}", self.title);
        site.until_all_run(self.serves(), &worker).await;
        let came = Came::of(&site, cluster, &result).await;
        assert!(!came.writes.is_empty() && !came.records.is_empty(), "{came:#?}");
        came
    }

    /// The version, in the end.
    fn serves(&self) -> &'static str {
        match self.verdict {
            "succeeded" => "v2",
            _ => "v1",
        }
    }

    async fn site(&self, cluster: &Cluster) -> Site {
        let site = Site::start(cluster, self.router, self.replicas, self.settings.clone()).await;
        if let What::RollBack(version) = self.what {
            let mut worker = site.worker();
            let task = site.deploy(version, "rolling", Value::Null).await;
            let result = site.until_over(&task, &worker).await;
            assert_eq!(result["verdict"], "succeeded", "{result:#}");
            site.until_all_run(version, &worker).await;
            worker.kill();
        }
        site
    }

    async fn begin(&self, site: &Site) -> String {
        match self.what {
            What::Deploy(version, strategy) => site.deploy(version, strategy, Value::Null).await,
            What::RollBack(_) => site.roll_back().await,
        }
    }
}

/// What makes a version a bad one.
struct Crash<'a> {
    site: &'a Site,
    at: Option<u64>,
    over: AtomicBool,
}

impl<'a> Crash<'a> {
    fn of(course: &Course, site: &'a Site) -> Self {
        Self {
            site,
            at: course.crashes_at,
            over: AtomicBool::new(false),
        }
    }

    async fn is_due(&self) {
        let Some(at) = self.at else { return };
        if !self.over.load(Ordering::Relaxed) && self.site.candidates_share().await == at {
            self.site.crash_candidates().await;
            self.over.store(true, Ordering::Relaxed);
        }
    }
}
