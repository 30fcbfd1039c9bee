//! Where the demo deploys to: a HAProxy, a Prometheus that measures it, and people who visit the shop behind it. All of
//! it is on loopback, and ends with this process.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use adapter_host::{Address, HaproxyConfig, HostConfig, HostFleet, Ready, Supervisor, WorkloadConfig};
use domain::{Error, Span};
use ports::{Fleet, Pace, Portion, Side, WorkloadRef};
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::cmd::demo_shop;
use crate::config::{MetricsStore, Settings};
use crate::wiring;

/// What the demo's target, and its store of measurements, are called.
pub const NAME: &str = "demo";
pub const WORKLOAD: &str = "shop";
/// Replicas of either side that there may be at a time.
const SERVERS: u16 = 3;
/// How many people visit, each one again after a moment.
const VISITORS: usize = 6;
const MOMENT: Duration = Duration::from_millis(15);
const BEGIN: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(50);

pub struct Site {
    front: u16,
    fleet: HostFleet,
    haproxy: Child,
    prometheus: Child,
    visits: Arc<Mutex<Visits>>,
    over: CancellationToken,
    /// Holds what HAProxy and Prometheus write, and a socket, whose path must be short.
    folder: tempfile::TempDir,
}

/// What visitors saw.
#[derive(Clone, Debug, Default)]
pub struct Visits {
    /// By version, well and not.
    pub answers: BTreeMap<String, (u64, u64)>,
    /// Not answered by any version.
    pub lost: u64,
}

impl Visits {
    fn note(&mut self, answer: Option<(String, bool)>) {
        let Some((version, is_well)) = answer else {
            self.lost += 1;
            return;
        };
        let of = self.answers.entry(version).or_default();
        let count = if is_well { &mut of.0 } else { &mut of.1 };
        *count += 1;
    }
}

