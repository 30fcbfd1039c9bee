use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use testkit::postgres::Database;

/// Far more than anything here takes.
const LIMIT: Duration = Duration::from_secs(300);

/// The binary in an environment of its own, so that nothing of this machine leaks in.
pub fn longshore(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longshore"));
    command
        .args(args)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LONGSHORE_LOG_FORMAT", "json")
        .current_dir("/");
    command
}

/// The same over a test's database.
pub fn over(db: &Database, args: &[&str]) -> Command {
    let mut command = longshore(args);
    command.env("DATABASE_URL", db.url());
    command
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).output().expect("run longshore")
}

/// What it printed, as JSON, and its exit code.
pub fn answer(command: Command) -> (i32, Value) {
    let output = run(command);
    let text = [&output.stdout, &output.stderr]
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat();
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (output.status.code().expect("an exit code"), value)
}

/// Its exit code and what it printed, on standard output and as an error.
pub fn words(command: Command) -> (i32, String, String) {
    let output = run(command);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().expect("an exit code"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// A process that goes on; it is killed when dropped.
pub struct Process {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Process {
    pub fn start(command: Command) -> Self {
        Self::fed(command, Stdio::null())
    }

    pub fn fed(mut command: Command, input: impl Into<Stdio>) -> Self {
        let mut child = command
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start longshore");
        let said = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("its output"), said.clone());
        collect(child.stderr.take().expect("its errors"), said.clone());
        Self { child, said }
    }

    /// All that it printed and logged so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something can be found in what it said.
    pub async fn says<T>(&self, find: impl Fn(&str) -> Option<T>) -> T {
        let look = async {
            loop {
                if let Some(found) = find(&self.said()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(LIMIT, look).await {
            Ok(found) => found,
            Err(_) => panic!("it never said so: {}", self.said()),
        }
    }

    /// Where its API is served, from its log.
    pub async fn api(&self) -> String {
        self.says(|said| {
            said.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find_map(|line| Some(format!("http://{}", line["api.address"].as_str()?)))
        })
        .await
    }

    pub fn signal(&self, name: &str) {
        testkit::signal(self.child.id(), name);
    }

    /// Waits for its end; the exit code.
    pub async fn ended(&mut self) -> i32 {
        let wait = async {
            loop {
                if let Some(status) = self.child.try_wait().expect("look at the process") {
                    return status.code().expect("an exit code");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(LIMIT, wait).await.expect("it does not end")
    }

    pub async fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.ended().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut said = into.lock().unwrap_or_else(PoisonError::into_inner);
            said.push_str(&line);
            said.push('\n');
        }
    });
}

/// Waits until a query says `t`, while this process works on it.
pub async fn until(db: &Database, worker: &Process, condition: &str) {
    let check = async {
        while db.value(&format!("SELECT {condition}")).await.as_deref() != Some("t") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(LIMIT, check).await.is_err() {
        let rows = db
            .sql("SELECT id, status, error, wait, run_at, worker_id FROM tasks")
            .await;
        panic!(
            "{condition} did not come true; tasks: {rows:?}; the worker said: {}",
            worker.said()
        );
    }
}

/// A failed build that needs no forge.
pub const LOG: &str = "error[E0308]: mismatched types\n --> src/main.rs:4:5\nerror: could not compile `shop` due to 1 previous error\n";
