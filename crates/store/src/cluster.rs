//! A private Postgres over the system's own binaries, for `longshore dev` and for tests.
//!
//! Postgres refuses to run as root: root's cluster is run by the system's `postgres` user, or by `nobody`. The
//! server hangs on a pipe from this process and stops when that closes, however this process ends.

mod account;
mod binaries;
mod folder;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use domain::{Error, Result};
use tokio::process::{Child, Command};

use account::Account;
pub use binaries::Binaries;

/// How to keep a cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The cluster's folder, made when absent. The data stand in `data` inside it.
    pub dir: PathBuf,
    /// Takes the cluster's folder when we are root and `dir` stands where the server's user cannot go.
    pub aside: PathBuf,
    /// Where `initdb` and `postgres` are; searched for when absent.
    pub binaries: Option<PathBuf>,
    /// The loopback port; a free one when absent.
    pub port: Option<u16>,
    /// Whether a crash of the machine must lose nothing. Tests go without, and are faster for it.
    pub durable: bool,
    /// How long a start may take.
    pub start_timeout: Duration,
}

impl ClusterConfig {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            aside: PathBuf::from("/var/lib/longshore"),
            binaries: None,
            port: None,
            durable: true,
            start_timeout: Duration::from_secs(30),
        }
    }

    /// For data that may be lost.
    pub fn throwaway(dir: impl Into<PathBuf>) -> Self {
        Self {
            durable: false,
            ..Self::new(dir)
        }
    }
}

/// How to stop the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Ends sessions and writes a checkpoint.
    Fast,
    /// Ends at once, as after a power cut: the next start recovers from the log.
    Immediate,
}

/// A running or stopped server. Dropping it stops the server.
pub struct Cluster {
    config: ClusterConfig,
    binaries: Binaries,
    account: Account,
    port: u16,
    server: Option<Child>,
}

impl Cluster {
    /// Makes the cluster if its folder has none yet, and starts it.
    pub async fn start(config: ClusterConfig) -> Result<Self> {
        let mut cluster = Self::create(config).await?;
        cluster.resume().await?;
        Ok(cluster)
    }

    /// Makes the cluster if its folder has none yet, without starting it.
    pub async fn create(config: ClusterConfig) -> Result<Self> {
        let binaries = Binaries::find(config.binaries.as_deref())?;
        let account = Account::for_server()?;
        let mut cluster = Self {
            config,
            binaries,
            account,
            port: 0,
            server: None,
        };
        cluster.config.dir = folder::make(&cluster.config, &cluster.account)?;
        if !cluster.data_dir().join("PG_VERSION").exists() {
            // `initdb` writes that file first of all: only a whole cluster may have the final name.
            let unfinished = cluster.config.dir.join("data.unfinished");
            if unfinished.exists() {
                std::fs::remove_dir_all(&unfinished)
                    .map_err(|e| trouble("remove what an interrupted start left", &e))?;
            }
            cluster.initdb(&unfinished).await?;
            std::fs::rename(&unfinished, cluster.data_dir())
                .map_err(|e| trouble("put the new Postgres cluster in its place", &e))?;
        }
        cluster.check_version()?;
        Ok(cluster)
    }

