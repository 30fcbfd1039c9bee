//! `longshore` as a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const BUILD: &str = "cargo build --release --locked -p longshore-daemon";

/// The release binary in the target folder that this test was built in.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        let target = test.ancestors().nth(3).expect("TARGET/PROFILE/deps/TEST");
        let binary = target.join("release/longshore");
        assert!(
            binary.is_file(),
            "there is no {}; build it:\n    {BUILD}",
            binary.display()
        );
        assert_current(&binary);
        binary
    })
}

/// A binary of yesterday's code would be killed in vain. Cargo writes beside it what it was made of.
fn assert_current(binary: &Path) {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let sources =
        fs::read_to_string(binary.with_extension("d")).expect("cargo's list of the binary's sources");
    let (_, sources) = sources.split_once(": ").expect("TARGET: SOURCES");
    let newer = sources
        .split_whitespace()
        .find(|source| changed(Path::new(source)) > changed(binary));
    assert_eq!(
        newer,
        None,
        "{} is older than this source; build it:\n    {BUILD}",
        binary.display()
    );
}

/// Killed when dropped.
pub struct Process {
    child: Child,
    home: tempfile::TempDir,
}

impl Process {
    /// Runs the binary in an empty folder with this environment and no other.
    pub fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_of(binary(), args, env)
    }

    /// The same with another binary.
    pub fn start_of(binary: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().expect("an empty folder");
        let log = fs::File::create(home.path().join("log")).expect("a log file");
        let child = Command::new(binary)
            .args(args)
            .current_dir(home.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("start the binary");
        Self { child, home }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("kill the worker");
        self.child.wait().expect("the worker's end");
    }

    /// Waits for its own end.
    pub async fn ended(&mut self) -> ExitStatus {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the process's state") {
                return status;
            }
            assert!(
                asked.elapsed() < Duration::from_secs(60),
                "it did not end:\n{}",
                self.said()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("the process's state").is_none()
    }

    /// All that it wrote so far.
    pub fn said(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As [`testkit::signal`]; `KILL` and `STOP` have happened when this returns.
pub fn signal(pid: u32, name: &str) {
    testkit::signal(pid, name);
    let wanted: &[&str] = match name {
        "KILL" => &["Z", "X"],
        "STOP" => &["T"],
        _ => return,
    };
    let asked = Instant::now();
    loop {
        // "PID (NAME) STATE …"
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map_or("X", |(_, rest)| &rest[..1]);
        if wanted.contains(&state) {
            return;
        }
        assert!(
            asked.elapsed() < Duration::from_secs(30),
            "{pid} is in state {state} after {name}"
        );
        std::thread::yield_now();
    }
}
