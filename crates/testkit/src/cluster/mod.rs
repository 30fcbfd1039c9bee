//! A real Kubernetes API server and controller manager over an etcd of their own, with a stand-in for nodes.
//!
//! It takes some seconds and half a gigabyte to start one: a test plays its scenes in namespaces of one cluster.

mod audit;
mod custom;
mod gate;
mod kubelet;
mod programs;
mod rest;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::peer::Peer;
pub use audit::Write;
use gate::Gate;
use kubelet::Kubelet;
use programs::Programs;
pub(crate) use programs::{Running, free_port};
pub use rest::Rest;

const START: Duration = Duration::from_secs(90);
const ADMIN: &str = "a-token-of-this-cluster-alone";

/// Dropping it stops it, and so does the end of this process, however it comes.
pub struct Cluster {
    // In the order in which they end.
    _kubelet: Kubelet,
    _controllers: Running,
    api: Option<Running>,
    _etcd: Running,
    programs: Programs,
    port: u16,
    etcd_port: u16,
    admin: Rest,
    dir: TempDir,
}

impl Cluster {
    /// Answers when the API server is ready. Pods run as their images' names say: see the module `kubelet`.
    pub async fn start() -> Self {
        let programs = Programs::find();
        let dir = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir()
            .expect("make a folder for a cluster");
        let path = |name: &str| dir.path().join(name);
        let token = format!("{ADMIN},admin,admin,\"system:masters\"\n");
        fs::write(path("tokens.csv"), token).expect("write the tokens");
        make_key(&path("service-accounts.key"));
        for _ in 0..5 {
            let (port, etcd_port) = (free_port(), free_port());
            let (port, etcd_port) = (port.expect("a free port"), etcd_port.expect("a free port"));
            let etcd = start_etcd(&programs, dir.path(), etcd_port);
            let api = start_api(&programs, dir.path(), port, etcd_port);
            let Some(admin) = ready(&api, &etcd, dir.path(), port).await else {
                continue;
            };
            let kubeconfig = kubeconfig(port, &path("api/apiserver.crt"), ADMIN);
            fs::write(path("admin.kubeconfig"), kubeconfig).expect("write a kubeconfig");
            return Self {
                _kubelet: Kubelet::start(admin.afresh()),
                _controllers: start_controllers(&programs, dir.path()),
                api: Some(api),
                _etcd: etcd,
                programs,
                port,
                etcd_port,
                admin,
                dir,
            };
        }
        panic!("every free port was taken by somebody else before the cluster had it");
    }

