//! A namespace with a workload, and longshore as the service account that deploys there.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use adapter_kube::{Connection, KubeConfig, KubeFleet, KubeRouter};
use domain::Idem;
use ports::{Fleet, Group, Launch, Mark, RouteRef, Side, WorkloadRef};
use serde_json::{Value, json};
use testkit::cluster::{Cluster, Rest, until};
use testkit::peer::{Fault, Peer, Phase, When};
use tokio::sync::oneshot;

/// As it is handed to people.
pub const ROLE: &str = include_str!("../../../../deploy/kubernetes/role.yaml");

pub const SIDE: &str = "longshore/side";

pub struct Site {
    pub cluster: Arc<Cluster>,
    pub namespace: String,
    pub token: String,
    pub connection: Connection,
    pub fleet: KubeFleet,
    pub router: KubeRouter,
    gate: Peer,
}

impl Site {
    pub async fn start(cluster: Arc<Cluster>) -> Self {
        static MADE: AtomicU32 = AtomicU32::new(1);
        let namespace = format!("scene-{}", MADE.fetch_add(1, Ordering::Relaxed));
        cluster.make_namespace(&namespace).await;
        let token = cluster.token(&namespace, "longshore").await;
        let folder = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
        let ours = ROLE.replace("namespace: shop", &format!("namespace: {namespace}"));
        let (role, binding) = ours.split_once("\n---\n").expect("two objects");
        cluster
            .admin()
            .create_yaml(&format!("{folder}/roles"), role)
            .await;
        cluster
            .admin()
            .create_yaml(&format!("{folder}/rolebindings"), binding)
            .await;
        until("the role is in force", || {
            cluster.may(&token, &namespace, "patch", "networking.k8s.io", "ingresses")
        })
        .await;
        let gate = cluster.gate();
        let config = KubeConfig {
            kubeconfig: Some(kubeconfig(&cluster, &gate.url(), &namespace, &token)),
            ..KubeConfig::default()
        };
        let connection = Connection::open(&config).await.expect("is usable");
        Self {
            fleet: KubeFleet::new(&connection),
            router: KubeRouter::new(&connection),
            connection,
            cluster,
            namespace,
            token,
            gate,
        }
    }

    pub fn admin(&self) -> &Rest {
        self.cluster.admin()
    }

    /// The administrator behind the gate, where custom resources are.
    pub fn inside(&self) -> Rest {
        self.admin().at(&self.gate.url())
    }

    pub fn at(&self) -> WorkloadRef {
        self.workload("checkout")
    }

    pub fn workload(&self, name: &str) -> WorkloadRef {
        WorkloadRef {
            target: "cluster".to_owned(),
            name: format!("{}/{name}", self.namespace),
            container: Some("web".to_owned()),
        }
    }

    pub fn path(&self, group: &str, kinds: &str) -> String {
        format!("/{group}/namespaces/{}/{kinds}", self.namespace)
    }

    pub fn deployment(&self, name: &str) -> String {
        format!("{}/{name}", self.path("apis/apps/v1", "deployments"))
    }

    /// Somebody's workload, as a tool of theirs would write it, with a container of the mesh beside its own.
    pub async fn make(&self, name: &str, version: &str, replicas: u32) {
        let path = format!("{}?fieldManager=gitops", self.path("apis/apps/v1", "deployments"));
        let deployment = json!({
            "metadata": {
                "name": name,
                "labels": { "team": "checkout" },
                "annotations": { "example.com/owner": "ada" },
            },
            "spec": {
                "replicas": replicas,
                "minReadySeconds": 0,
                "selector": { "matchLabels": { "app": name } },
                "template": template(name, version),
            },
        });
        self.admin().create(&path, &deployment).await;
        self.complete(name).await;
    }

    /// A Service of the pods with these labels.
    pub async fn make_service(&self, name: &str, selector: &Value) {
        let service = json!({
            "metadata": { "name": name, "annotations": { "example.com/owner": "ada" } },
            "spec": { "selector": selector, "ports": [{ "port": 80, "name": "http" }] },
        });
        self.admin()
            .create(&self.path("api/v1", "services"), &service)
            .await;
    }

    /// A candidate of one replica, ready.
    pub async fn launch(&self, name: &str, version: &str) -> Mark {
        let at = self.workload(name);
        let wanted = Launch {
            version: image(version),
            replicas: 1,
        };
        let mark = self
            .fleet
            .launch(&at, &wanted, None, &idem())
            .await
            .expect("launches");
        until("the candidate is complete", || async {
            let group = self.group(name, Side::Candidate).await;
            group.is_some_and(|group| group.is_complete())
        })
        .await;
        mark
    }

    pub fn route(&self, kind: &str, name: &str) -> RouteRef {
        RouteRef {
            target: "cluster".to_owned(),
            name: format!("{kind}{}/{name}", self.namespace),
        }
    }

