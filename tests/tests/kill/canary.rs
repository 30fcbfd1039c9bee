//! A canary on a real HAProxy while clients ask without end, its worker killed at every write of a step: the next one
//! goes on, and in the end it is as if nothing had happened.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Haproxy, Ports, end_kept};

use crate::bench::LONG;
use crate::stage::Stage;
use crate::worker::{Process, binary};

const BACKENDS: &str = "backend shop
  balance roundrobin
  server-template stable 3 127.0.0.1:1 weight 100 disabled
  server-template candidate 3 127.0.0.1:1 weight 0 disabled
";

/// A database, a HAProxy and a shop in two versions.
struct Site {
    stage: Stage,
    haproxy: Haproxy,
    host: Value,
    folder: tempfile::TempDir,
    /// Keeps the ports for this test alone.
    _ports: Ports,
}

impl Site {
    async fn start() -> Self {
        let haproxy = Haproxy::start(BACKENDS);
        let folder = tempfile::tempdir().expect("a folder");
        let versions = folder.path().join("versions");
        for version in ["v1", "v2"] {
            fs::create_dir_all(versions.join(version)).expect("a version");
            let manners = json!({ "version": version, "error_every": 0, "answers_in_ms": 1 });
            fs::write(versions.join(version).join("shop.json"), manners.to_string()).expect("its manners");
        }
        let ports = Ports::take();
        let host = json!({
            "state": folder.path().join("state"),
            "supervisor": "process",
            "haproxy": { "socket": haproxy.socket("admin") },
            "workloads": { "shop": {
                "versions": versions,
                "command": [binary(), "demo-shop", "{port}"],
                "ports": [ports.first(), ports.last()],
                "ready": { "check": "http", "path": "/healthz" },
                "backend": "shop",
            }},
        });
        let stage = Stage::new().await;
        let production = json!({
            "target": "web",
            "workload": "shop",
            "router": "shop",
            "replicas": 2,
            "health": [{ "url": format!("http://127.0.0.1:{}/", haproxy.port()), "contains": "shop v" }],
            "canary": { "steps": [
                { "set_weight": 20 }, { "pause": "1s" }, { "analyse": {} }, { "set_weight": 50 }, { "analyse": {} },
            ]},
            "freeze": { "windows": [] },
        });
        stage.add_repo("https://git.invalid", &production).await;
        Self {
            stage,
            haproxy,
            host,
            folder,
            _ports: ports,
        }
    }

    fn workload(&self) -> PathBuf {
        self.folder.path().join("state/shop")
    }

    fn worker(&self) -> Process {
        let host = self.host.to_string();
        let env = [
            ("DATABASE_URL", self.stage.database.url()),
            ("LONGSHORE_HOSTS_WEB", &host),
            ("LONGSHORE_WORKER_LEASE", LONG),
            ("LONGSHORE_WORKER_MAX_CRASHES", "1000"),
        ];
        Process::start(&["worker"], &env)
    }

    async fn deploy(&self, version: &str, strategy: &str) -> String {
        let payload = json!({ "version": version, "environment": "production", "strategy": strategy });
        self.stage.add_task("deploy", &payload).await
    }

    /// `NAME: ADDRESS STATE WEIGHT` of every server, as HAProxy has it.
    fn servers(&self) -> BTreeMap<String, (String, String)> {
        let stat = self.haproxy.ask("show servers state shop");
        let lines = stat.lines().skip(2).filter(|line| !line.is_empty());
        lines
            .map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                (words[3].to_owned(), (words[5].to_owned(), words[7].to_owned()))
            })
            .collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        end_kept(&self.workload());
    }
}