    /// Starts the server again after [`Cluster::stop`], on the same port.
    pub async fn resume(&mut self) -> Result<()> {
        if self.is_running() {
            return Ok(());
        }
        self.refuse_second_server()?;
        let keep_port = self.port != 0 || self.config.port.is_some();
        let mut tries = 0;
        loop {
            tries += 1;
            if self.port == 0 {
                self.port = match self.config.port {
                    Some(port) => port,
                    None => free_port()?,
                };
            }
            match self.launch().await {
                Ok(()) => return Ok(()),
                // Somebody took the free port between our look and the server's.
                Err(error) if !keep_port && tries < 5 && self.log_tail().contains("could not bind") => {
                    tracing::debug!(error = %error, port = self.port, "port was taken; trying another");
                    self.port = 0;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Stops the server and waits until it has gone.
    pub async fn stop(&mut self, mode: StopMode) -> Result<()> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        let mut stop = self.command(self.binaries.path("pg_ctl"));
        stop.arg("stop")
            .arg("-w")
            .arg("-D")
            .arg(self.data_dir())
            .arg("-m")
            .arg(match mode {
                StopMode::Fast => "fast",
                StopMode::Immediate => "immediate",
            });
        let output = stop.output().await.map_err(|e| trouble("run pg_ctl", &e))?;
        drop(server.stdin.take());
        server
            .wait()
            .await
            .map_err(|e| trouble("wait for the Postgres server to end", &e))?;
        if output.status.success() || !self.data_dir().join("postmaster.pid").exists() {
            Ok(())
        } else {
            Err(Error::internal(format!(
                "could not stop Postgres: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )))
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.server
            .as_mut()
            .is_some_and(|server| matches!(server.try_wait(), Ok(None)))
    }

    /// The URL of one of its databases, over loopback.
    pub fn url(&self, database: &str) -> String {
        match self.password() {
            Some(password) => format!(
                "postgres://postgres:{password}@127.0.0.1:{}/{database}",
                self.port
            ),
            None => format!("postgres://postgres@127.0.0.1:{}/{database}", self.port),
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn dir(&self) -> &Path {
        &self.config.dir
    }

    /// The server's own part of [`Cluster::dir`].
    pub fn data_dir(&self) -> PathBuf {
        self.config.dir.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.config.dir.join("postgres.log")
    }

    fn password_file(&self) -> PathBuf {
        self.config.dir.join("password")
    }

    fn password(&self) -> Option<String> {
        std::fs::read_to_string(self.password_file())
            .ok()
            .map(|text| text.trim().to_owned())
    }

    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        self.account.apply(&mut command);
        // Where the caller stands may be closed to the server's user.
        command.current_dir(&self.config.dir).stdin(Stdio::null());
        for variable in ["PGDATA", "PGHOST", "PGPORT", "PGOPTIONS", "LD_PRELOAD"] {
            command.env_remove(variable);
        }
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    async fn initdb(&self, data: &Path) -> Result<()> {
        let mut initdb = self.command(self.binaries.path("initdb"));
        initdb
            .arg("--username=postgres")
            .arg("--encoding=UTF8")
            .arg("--locale=C.UTF-8")
            // The same order, and much cheaper: ids are compared all the time.
            .arg("--lc-collate=C")
            .arg("-D")
            .arg(data);
        if self.config.durable {
            // Any local user reaches a loopback port, so the port asks for a password.
            let password = uuid::Uuid::new_v4().simple().to_string();
            self.account.write_private(&self.password_file(), &password)?;
            initdb
                .arg("--auth=scram-sha-256")
                .arg("--pwfile")
                .arg(self.password_file());
        } else {
            initdb.arg("--auth=trust").arg("--no-sync").arg("--wal-segsize=1");
        }
        let output = initdb.output().await.map_err(|e| trouble("run initdb", &e))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::internal(format!(
            "could not make a Postgres cluster in {}: {}",
            data.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }

    /// A data folder belongs to one major version of Postgres.
    fn check_version(&self) -> Result<()> {
        let path = self.data_dir().join("PG_VERSION");
        let theirs = std::fs::read_to_string(&path).map_err(|e| trouble("read PG_VERSION", &e))?;
        let (theirs, ours) = (theirs.trim(), self.binaries.major());
        if theirs == ours {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "the cluster in {} was made by Postgres {theirs}, but the binaries in {} are version {ours}",
            self.config.dir.display(),
            self.binaries.dir().display()
        ))
        .next("Name the folder of that version's binaries, or choose another data folder"))
    }

    /// Two servers over one folder would be refused by Postgres too, but later and less clearly.
    fn refuse_second_server(&self) -> Result<()> {
        let Some(pid) = self.postmaster_line(0) else {
            return Ok(());
        };
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if command.contains("postgres") && command.contains(&*self.data_dir().to_string_lossy()) {
            return Err(Error::conflict(format!(
                "another server (process {pid}) runs over {}",
                self.config.dir.display()
            ))
            .next("Stop the program that started it, or choose another data folder"));
        }
        Ok(())
    }

    fn postmaster_line(&self, number: usize) -> Option<String> {
        let text = std::fs::read_to_string(self.data_dir().join("postmaster.pid")).ok()?;
        text.lines().nth(number).map(|line| line.trim().to_owned())
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(self.log_file()).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(2000)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    async fn launch(&mut self) -> Result<()> {
        // The shell waits for its input to end, which the kernel sees to however this process ends.
        const UNTIL_OUR_END: &str = r#"
            signal=$1; log=$2; shift 2
            exec 3<&0 >"$log" 2>&1
            "$@" </dev/null 3<&- &
            server=$!
            read -r _ <&3
            # Again and again: a server that has only just begun does not hear it yet.
            while kill "-$signal" $server 2>/dev/null; do sleep 1; done 3<&- &
            wait $server"#;
        let mut shell = self.command(PathBuf::from("/bin/sh"));
        shell.arg("-c").arg(UNTIL_OUR_END).arg("longshore-postgres");
        shell
            .arg(if self.config.durable { "INT" } else { "QUIT" })
            .arg(self.log_file());
        shell
            .arg(self.binaries.path("postgres"))
            .arg("-D")
            .arg(self.data_dir());
        for setting in self.settings() {
            shell.arg("-c").arg(setting);
        }
        // A group of its own: Ctrl-C at the terminal is for this process, which stops the server in its time.
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        // What the last server left must not be read as this one's words.
        for left in [self.data_dir().join("postmaster.pid"), self.log_file()] {
            let _ = std::fs::remove_file(left);
        }
        let mut server = shell
            .spawn()
            .map_err(|e| trouble("start the Postgres server", &e))?;
        let started = Instant::now();
        while self.postmaster_line(7).as_deref() != Some("ready") {
            let ended = server
                .try_wait()
                .map_err(|e| trouble("watch the Postgres server", &e))?
                .is_some();
            let gone = !ended && self.log_tail().contains("database system is shut down");
            if ended
                || gone
                || self.log_tail().lines().any(is_fatal)
                || started.elapsed() > self.config.start_timeout
            {
                drop(server.stdin.take());
                let _ = server.wait().await;
                return Err(Error::unavailable(format!(
                    "the Postgres server did not start: {}",
                    self.log_tail()
                )));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.server = Some(server);
        Ok(())
    }

    fn settings(&self) -> Vec<String> {
        let mut settings = vec![
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            "unix_socket_directories=".to_owned(),
            "timezone=UTC".to_owned(),
            "log_line_prefix=%m [%p] %a ".to_owned(),
        ];
        if !self.config.durable {
            for fast in [
                "fsync=off",
                "full_page_writes=off",
                "autovacuum=off",
                "shared_buffers=32MB",
            ] {
                settings.push(fast.to_owned());
            }
        }
        settings
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        drop(server.stdin.take());
        // The server must be gone when its owner is: whoever drops it may remove its folder next.
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(server.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn free_port() -> Result<u16> {
    let probe = std::net::TcpListener::bind(("127.0.0.1", 0));
    probe
        .and_then(|probe| probe.local_addr())
        .map(|at| at.port())
        .map_err(|e| trouble("find a free port", &e))
}

fn trouble(what: &str, error: &std::io::Error) -> Error {
    Error::internal(format!("could not {what}")).because(error)
}

/// Clients that come too early are turned away with a FATAL of their own.
fn is_fatal(line: &str) -> bool {
    line.contains("FATAL:") && !line.contains("the database system is")
}