impl Site {
    /// Starts it and tells the settings of it; the text says what is missing where it cannot be had.
    pub async fn start(data: &Path, settings: &mut Settings) -> Result<Result<Self, String>, Error> {
        let (Some(haproxy), Some(prometheus)) =
            (find("haproxy", "-v").await, find("prometheus", "--version").await)
        else {
            return Ok(Err(
                "The releases are left out: they need HAProxy and Prometheus on the PATH (Debian: `apt-get install haproxy prometheus`)."
                    .to_owned(),
            ));
        };
        let broken = |what: &str, error: &dyn std::error::Error| {
            Error::unavailable(format!("the demo's {what} could not be started")).because(error)
        };
        let folder = tempfile::tempdir().map_err(|error| broken("site", &error))?;
        let [front, exporter, measures] = free_ports::<3>().map_err(|error| broken("site", &error))?;
        let replicas = free_range(2 * SERVERS).map_err(|error| broken("shop", &error))?;

        let root = std::path::absolute(data.join("demo")).map_err(|error| broken("shop", &error))?;
        let versions = root.join("versions");
        for manners in super::releases::versions() {
            demo_shop::write(&versions, &manners).map_err(|error| broken("shop", &error))?;
        }
        let socket = folder.path().join("haproxy.sock");
        let host = host(
            root.join("state"),
            versions,
            Address::Unix(socket.clone()),
            replicas,
        )?;
        let fleet = HostFleet::new(&host, wiring::keeper()?)?;
        let config = folder.path().join("haproxy.cfg");
        let text = haproxy_config(&socket, front, exporter);
        std::fs::write(&config, text).map_err(|error| broken("HAProxy", &error))?;
        if let Some(why) = refused(&haproxy, &config).await {
            return Ok(Err(format!(
                "The releases are left out: HAProxy would not run with what they need: {why}"
            )));
        }
        let haproxy = beside_us(&haproxy, &["-db", "-f"], &config, folder.path(), "haproxy.log")
            .map_err(|error| broken("HAProxy", &error))?;
        // One that was killed may have left its shop running.
        end(&fleet).await?;
        let config = folder.path().join("prometheus.yml");
        let text = prometheus_config(exporter, replicas);
        std::fs::write(&config, text).map_err(|error| broken("Prometheus", &error))?;
        let listen = format!("--web.listen-address=127.0.0.1:{measures}");
        let storage = format!("--storage.tsdb.path={}", folder.path().join("measures").display());
        let args = [listen.as_str(), storage.as_str(), "--config.file"];
        let prometheus = beside_us(&prometheus, &args, &config, folder.path(), "prometheus.log")
            .map_err(|error| broken("Prometheus", &error))?;
        let site = Self {
            front,
            fleet,
            haproxy,
            prometheus,
            visits: Arc::default(),
            over: CancellationToken::new(),
            folder,
        };
        let store = format!("http://127.0.0.1:{measures}");
        for (what, url) in [
            ("HAProxy", format!("http://127.0.0.1:{exporter}/metrics")),
            ("Prometheus", format!("{store}/-/ready")),
        ] {
            site.answers(what, &url).await?;
        }
        settings.hosts.insert(NAME.to_owned(), host);
        let store: MetricsStore =
            serde_json::from_value(serde_json::json!({ "url": store })).map_err(|error| {
                Error::internal("the demo's Prometheus has no usable address").because(&error)
            })?;
        settings.metrics.insert(NAME.to_owned(), store);
        Ok(Ok(site))
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.front)
    }

    async fn answers(&self, what: &str, url: &str) -> Result<(), Error> {
        let until = Instant::now() + BEGIN;
        loop {
            let asked = visitor().get(url).send().await;
            match asked.and_then(reqwest::Response::error_for_status) {
                Ok(_) => return Ok(()),
                Err(_) if Instant::now() < until => tokio::time::sleep(EVERY).await,
                Err(error) => {
                    let log = format!("{}.log", what.to_lowercase());
                    let said = std::fs::read_to_string(self.folder.path().join(log)).unwrap_or_default();
                    return Err(Error::unavailable(format!("the demo's {what} does not answer"))
                        .because(&error.without_url())
                        .because(&std::io::Error::other(
                            said.lines().last().unwrap_or("it said nothing").to_owned(),
                        )));
                }
            }
        }
    }

    /// From now on people visit, until the site ends.
    pub fn open(&self) {
        for _ in 0..VISITORS {
            let (over, visits, url) = (self.over.clone(), self.visits.clone(), self.address());
            tokio::spawn(over.run_until_cancelled_owned(async move {
                let visitor = visitor();
                loop {
                    let answer = visit(&visitor, &url).await;
                    visits.lock().unwrap_or_else(PoisonError::into_inner).note(answer);
                    tokio::time::sleep(MOMENT).await;
                }
            }));
        }
    }

    pub fn visits(&self) -> Visits {
        self.visits.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends what runs, in order.
    pub async fn end(mut self) -> Result<(), Error> {
        self.over.cancel();
        let ended = end(&self.fleet).await;
        for server in [&mut self.haproxy, &mut self.prometheus] {
            drop(server.stdin.take());
            let _ = tokio::time::timeout(BEGIN, server.wait()).await;
        }
        ended
    }
}

/// Nobody here goes through a proxy of the environment's: all is on this machine.
fn visitor() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap_or_default()
}

