use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A real HAProxy with a frontend on loopback. It ends with this value, and with the test however that ends.
pub struct Haproxy {
    server: Option<Child>,
    port: u16,
    dir: tempfile::TempDir,
}

const START: Duration = Duration::from_secs(20);

impl Haproxy {
    /// `backends` is the part of the configuration that the test is about; the frontend sends all to `shop`.
    pub fn start(backends: &str) -> Self {
        for _ in 0..5 {
            let dir = tempfile::Builder::new()
                .prefix("haproxy-")
                .tempdir()
                .expect("a folder");
            let port = TcpListener::bind(("127.0.0.1", 0))
                .and_then(|probe| probe.local_addr())
                .expect("a free port")
                .port();
            let config = configuration(dir.path(), port, backends);
            std::fs::write(dir.path().join("haproxy.cfg"), &config).expect("writes the configuration");
            let mut haproxy = Self {
                server: None,
                port,
                dir,
            };
            if haproxy.launch() {
                return haproxy;
            }
        }
        panic!("every free port was taken by somebody else before HAProxy had it");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The runtime API with the rights of that level: `admin`, `operator` or `user`.
    pub fn socket(&self, level: &str) -> PathBuf {
        self.dir.path().join(format!("{level}.sock"))
    }

    /// What somebody at the socket gets as the answer.
    pub fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket("admin")).expect("HAProxy listens");
        stream.write_all(format!("{command}\n").as_bytes()).expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("is answered");
        answer
    }

    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        drop(server.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(server.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// What its memory held is lost.
    pub fn restart(&mut self) {
        self.stop();
        let deadline = Instant::now() + START;
        while !self.launch() {
            assert!(
                Instant::now() < deadline,
                "HAProxy did not come back on port {}",
                self.port
            );
        }
    }

    /// False when somebody took the port first.
    fn launch(&mut self) -> bool {
        // Its input stays open as long as this process lives; the shell sees its end and takes HAProxy with it.
        const UNTIL_OUR_END: &str = r#"
            exec 3<&0
            PATH=$PATH:/usr/sbin:/usr/local/sbin
            haproxy -db -f "$1" </dev/null 3<&- &
            read -r _ <&3
            kill -KILL $! 2>/dev/null
            wait $!"#;
        let log = self.dir.path().join("haproxy.log");
        let said = std::fs::File::create(&log).expect("makes HAProxy's log");
        for level in ["admin", "operator", "user"] {
            _ = std::fs::remove_file(self.socket(level));
        }
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", UNTIL_OUR_END, "longshore-haproxy"])
            .arg(self.dir.path().join("haproxy.cfg"))
            .stdin(Stdio::piped())
            .stdout(said.try_clone().expect("shares the log"))
            .stderr(said);
        self.server = Some(shell.spawn().expect("starts a shell"));
        let deadline = Instant::now() + START;
        while UnixStream::connect(self.socket("user")).is_err() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if said.contains("ddress already in use") {
                self.stop();
                return false;
            }
            let is_missing = said.contains("not found");
            assert!(
                !is_missing,
                "HAProxy is missing: scripts/test installs it (apt-get install haproxy)"
            );
            assert!(
                !said.contains("ALERT") && Instant::now() < deadline,
                "HAProxy does not start: {said}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        self.stop();
    }
}

fn configuration(dir: &Path, port: u16, backends: &str) -> String {
    let dir = dir.display();
    format!(
        "global
  nbthread 1
  maxconn 500
  stats socket {dir}/admin.sock level admin
  stats socket {dir}/operator.sock level operator
  stats socket {dir}/user.sock level user
defaults
  mode http
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend front
  bind 127.0.0.1:{port}
  default_backend shop
{backends}"
    )
}