/// Asks without end, over kept connections and new ones; what went wrong.
fn clients(port: u16, over: &Arc<AtomicBool>) -> Vec<std::thread::JoinHandle<(u64, Vec<String>)>> {
    let client = |keeps: bool| {
        let over = over.clone();
        std::thread::spawn(move || {
            let (mut asked, mut wrong, mut kept) = (0, Vec::new(), None);
            while !over.load(Ordering::Relaxed) {
                match ask(port, kept.take()) {
                    Ok(stream) => kept = stream.filter(|_| keeps),
                    Err(error) => wrong.push(error),
                }
                asked += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            (asked, wrong)
        })
    };
    [true, true, false].map(client).into()
}

type Connection = BufReader<TcpStream>;

fn ask(port: u16, kept: Option<Connection>) -> Result<Option<Connection>, String> {
    let broken = |error: std::io::Error| error.to_string();
    let mut stream = match kept {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(("127.0.0.1", port)).map_err(broken)?;
            stream
                .set_read_timeout(Some(Duration::from_secs(10)))
                .map_err(broken)?;
            BufReader::new(stream)
        }
    };
    let request = b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
    stream.get_mut().write_all(request).map_err(broken)?;
    let (mut head, mut length, mut keeps) = (String::new(), 0, true);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).map_err(broken)?;
        let lower = line.trim_end().to_ascii_lowercase();
        if let Some(count) = lower.strip_prefix("content-length: ") {
            length = count.parse().unwrap_or_default();
        }
        keeps &= lower != "connection: close";
        if head.is_empty() {
            head = lower;
        } else if lower.is_empty() {
            break;
        }
        if line.is_empty() {
            return Err(format!("no whole answer: {head:?}"));
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(broken)?;
    if !head.contains(" 200 ") {
        return Err(head);
    }
    Ok(keeps.then_some(stream))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_whose_worker_is_killed_at_every_step_ends_as_if_nothing_had_happened() {
    let site = Site::start().await;
    let mut worker = site.worker();
    let first = site.deploy("v1", "rolling").await;
    let stage = &site.stage;
    stage
        .until("the first version serves", &worker, || async {
            stage.is_over(&first).await
        })
        .await;
    assert_eq!(stage.result(&first).await["verdict"], "succeeded");
    worker.kill();

    let over = Arc::new(AtomicBool::new(false));
    let clients = clients(site.haproxy.port(), &over);
    stage.gate_every_write().await;
    let task = site.deploy("v2", "canary").await;
    let begun = Instant::now();
    let (killed, _last) = stage.kill_at_every_write(&task, || site.worker()).await;
    println!(
        "killed {} times in {:.1?}: {killed:#?}",
        killed.len(),
        begun.elapsed()
    );
    over.store(true, Ordering::Relaxed);
    let seen: Vec<_> = clients
        .into_iter()
        .map(|client| client.join().expect("no panic"))
        .collect();
    let asked: u64 = seen.iter().map(|(asked, _)| asked).sum();
    let failed: Vec<&String> = seen.iter().flat_map(|(_, failed)| failed).collect();
    println!("{asked} requests, {} failed", failed.len());

    let result = stage.result(&task).await;
    assert_eq!(result["verdict"], "succeeded", "{result:#}");
    assert_eq!(result["version"], "v2");
    assert!(killed.len() > 30, "{killed:#?}");
    assert!(failed.is_empty(), "{failed:#?}");
    let servers = site.servers();
    let of = |side: &str, running: bool| {
        let servers = servers.iter().filter(|(name, _)| name.starts_with(side));
        servers
            .filter(|(_, (state, _))| (state == "2") == running)
            .count()
    };
    // Two of v2 serve, and nothing stands beside them.
    assert_eq!((of("stable", true), of("candidate", true)), (2, 0), "{servers:?}");
    let mut answer = ask_for_body(site.haproxy.port());
    answer.truncate(7);
    assert_eq!(answer, "shop v2");
    assert_eq!(stage.deployments().await, ["v1 succeeded", "v2 succeeded v1"]);
}

fn ask_for_body(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")
        .expect("asks");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("is answered");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    body.to_owned()
}
