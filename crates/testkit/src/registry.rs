//! A real registry of container images (CNCF Distribution) with one user, on a loopback port of its own.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::Certificate;
use crate::cluster::{Running, free_port};

const START: Duration = Duration::from_secs(30);

/// Dropping it stops it, and so does the end of this process, however it comes.
pub struct Registry {
    running: Running,
    port: u16,
    pub certificate: Certificate,
    _dir: TempDir,
}

impl Registry {
    pub const USER: &str = "longshore";
    pub const PASSWORD: &str = "pull-only";
    /// Of [`Self::PASSWORD`], with bcrypt.
    const HASH: &str = "$2y$04$Zwulf/8jhpEvgCw5fQw8quN9JPcdhufE1kCxCNJwvlUED5A.1v7bi";

    /// Over TLS.
    pub async fn start() -> Self {
        let certificate = Certificate::for_loopback();
        for _ in 0..5 {
            let dir = tempfile::Builder::new()
                .prefix("registry-")
                .tempdir()
                .expect("make a folder for a registry");
            let port = free_port().expect("a free port");
            let config = configuration(dir.path(), port, &certificate);
            let path = |name: &str| dir.path().join(name);
            fs::write(path("users"), format!("{}:{}\n", Self::USER, Self::HASH)).expect("write its users");
            fs::write(path("config.yml"), config).expect("write its configuration");
            let args = ["serve".to_owned(), path("config.yml").display().to_string()];
            let running = Running::start(Path::new("docker-registry"), &args, &path("log"));
            if is_ready(&running).await {
                return Self {
                    running,
                    port,
                    certificate,
                    _dir: dir,
                };
            }
        }
        panic!("every free port was taken by somebody else before the registry had it");
    }

    /// As it stands in the names of its images.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// An image without content; its digest.
    pub async fn push(&self, repository: &str, tag: &str) -> String {
        let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Labels": { "tag": tag } },
            "rootfs": { "type": "layers", "diff_ids": [] } })
        .to_string();
        let kind = "application/vnd.docker.distribution.manifest.v2+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "layers": [],
            "config": { "mediaType": "application/vnd.docker.container.image.v1+json",
                "size": config.len(), "digest": digest(&config) },
        })
        .to_string();
        let uploads = format!("{repository}/blobs/uploads/");
        let begun = self.send("POST", &uploads, "", String::new()).await;
        let upload = begun.headers()["location"].to_str().expect("an address");
        let (_, upload) = upload.split_once("/v2/").expect("within the registry");
        let upload = format!("{upload}&digest={}", digest(&config));
        self.send("PUT", &upload, "application/octet-stream", config)
            .await;
        let at = format!("{repository}/manifests/{tag}");
        let put = self.send("PUT", &at, kind, manifest).await;
        put.headers()["docker-content-digest"]
            .to_str()
            .expect("a digest")
            .to_owned()
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: String) -> reqwest::Response {
        let pem = fs::read(&self.certificate.certificate).expect("reads the certificate");
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&pem).expect("is one")])
            .no_proxy()
            .build()
            .expect("a client");
        let answer = client
            .request(
                method.parse().expect("a method"),
                format!("https://{}/v2/{path}", self.host()),
            )
            .basic_auth(Self::USER, Some(Self::PASSWORD))
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .expect("the registry answers");
        assert!(
            answer.status().is_success(),
            "{method} {path}: {}; the registry said:\n{}",
            answer.status(),
            self.running.last_words()
        );
        answer
    }
}

fn digest(text: &str) -> String {
    let hash = Sha256::digest(text);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// False when somebody took the port first.
async fn is_ready(running: &Running) -> bool {
    let started = Instant::now();
    loop {
        let log = running.log();
        if log.contains("address already in use") {
            return false;
        }
        if log.contains("listening on") {
            return true;
        }
        assert!(
            !log.contains("not found") && started.elapsed() < START,
            "the registry did not start; it is installed by scripts/test, or by hand with \
             `apt-get install docker-registry`. It said:\n{}",
            running.last_words()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn configuration(dir: &Path, port: u16, certificate: &Certificate) -> String {
    let (dir, key) = (dir.display(), certificate.key.display());
    let certificate = certificate.certificate.display();
    format!(
        "version: 0.1
log: {{ level: info }}
storage: {{ filesystem: {{ rootdirectory: {dir}/images }} }}
http:
  addr: 127.0.0.1:{port}
  secret: of-this-test-alone
  tls: {{ certificate: {certificate}, key: {key} }}
auth: {{ htpasswd: {{ realm: longshore, path: {dir}/users }} }}
"
    )
}