    pub async fn make_pod_template(&self, name: &str) {
        let path = self.path("api/v1", "podtemplates");
        let object = json!({ "metadata": { "name": name }, "template": template(name, "v0") });
        self.admin().create(&path, &object).await;
    }

    /// Somebody else wishes for that version.
    pub async fn meddle(&self, name: &str, version: &str) {
        meddle(self.admin(), &self.deployment(name), version).await;
    }

    pub async fn group(&self, name: &str, side: Side) -> Option<Group> {
        let observed = self.fleet.observe(&self.workload(name), side).await;
        observed.expect("observes")
    }

    pub async fn complete(&self, name: &str) {
        until("the workload is complete", || async {
            let group = self.group(name, Side::Stable).await;
            group.is_some_and(|group| group.is_complete())
        })
        .await;
    }

    /// From now on longshore may read and not write.
    pub async fn deny_writes(&self) {
        let path = format!(
            "{}/longshore",
            self.path("apis/rbac.authorization.k8s.io/v1", "roles")
        );
        let rules = json!({ "rules": [{
            "apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"],
        }] });
        self.admin().merge(&path, &rules).await;
        let (token, namespace) = (&self.token, &self.namespace);
        for (group, resource) in [("apps", "deployments"), ("networking.k8s.io", "ingresses")] {
            until("nothing may be written any more", || async {
                !self.cluster.may(token, namespace, "patch", group, resource).await
            })
            .await;
        }
    }

    /// How many changes have been taken through the gate.
    pub fn changes(&self) -> usize {
        let taken = |status: Option<u16>| status.is_some_and(|status| (200..300).contains(&status));
        let all = self.gate.requests();
        let all = all.iter().filter(|request| request.method != "GET");
        all.filter(|request| taken(request.status)).count()
    }

    /// What the next change suffers.
    pub fn break_next(&self, fault: &Fault) {
        self.gate.fault(&When::write(), fault);
    }

    pub fn gate(&self) -> &Peer {
        &self.gate
    }

    /// Lets somebody act after our look and before our next write gets there. Not through the gate: it waits for them.
    pub fn before_next_write(&self, act: impl Future<Output = ()> + Send + 'static) {
        let (begin, begun) = oneshot::channel();
        let (end, ended) = mpsc::channel();
        tokio::spawn(async move {
            if begun.await.is_ok() {
                act.await;
                let _ = end.send(());
            }
        });
        let once = Mutex::new(Some((begin, ended)));
        self.gate.on_request(move |request, phase| {
            if phase == Phase::Arrived
                && request.is_write()
                && let Some((begin, ended)) = once.lock().expect("nobody panicked").take()
            {
                let _ = begin.send(());
                ended.recv().expect("it was done");
            }
        });
    }

    /// The same place for somebody else, or with other patience.
    pub async fn connected(&self, token: &str, change: impl FnOnce(&mut KubeConfig)) -> Connection {
        let config = kubeconfig(&self.cluster, &self.gate.url(), &self.namespace, token);
        let mut config = KubeConfig {
            kubeconfig: Some(config),
            ..KubeConfig::default()
        };
        change(&mut config);
        Connection::open(&config).await.expect("is usable")
    }
}

fn kubeconfig(cluster: &Cluster, url: &str, namespace: &str, token: &str) -> PathBuf {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "gate", "cluster": { "server": url } }],
        "users": [{ "name": "longshore", "user": { "token": token } }],
        "contexts": [{ "name": "gate", "context": { "cluster": "gate", "user": "longshore" } }],
        "current-context": "gate",
    });
    let path = cluster.dir().join(format!("{namespace}.kubeconfig"));
    std::fs::write(&path, kubeconfig.to_string()).expect("writes a kubeconfig");
    path
}

pub fn image(version: &str) -> String {
    format!("registry.example:5000/shop/checkout:{version}")
}

fn template(name: &str, version: &str) -> Value {
    json!({
        "metadata": {
            "labels": { "app": name, "tier": "web", SIDE: "stable" },
            "annotations": { "example.com/scrape": "true" },
        },
        "spec": { "containers": [
            { "name": "mesh", "image": "mesh.example/proxy:1" },
            { "name": "web", "image": image(version), "env": [{ "name": "REGION", "value": "eu" }] },
        ] },
    })
}

pub fn idem() -> Idem {
    Idem::new("task/run/step".to_owned())
}

pub async fn meddle(admin: &Rest, deployment: &str, version: &str) {
    let change = json!({ "spec": { "template": { "spec": {
        "containers": [{ "name": "web", "image": image(version) }],
    } } } });
    let path = format!("{deployment}?fieldManager=kubectl");
    admin.merge_by_name(&path, &change).await;
}

/// Each of these functions of a site as a scene.
macro_rules! scenes {
    ($cluster:expr, $($name:ident)+) => {
        vec![$(Scene::new(stringify!($name), {
            let cluster = Arc::clone($cluster);
            async move { $name(Site::start(cluster).await).await }
        })),+]
    };
}
pub(crate) use scenes;
