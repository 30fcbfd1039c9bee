//! A namespace of a real cluster with a workload and things of others, and the program that deploys there.

use std::sync::atomic::{AtomicU32, Ordering};

use domain::TicketRef;
use serde_json::{Value, json};
use testkit::cluster::{Cluster, Rest, until};
use testkit::gitlab::{FakeGitlab, TOKEN};

use super::furniture::as_longshore;
use crate::bench::LONG;
use crate::stage::Stage;
use crate::worker::Process;

const PROJECT: &str = "group/shop";

/// What parts the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Router {
    /// The number of replicas behind one Service.
    Replicas,
    /// A Service's selector.
    Selector,
    /// The annotations of ingress-nginx.
    Ingress,
}

pub struct Site {
    pub stage: Stage,
    pub admin: Rest,
    pub namespace: String,
    pub gitlab: FakeGitlab,
    router: Router,
    ticket: TicketRef,
    /// The worker's setting.
    target: String,
    token: String,
}

impl Site {
    /// `v1` runs with so many replicas; `more` stands in the environment's settings.
    pub async fn start(cluster: &Cluster, router: Router, replicas: u32, more: Value) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(1);
        let namespace = format!("site-{}", MADE.fetch_add(1, Ordering::Relaxed));
        cluster.make_namespace(&namespace).await;
        let (kubeconfig, token) = as_longshore(cluster, &namespace).await;
        let gitlab = FakeGitlab::start();
        gitlab.with(|world| {
            for tag in ["v1", "v2", "v3"] {
                world.tag(PROJECT, tag);
            }
        });
        let stage = Stage::new().await;
        let mut production = json!({
            "target": "cluster",
            "workload": "checkout",
            "container": "web",
            "router": match router {
                Router::Replicas => "checkout",
                Router::Selector => "service/checkout",
                Router::Ingress => "ingress/web",
            },
            "replicas": replicas,
            "freeze": { "windows": [] },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            production[key] = value.clone();
        }
        stage.add_repo(&gitlab.repo(PROJECT).url, &production).await;
        let target = json!({ "kubeconfig": kubeconfig, "context": "test", "namespace": namespace });
        let site = Self {
            admin: cluster.admin().clone(),
            ticket: gitlab.open_issue(PROJECT, &[]),
            target: target.to_string(),
            token,
            stage,
            namespace,
            gitlab,
            router,
        };
        site.furnish(replicas).await;
        site
    }

    pub fn worker(&self) -> Process {
        self.worker_with(&[])
    }

    /// One with this in its environment too.
    pub fn worker_with(&self, more: &[(&str, &str)]) -> Process {
        let url = self.gitlab.url();
        let mut env = vec![
            ("DATABASE_URL", self.stage.database.url()),
            ("GITLAB_URL", &url),
            ("GITLAB_TOKEN", TOKEN),
            ("LONGSHORE_GITLAB_TIMEOUT", "1s"),
            ("LONGSHORE_GITLAB_SETTLE", "1s"),
            ("LONGSHORE_CLUSTERS_CLUSTER", &self.target),
            ("LONGSHORE_WORKER_LEASE", LONG),
            ("LONGSHORE_WORKER_MAX_CRASHES", "1000"),
        ];
        env.extend(more);
        Process::start(&["worker"], &env)
    }

    pub fn router(&self) -> Router {
        self.router
    }

    /// An answer to what a task asks, as a person gives it.
    pub async fn answer(&self, verb: &str, task: &str, what: &str) {
        let args = ["tasks", verb, task, "--what", what, "--by", "ada"];
        let mut asked = Process::start(&args, &[("DATABASE_URL", self.stage.database.url())]);
        assert!(asked.ended().await.success(), "{}", asked.said());
    }