/// Why HAProxy does not take its configuration.
async fn refused(haproxy: &Path, config: &Path) -> Option<String> {
    let asked = Command::new(haproxy)
        .args(["-c", "-f"])
        .arg(config)
        .output()
        .await;
    let said = match asked {
        Ok(asked) if asked.status.success() => return None,
        Ok(asked) => String::from_utf8_lossy(&asked.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    let alert = said
        .lines()
        .find(|line| line.contains("ALERT"))
        .or(said.lines().next());
    Some(alert.unwrap_or("it does not say why").to_owned())
}

/// What a version answered, and whether well. None when HAProxy had to answer for it, or nobody did.
async fn visit(visitor: &reqwest::Client, url: &str) -> Option<(String, bool)> {
    let answer = visitor.get(url).send().await.ok()?;
    let is_well = answer.status().is_success();
    let text = answer.text().await.ok()?;
    let version = text.strip_prefix("shop ")?.trim_end().to_owned();
    Some((version, is_well))
}

fn host(state: PathBuf, versions: PathBuf, socket: Address, ports: (u16, u16)) -> Result<HostConfig, Error> {
    let keeper = wiring::keeper()?;
    let program = keeper.program.to_string_lossy().into_owned();
    let shop = WorkloadConfig {
        versions,
        command: vec![program, "demo-shop".to_owned(), "{port}".to_owned()],
        env: BTreeMap::new(),
        address: Ipv4Addr::LOCALHOST.to_string(),
        ports,
        ready: Ready::Http {
            path: "/healthz".to_owned(),
        },
        ready_interval: Span::seconds(1),
        backend: Some(WORKLOAD.to_owned()),
        drain_limit: Span::seconds(10),
        stop_grace: Span::seconds(5),
        restart_pause: Span::seconds(1),
        longest_restart_pause: Span::seconds(10),
        pace: Pace {
            max_unavailable: Portion::Replicas(0),
            max_surge: Portion::Replicas(1),
        },
    };
    Ok(HostConfig {
        state,
        supervisor: Supervisor::Process,
        haproxy: Some(HaproxyConfig::new(socket)),
        workloads: BTreeMap::from([(WORKLOAD.to_owned(), shop)]),
    })
}

fn haproxy_config(socket: &Path, front: u16, exporter: u16) -> String {
    let socket = socket.display();
    format!(
        "global
  stats socket {socket} mode 600 level admin
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend shop
  bind 127.0.0.1:{front}
  default_backend {WORKLOAD}
frontend exporter
  bind 127.0.0.1:{exporter}
  http-request use-service prometheus-exporter if {{ path /metrics }}
backend {WORKLOAD}
  balance roundrobin
  server-template stable {SERVERS} 127.0.0.1:1 weight 100 disabled
  server-template candidate {SERVERS} 127.0.0.1:1 weight 0 disabled
"
    )
}

/// Of HAProxy, and of every replica of the shop that there may be: one that is not there is only not collected.
fn prometheus_config(exporter: u16, replicas: (u16, u16)) -> String {
    let shops: Vec<String> = (replicas.0..=replicas.1)
        .map(|port| format!("'127.0.0.1:{port}'"))
        .collect();
    let shops = shops.join(", ");
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- {{job_name: haproxy, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}
- {{job_name: shop, static_configs: [{{targets: [{shops}]}}]}}
"
    )
}

/// A program by its name, where people's own PATH may not lead.
async fn find(name: &str, version: &str) -> Option<PathBuf> {
    for folder in ["", "/usr/sbin", "/usr/local/sbin", "/usr/local/bin"] {
        let path = Path::new(folder).join(name);
        let mut asked = Command::new(&path);
        asked
            .arg(version)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if asked.status().await.is_ok_and(|status| status.success()) {
            return Some(path);
        }
    }
    None
}

/// A server that ends with us, however we end: with us goes the pipe that its shell waits at.
fn beside_us(program: &Path, args: &[&str], file: &Path, folder: &Path, log: &str) -> std::io::Result<Child> {
    const UNTIL_THE_PIPE_ENDS: &str =
        r#""$@" </dev/null & server=$!; cat >/dev/null; kill "$server"; wait "$server""#;
    let log = std::fs::File::create(folder.join(log))?;
    Command::new("/bin/sh")
        .args(["-c", UNTIL_THE_PIPE_ENDS, "longshore-demo"])
        .arg(program)
        .args(args)
        .arg(file)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C is ours to hear: what visitors see is served until the end.
        .process_group(0)
        .spawn()
}

fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let held: Vec<TcpListener> = (0..N)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&held) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// So many ports in a row that nobody has.
fn free_range(many: u16) -> std::io::Result<(u16, u16)> {
    const TRIES: usize = 50;
    for _ in 0..TRIES {
        let [first] = free_ports::<1>()?;
        let Some(last) = first.checked_add(many - 1) else {
            continue;
        };
        if (first..=last).all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()) {
            return Ok((first, last));
        }
    }
    Err(std::io::Error::other(format!("no {many} free ports in a row")))
}

/// Nothing of the shop runs any more.
async fn end(fleet: &HostFleet) -> Result<(), Error> {
    let shop = WorkloadRef {
        target: NAME.to_owned(),
        name: WORKLOAD.to_owned(),
        container: None,
    };
    fleet.remove(&shop).await?;
    let until = Instant::now() + BEGIN;
    for side in [Side::Candidate, Side::Stable] {
        while fleet.observe(&shop, side).await?.is_some() {
            if Instant::now() > until {
                return Err(Error::timeout("the demo's shop has not ended"));
            }
            tokio::time::sleep(EVERY).await;
        }
    }
    Ok(())
}