    /// Who may do everything.
    pub fn admin(&self) -> &Rest {
        &self.admin
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A gate of plain HTTP before the API server, with faults on demand and custom resources of its own.
    pub fn gate(&self) -> Peer {
        Gate::open(self.admin.afresh())
    }

    pub async fn make_namespace(&self, name: &str) {
        let namespace = json!({ "metadata": { "name": name } });
        self.admin.create("/api/v1/namespaces", &namespace).await;
    }

    /// A token of a service account, which is made where it is missing.
    pub async fn token(&self, namespace: &str, account: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        if self.admin.get(&format!("{path}/{account}")).await.is_none() {
            let made = json!({ "metadata": { "name": account } });
            self.admin.create(&path, &made).await;
        }
        let wish = json!({ "spec": { "expirationSeconds": 3600 } });
        let made = self.admin.create(&format!("{path}/{account}/token"), &wish).await;
        made["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// A kubeconfig that reaches the API server over TLS with that token.
    pub fn kubeconfig(&self, name: &str, token: &str) -> PathBuf {
        let path = self.dir.path().join(format!("{name}.kubeconfig"));
        let trusted = self.dir.path().join("api/apiserver.crt");
        fs::write(&path, kubeconfig(self.port, &trusted, token)).expect("write a kubeconfig");
        path
    }

    /// From here until [`Cluster::start_api`] there is no API server.
    pub fn stop_api(&mut self) {
        self.api = None;
    }

    pub async fn start_api(&mut self) {
        let api = start_api(&self.programs, self.dir.path(), self.port, self.etcd_port);
        let ready = ready(&api, &self._etcd, self.dir.path(), self.port).await;
        assert!(ready.is_some(), "somebody took the port of the API server");
        self.api = Some(api);
    }

    /// What service accounts asked to change in a namespace so far, in the API server's own account of it.
    pub fn writes(&self, namespace: &str) -> Vec<Write> {
        audit::read(self.dir.path(), namespace)
    }

    /// What a user may do, as the API server has it now.
    pub async fn may(&self, token: &str, namespace: &str, verb: &str, group: &str, resource: &str) -> bool {
        let review = json!({ "spec": { "resourceAttributes": {
            "namespace": namespace, "verb": verb, "group": group, "resource": resource,
        } } });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let review: Value = self.admin.with_token(token).create(path, &review).await;
        review["status"]["allowed"] == true
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(api) = &self.api
        {
            eprintln!("the API server said last:\n{}", api.last_words());
        }
    }
}

/// Waits until something is so; what it waits for happens elsewhere and tells nobody.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < START, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn make_key(path: &Path) {
    let made = Command::new("openssl")
        .args(["genrsa", "-out"])
        .arg(path)
        .arg("2048")
        .output()
        .expect("run openssl; it is installed by scripts/test");
    assert!(made.status.success(), "openssl made no key");
}

fn start_etcd(programs: &Programs, dir: &Path, port: u16) -> Running {
    let args = [
        format!("--data-dir={}", dir.join(format!("etcd-{port}")).display()),
        format!("--listen-client-urls=http://127.0.0.1:{port}"),
        format!("--advertise-client-urls=http://127.0.0.1:{port}"),
        // Nobody is to join: any port will do.
        "--listen-peer-urls=http://127.0.0.1:0".to_owned(),
        "--log-level=error".to_owned(),
    ];
    Running::start(&programs.etcd, &args, &dir.join("etcd.log"))
}

fn start_api(programs: &Programs, dir: &Path, port: u16, etcd_port: u16) -> Running {
    let key = dir.join("service-accounts.key");
    let mut args = vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd_port}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        // It makes a certificate of its own there.
        format!("--cert-dir={}", dir.join("api").display()),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", key.display()),
        format!("--service-account-signing-key-file={}", key.display()),
        format!("--token-auth-file={}", dir.join("tokens.csv").display()),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        // Pods need no account of their own here.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
    ];
    args.extend(audit::args(dir));
    Running::start(&programs.api_server, &args, &dir.join("api.log"))
}

fn start_controllers(programs: &Programs, dir: &Path) -> Running {
    let port = free_port().expect("a free port");
    let mut args = vec![
        format!("--kubeconfig={}", dir.join("admin.kubeconfig").display()),
        // Without the one that holds nodes for dead that send no heartbeat.
        "--controllers=deployment,replicaset,endpoint,endpointslice,garbagecollector".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--cert-dir={}", dir.join("controllers").display()),
    ];
    if programs.minor() < 24 {
        // Else it listens without TLS on a port that another cluster may have.
        args.push("--port=0".to_owned());
    }
    Running::start(&programs.controller_manager, &args, &dir.join("controllers.log"))
}

/// Its administrator, once the API server is ready; none when somebody took its port first.
async fn ready(api: &Running, etcd: &Running, dir: &Path, port: u16) -> Option<Rest> {
    let started = Instant::now();
    let mut admin = None;
    loop {
        if [api, etcd]
            .iter()
            .any(|it| it.log().contains("address already in use"))
        {
            return None;
        }
        if admin.is_none() {
            let trusted = fs::read(dir.join("api/apiserver.crt")).unwrap_or_default();
            admin = Rest::new(&trusted, format!("https://127.0.0.1:{port}"), ADMIN);
        }
        if let Some(admin) = &admin
            && let Ok(answer) = admin.request(reqwest::Method::GET, "/readyz").send().await
            && answer.status().is_success()
        {
            return Some(admin.clone());
        }
        assert!(
            started.elapsed() < START,
            "the API server did not become ready. It said:\n{}\n\netcd said:\n{}",
            api.last_words(),
            etcd.last_words()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn kubeconfig(port: u16, trusted: &Path, token: &str) -> String {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "test", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": trusted,
        } }],
        "users": [{ "name": "test", "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "current-context": "test",
    });
    config.to_string()
}