    /// A task, and its id.
    pub async fn deploy(&self, version: &str, strategy: &str, more: Value) -> String {
        let mut payload = json!({
            "version": version, "environment": "production", "strategy": strategy, "issue": { "iid": self.ticket.iid },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            payload[key] = value.clone();
        }
        self.stage.add_task("deploy", &payload).await
    }

    pub async fn roll_back(&self) -> String {
        let payload = json!({ "environment": "production", "issue": { "iid": self.ticket.iid } });
        self.stage.add_task("rollback", &payload).await
    }

    pub async fn until_over(&self, task: &str, worker: &Process) -> Value {
        let stage = &self.stage;
        stage
            .until("the task is over and told of", worker, || async {
                stage.is_over(task).await
                    && stage
                        .holds("NOT EXISTS (SELECT FROM longshore.ticket_outbox WHERE due_at IS NOT NULL)")
                        .await
            })
            .await;
        stage.result(task).await
    }

    /// What was taken away is cleared away a moment after it.
    pub async fn until_all_run(&self, version: &str, worker: &Process) {
        self.stage
            .until(&format!("{version} runs and nothing else"), worker, || async {
                self.runs(version).await
            })
            .await;
    }

    /// The task asks a person for something of that name, and is told of; answers what it waits for.
    pub async fn until_asked(&self, task: &str, worker: &Process, what: &str) -> String {
        let stage = &self.stage;
        let waits = format!("SELECT wait::text FROM tasks WHERE id = '{task}' AND status = 'waiting'");
        let asks = || async {
            let wait = stage.sql(&waits).await.into_iter().flatten().flatten().next();
            let wait: Value = serde_json::from_str(&wait?).ok()?;
            let signals = wait["signals"].as_array().cloned().unwrap_or_default();
            let asked = signals
                .iter()
                .filter_map(|signal| signal.as_str()?.strip_prefix("approval/"));
            asked.map(str::to_owned).find(|asked| asked.contains(what))
        };
        stage
            .until("it asks a person", worker, || async { asks().await.is_some() })
            .await;
        asks().await.unwrap_or_default()
    }

    pub fn notes(&self) -> Vec<String> {
        self.gitlab.notes(&self.ticket)
    }

    /// Every status that each record at the forge had.
    pub fn records(&self) -> Vec<Vec<String>> {
        self.gitlab.with(|world| {
            let all = world.deployments.iter();
            all.map(|record| record.statuses.clone()).collect()
        })
    }

    pub fn path(&self, group: &str, kinds: &str) -> String {
        format!("/{group}/namespaces/{}/{kinds}", self.namespace)
    }

    pub fn deployments(&self) -> String {
        self.path("apis/apps/v1", "deployments")
    }

    pub fn ingresses(&self) -> String {
        self.path("apis/networking.k8s.io/v1", "ingresses")
    }

    pub fn services(&self) -> String {
        self.path("api/v1", "services")
    }

    pub async fn object(&self, kinds: &str, name: &str) -> Value {
        self.admin
            .get(&format!("{kinds}/{name}"))
            .await
            .unwrap_or_default()
    }

    /// Somebody else changes an object, as `kubectl` does it.
    pub async fn by_hand(&self, kinds: &str, name: &str, change: &Value) {
        let path = format!("{kinds}/{name}?fieldManager=kubectl");
        self.admin.merge_by_name(&path, change).await;
    }

    /// From now on longshore may not change objects of that kind.
    pub async fn deny_patches(&self, cluster: &Cluster, group: &str, kinds: &str) {
        let roles = self.path("apis/rbac.authorization.k8s.io/v1", "roles");
        let mut rules = self.object(&roles, "longshore").await["rules"].clone();
        for rule in rules.as_array_mut().into_iter().flatten() {
            if rule["resources"]
                .as_array()
                .is_some_and(|all| all.contains(&json!(kinds)))
            {
                rule["verbs"] = json!(["get"]);
            }
        }
        let path = format!("{roles}/longshore");
        self.admin.merge(&path, &json!({ "rules": rules })).await;
        until("the right is gone", || async {
            !cluster
                .may(&self.token, &self.namespace, "patch", group, kinds)
                .await
        })
        .await;
    }
}
