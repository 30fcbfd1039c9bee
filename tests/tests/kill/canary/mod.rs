//! Deployments on a real HAProxy while clients ask without end, the worker killed at every write of a step: the next one
//! goes on, and in the end it is as if nothing had happened.

mod clients;
mod site;
mod wire;

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value;

use self::clients::Clients;
use self::site::Site;

/// From `v1` on.
struct Course {
    version: &'static str,
    strategy: &'static str,
    verdict: &'static str,
    /// What serves in the end.
    serves: &'static str,
    log: [&'static str; 2],
    /// Whether it is judged by what HAProxy counts.
    measured: bool,
}

/// What it came to.
#[derive(Debug, PartialEq)]
struct Came {
    verdict: Value,
    log: Vec<String>,
    /// The weights of the servers that run.
    stable: Vec<u32>,
    candidate: Vec<u32>,
    serves: String,
}

/// A run, and how often each weight was set on the way.
struct Ran {
    came: Came,
    weights: BTreeMap<String, usize>,
}

impl Course {
    async fn ends_as_if_nothing_had_happened(&self) {
        let calm = self.run(None).await;
        let mut kills = Vec::new();
        let killed = self.run(Some(&mut kills)).await;
        assert_eq!(calm.came.verdict, self.verdict);
        assert_eq!(calm.came.log, self.log);
        // Two serve, and nothing stands beside them.
        assert_eq!((calm.came.stable.len(), calm.came.candidate.len()), (2, 0));
        assert_eq!(calm.came.serves, self.serves);
        assert_eq!(killed.came, calm.came);
        assert!(kills.len() > 25, "{kills:#?}");
        let set = |ran: &Ran| ran.weights.values().sum::<usize>();
        println!(
            "weights were set {} times in peace and {} times among kills: {:#?}",
            set(&calm),
            set(&killed),
            killed.weights
        );
        for (weight, times) in &killed.weights {
            let in_peace = calm.weights.get(weight).copied().unwrap_or_default();
            assert!(
                *times <= in_peace,
                "{weight}: {times} times, and {in_peace} in peace"
            );
        }
    }

    /// In peace, or killed at every write of a step.
    async fn run(&self, kills: Option<&mut Vec<String>>) -> Ran {
        let site = Site::start(self.measured).await;
        let stage = &site.stage;
        let mut worker = site.worker();
        let first = site.deploy("v1", "rolling").await;
        stage
            .until("the first version serves", &worker, || async {
                stage.is_over(&first).await
            })
            .await;
        assert_eq!(stage.result(&first).await["verdict"], "succeeded");
        worker.kill();

        let foreign = site.foreign();
        let clients = Clients::start(site.haproxy.port());
        let begun = Instant::now();
        let how = match &kills {
            Some(_) => "among kills",
            None => "in peace",
        };
        if kills.is_some() {
            stage.gate_every_write().await;
        }
        let task = site.deploy(self.version, self.strategy).await;
        let _last = match kills {
            Some(all) => {
                let (kills, last) = stage
                    .kill_at_every_write(&task, || site.worker(), || async {})
                    .await;
                println!("{kills}, in {:.1?}: {:#?}", begun.elapsed(), kills.at);
                *all = kills.at;
                last
            }
            None => {
                let worker = site.worker();
                stage
                    .until("the task is over", &worker, || async {
                        stage.is_over(&task).await
                    })
                    .await;
                worker
            }
        };
        let seen = clients.end();
        let result = stage.result(&task).await;
        println!(
            "{} {how}: {} ({}) in {:.1?}; {} requests, {} answered with an error of {}'s own, {} lost; {} other changes of servers",
            self.strategy,
            result["verdict"],
            result["summary"].as_str().unwrap_or_default(),
            begun.elapsed(),
            seen.asked,
            seen.errors,
            self.version,
            seen.lost.len(),
            site.wire.others(),
        );
        assert_eq!(result["verdict"], self.verdict, "{result:#}");
        assert!(seen.lost.is_empty(), "{:#?}", seen.lost);
        assert_eq!(seen.errors > 0, self.measured, "{} errors", seen.errors);
        assert_eq!(site.foreign(), foreign);
        let serves = clients::body(site.haproxy.port());
        Ran {
            came: Came {
                verdict: result["verdict"].clone(),
                log: stage.deployments().await,
                stable: site.running("stable"),
                candidate: site.running("candidate"),
                serves: serves.trim_end().to_owned(),
            },
            weights: site.wire.weights(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_whose_worker_is_killed_at_every_step_ends_as_if_nothing_had_happened() {
    let course = Course {
        version: "v2",
        strategy: "canary",
        verdict: "succeeded",
        serves: "shop v2",
        log: ["v1 succeeded", "v2 succeeded v1"],
        measured: false,
    };
    course.ends_as_if_nothing_had_happened().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blue_green_whose_worker_is_killed_at_every_step_ends_as_if_nothing_had_happened() {
    let course = Course {
        version: "v2",
        strategy: "blue_green",
        verdict: "succeeded",
        serves: "shop v2",
        log: ["v1 succeeded", "v2 succeeded v1"],
        measured: false,
    };
    course.ends_as_if_nothing_had_happened().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_canary_whose_worker_is_killed_at_every_step_is_taken_back_as_if_nothing_had_happened() {
    let course = Course {
        version: "v3",
        strategy: "canary",
        verdict: "rolled_back",
        serves: "shop v1",
        log: ["v1 succeeded", "v3 rolled_back v1"],
        measured: true,
    };
    course.ends_as_if_nothing_had_happened().await;
}
