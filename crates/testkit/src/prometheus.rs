//! A real Prometheus in a folder and on a loopback port of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

/// How to set up a [`Prometheus`].
#[derive(Clone, Debug, Default)]
pub struct PrometheusSetup {
    /// What was measured before it started, as OpenMetrics text with times and `# EOF`.
    pub history: Option<String>,
    /// Its configuration file; it scrapes nothing when left out.
    pub config: Option<String>,
    /// Its web configuration: TLS and passwords.
    pub web: Option<String>,
}

/// Dropping it stops it, and so does the end of this process, however it comes.
pub struct Prometheus {
    server: Child,
    port: u16,
    log: PathBuf,
    dir: TempDir,
}

impl Prometheus {
    /// Answers when it is ready for queries.
    pub async fn start(setup: &PrometheusSetup) -> Self {
        for _ in 0..5 {
            if let Some(running) = start(setup).await {
                return running;
            }
        }
        panic!("every free port was taken by somebody else before Prometheus had it");
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Whether it says that it is ready before the time is up; none when somebody took the port first.
    async fn ready(&mut self) -> Option<()> {
        let started = Instant::now();
        loop {
            let log = self.log();
            if log.contains("address already in use") {
                return None;
            }
            if log.contains("Server is ready to receive web requests") {
                return Some(());
            }
            let ended = self.server.try_wait().expect("look after Prometheus").is_some();
            assert!(
                !ended && started.elapsed() < START,
                "Prometheus did not start; it is installed by scripts/test, or by hand with \
                 `apt-get install prometheus`. It said:\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // The shell around it sees the end of its input.
        drop(self.server.stdin.take());
        let deadline = Instant::now() + STOP;
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

async fn start(setup: &PrometheusSetup) -> Option<Prometheus> {
    let dir = tempfile::Builder::new()
        .prefix("prometheus-")
        .tempdir()
        .expect("make Prometheus's folder");
    let path = |name: &str| dir.path().join(name);
    let write = |name: &str, text: &str| fs::write(path(name), text).expect("write Prometheus's files");
    write(
        "prometheus.yml",
        setup.config.as_deref().unwrap_or("global: {}\n"),
    );
    write("web.yml", setup.web.as_deref().unwrap_or_default());
    if let Some(history) = &setup.history {
        write("history", history);
        fill(&path("history"), &path("data"));
    }
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|probe| probe.local_addr())
        .expect("find a free port")
        .port();

    // Its input stays open as long as this process lives; the shell sees its end and takes Prometheus with it.
    const UNTIL_OUR_END: &str = r#"
        exec 3<&0
        "$@" </dev/null 3<&- &
        read -r _ <&3
        kill -KILL $! 2>/dev/null
        wait $!"#;
    let log = path("log");
    let said = fs::File::create(&log).expect("make Prometheus's log");
    let server = Command::new("/bin/sh")
        .args(["-c", UNTIL_OUR_END, "longshore-prometheus", "prometheus"])
        .arg(format!("--config.file={}", path("prometheus.yml").display()))
        .arg(format!("--web.config.file={}", path("web.yml").display()))
        .arg(format!("--storage.tsdb.path={}", path("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(said.try_clone().expect("share Prometheus's log"))
        .stderr(said)
        .spawn()
        .expect("start a shell for Prometheus");
    let mut running = Prometheus {
        server,
        port,
        log,
        dir,
    };
    running.ready().await.map(|()| running)
}

/// Puts measurements into a store that is not running.
fn fill(history: &Path, data: &Path) {
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .args([history, data])
        .output()
        .expect("run promtool, which comes with Prometheus");
    assert!(
        made.status.success(),
        "promtool made no blocks: {}",
        String::from_utf8_lossy(&made.stderr)
    );
}
