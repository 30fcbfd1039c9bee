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
use testkit::postgres::{Database, Row, Session};
use testkit::{Haproxy, end_kept};
use tokio::sync::Mutex;

use crate::bench::LONG;
use crate::worker::{Process, binary};

const GATE: &str = "4712";

const BACKENDS: &str = "backend shop
  balance roundrobin
  server-template stable 3 127.0.0.1:1 weight 100 disabled
  server-template candidate 3 127.0.0.1:1 weight 0 disabled
";

/// A database, a HAProxy and a shop in two versions.
struct Site {
    database: Database,
    control: Mutex<Session>,
    gate: Mutex<Session>,
    haproxy: Haproxy,
    host: Value,
    folder: tempfile::TempDir,
    /// Keeps the ports for this test alone.
    _ports: fs::File,
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
        let (ports, first) = ports();
        let host = json!({
            "state": folder.path().join("state"),
            "supervisor": "process",
            "haproxy": { "socket": haproxy.socket("admin") },
            "workloads": { "shop": {
                "versions": versions,
                "command": [binary(), "demo-shop", "{port}"],
                "ports": [first, first + PORTS - 1],
                "ready": { "check": "http", "path": "/healthz" },
                "backend": "shop",
            }},
        });
        let database = testkit::postgres::database().await;
        let mut control = database.session().await;
        let settings = json!({ "environments": { "production": {
            "target": "web",
            "workload": "shop",
            "router": "shop",
            "replicas": 2,
            "health": [{ "url": format!("http://127.0.0.1:{}/", haproxy.port()), "contains": "shop v" }],
            "canary": { "steps": [
                { "set_weight": 20 }, { "pause": "1s" }, { "analyse": {} }, { "set_weight": 50 }, { "analyse": {} },
            ]},
            "freeze": { "windows": [] },
        }}});
        control
            .sql(&format!(
                "INSERT INTO repos (id, name, gitlab_url, gitlab_project_id, autonomy_mode, settings)
                 VALUES ('shop', 'shop', 'https://git.invalid', 'group/shop', 'full', '{settings}')"
            ))
            .await;
        let gate = database.session().await;
        Self {
            database,
            control: Mutex::new(control),
            gate: Mutex::new(gate),
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
            ("DATABASE_URL", self.database.url()),
            ("LONGSHORE_HOSTS_WEB", &host),
            ("LONGSHORE_WORKER_LEASE", LONG),
            ("LONGSHORE_WORKER_MAX_CRASHES", "1000"),
        ];
        Process::start(&["worker"], &env)
    }

    async fn sql(&self, text: &str) -> Vec<Row> {
        self.control.lock().await.sql(text).await
    }

    async fn value(&self, text: &str) -> String {
        let mut rows = self.sql(text).await;
        assert_eq!(rows.len(), 1, "one row was expected of: {text}");
        rows.remove(0).into_iter().next().flatten().unwrap_or_default()
    }

    /// A task, and its id.
    async fn deploy(&self, version: &str, strategy: &str) -> String {
        self.value(&format!(
            "INSERT INTO tasks (task_type, repo_id, assigned_to, payload) VALUES ('deploy', 'shop', 'devops',
                 '{{\"version\": \"{version}\", \"environment\": \"production\", \"strategy\": \"{strategy}\"}}')
             RETURNING id"
        ))
        .await
    }

    async fn is_over(&self, task: &str) -> bool {
        let status = self
            .value(&format!("SELECT status FROM tasks WHERE id = '{task}'"))
            .await;
        matches!(status.as_str(), "completed" | "failed" | "cancelled")
    }

    async fn result(&self, task: &str) -> Value {
        let text = self
            .value(&format!("SELECT result FROM tasks WHERE id = '{task}'"))
            .await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
    }

    async fn until(&self, what: &str, worker: &Process, so: impl AsyncFn() -> bool) {
        let asked = Instant::now();
        while !so().await {
            assert!(
                asked.elapsed() < Duration::from_secs(30),
                "waited in vain until {what}; tasks: {:?}; the worker:\n{}",
                self.sql("SELECT id, status, attempt, wait, error FROM tasks")
                    .await,
                worker.said()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// From now on a worker that writes a step waits at the gate, unless one died there before.
    async fn gate_every_write(&self) {
        self.sql(&format!(
            "CREATE TABLE test_killed (what text PRIMARY KEY);
             CREATE FUNCTION test_point() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE name text := left(concat_ws(' ', 'at', NEW.scope, NEW.key, lower(TG_OP)), 63);
             BEGIN
                 IF current_setting('application_name') = 'longshore-worker'
                    AND NOT EXISTS (SELECT FROM test_killed WHERE what = name) THEN
                     PERFORM set_config('application_name', name, false);
                     PERFORM pg_advisory_xact_lock({GATE});
                 END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER test_point AFTER INSERT OR UPDATE ON longshore.task_steps
                 FOR EACH ROW EXECUTE FUNCTION test_point();"
        ))
        .await;
        let shut = format!("SELECT pg_advisory_lock({GATE})");
        self.gate.lock().await.sql(&shut).await;
    }

    /// Who waits at the gate, and where.
    async fn at_the_gate(&self) -> Option<String> {
        let waiting = "SELECT max(application_name) FROM pg_stat_activity
                        WHERE datname = current_database() AND application_name LIKE 'at %' AND wait_event = 'advisory'";
        Some(self.value(waiting).await).filter(|name| !name.is_empty())
    }

    /// Clears away what a dead worker left on the server, and ends its lease.
    async fn bury(&self, at: &str) {
        let sessions = "FROM pg_stat_activity WHERE datname = current_database()
                         AND (application_name = 'longshore-worker' OR application_name LIKE 'at %')";
        self.sql(&format!("SELECT pg_terminate_backend(pid) {sessions}"))
            .await;
        while self.value(&format!("SELECT count(*) {sessions}")).await != "0" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.sql(&format!(
            "INSERT INTO test_killed VALUES ('{}');
             UPDATE longshore.workers SET lease_until = clock_timestamp()",
            at.replace('\'', "''")
        ))
        .await;
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

const PORTS: u16 = 8;

/// Ports that no other test uses at the same time, below those that the system gives out by itself.
fn ports() -> (fs::File, u16) {
    let dir = std::env::temp_dir().join("longshore-test-ports");
    fs::create_dir_all(&dir).expect("makes a folder");
    for block in 0..100 {
        let lock = fs::File::create(dir.join(format!("kill-{block}"))).expect("opens a lock");
        if lock.try_lock().is_ok() {
            return (lock, 30_000 + block * PORTS);
        }
    }
    panic!("every block of ports is in use by a test");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_whose_worker_is_killed_at_every_step_ends_as_if_nothing_had_happened() {
    let site = Site::start().await;
    let mut worker = site.worker();
    let first = site.deploy("v1", "rolling").await;
    site.until("the first version serves", &worker, async || {
        site.is_over(&first).await
    })
    .await;
    assert_eq!(site.result(&first).await["verdict"], "succeeded");
    worker.kill();

    let over = Arc::new(AtomicBool::new(false));
    let clients = clients(site.haproxy.port(), &over);
    site.gate_every_write().await;
    // What the dead one had asked for may still be carried out: it would claim the next task, and nobody do it.
    site.bury("none").await;
    let task = site.deploy("v2", "canary").await;
    let begun = Instant::now();
    let mut killed = Vec::new();
    loop {
        let mut worker = site.worker();
        site.until("the worker writes a step, or is done", &worker, async || {
            site.at_the_gate().await.is_some() || site.is_over(&task).await
        })
        .await;
        let Some(at) = site.at_the_gate().await else {
            break;
        };
        worker.kill();
        site.bury(&at).await;
        assert!(!killed.contains(&at), "{at} was written twice: {killed:#?}");
        killed.push(at);
    }
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

    let result = site.result(&task).await;
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
    let log = site
        .sql("SELECT version, outcome, previous FROM longshore.deployments ORDER BY seq")
        .await;
    let row = |words: [Option<&str>; 3]| words.map(|word| word.map(str::to_owned)).to_vec();
    assert_eq!(
        log,
        [
            row([Some("v1"), Some("succeeded"), None]),
            row([Some("v2"), Some("succeeded"), Some("v1")])
        ]
    );
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
