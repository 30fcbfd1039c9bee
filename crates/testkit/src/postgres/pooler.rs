use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection};
use store::Config;
use tokio::process::{Child, Command};

use super::{Database, Postgres, base_dir};

/// A real PgBouncer in transaction mode in front of one database. Dropping it stops it, and so does the end of this
/// process, however it comes.
pub struct Pooler {
    server: Child,
    url: String,
    log: PathBuf,
    /// Go after the pooler: fields are dropped in order.
    _dir: tempfile::TempDir,
    _postgres: Arc<Postgres>,
}

/// How to set up a [`Pooler`].
#[derive(Clone, Copy, Debug)]
pub struct PoolerSetup {
    /// Sessions of Postgres that all clients share.
    pub sessions: u32,
    /// Whether it passes over session settings that it does not know instead of refusing the client, as is often
    /// advised for drivers that send some.
    pub lenient: bool,
}

impl Default for PoolerSetup {
    fn default() -> Self {
        Self {
            sessions: 3,
            lenient: false,
        }
    }
}

const START: Duration = Duration::from_secs(20);

impl Database {
    /// Puts a pooler in front of this database.
    pub async fn pooler(&self, setup: PoolerSetup) -> Pooler {
        let direct = url::Url::parse(self.url()).expect("the URL of a test's database");
        for _ in 0..5 {
            if let Some(pooler) = start(self, &direct, setup).await {
                return pooler;
            }
        }
        panic!("every free port was taken by somebody else before PgBouncer had it");
    }
}

impl Pooler {
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A configuration that tells of the pooler and listens nowhere.
    pub fn config(&self) -> Config {
        Config {
            pooler: true,
            listen: store::Listen::Off,
            pool_size: 10,
            ..Config::new(&self.url)
        }
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(10);
        while matches!(self.server.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// None when somebody took the port first.
async fn start(database: &Database, direct: &url::Url, setup: PoolerSetup) -> Option<Pooler> {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0))
        .and_then(|probe| probe.local_addr())
        .expect("find a free port")
        .port();
    let dir = tempfile::Builder::new()
        .prefix("pooler-")
        .tempdir_in(base_dir())
        .expect("make the pooler's folder");
    let file = dir.path().join("pgbouncer.ini");
    std::fs::write(&file, settings(direct, port, setup)).expect("write the pooler's settings");

    // Its input stays open as long as this process lives; the shell sees its end and takes the pooler with it.
    const UNTIL_OUR_END: &str = r#"
        exec 3<&0
        PATH=$PATH:/usr/sbin:/usr/local/sbin
        "$@" </dev/null 3<&- &
        read -r _ <&3
        kill -INT $! 2>/dev/null
        wait $!"#;
    let log = dir.path().join("pgbouncer.log");
    let said = std::fs::File::create(&log).expect("make the pooler's log");
    let mut shell = Command::new("/bin/sh");
    shell
        .args(["-c", UNTIL_OUR_END, "longshore-pooler"])
        .arg("pgbouncer")
        .arg(&file)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(said.try_clone().expect("share the pooler's log"))
        .stderr(said)
        .process_group(0);
    // It refuses to run as root; whoever runs Postgres for root runs it too.
    let (us, owner) = (
        metadata(Path::new("/proc/self")),
        metadata(&database.server().dir().await),
    );
    if us.0 != owner.0 {
        for path in [dir.path(), &file] {
            std::os::unix::fs::chown(path, Some(owner.0), Some(owner.1))
                .expect("hand over the pooler's folder");
        }
        shell.uid(owner.0).gid(owner.1);
    }
    let server = shell.spawn().expect("start PgBouncer");
    let mut url = direct.clone();
    url.set_port(Some(port)).expect("a URL with a port");
    let mut pooler = Pooler {
        server,
        url: url.into(),
        log,
        _dir: dir,
        _postgres: database.server().clone(),
    };
    pooler.ready().await.then_some(pooler)
}

impl Pooler {
    async fn ready(&mut self) -> bool {
        let started = Instant::now();
        loop {
            if self.log().contains("Address already in use") {
                return false;
            }
            // Only a pooler that knows this database's name lets anybody in; sent as a pooled client would.
            let options: sqlx::postgres::PgConnectOptions = self.url.parse().expect("the pooler's URL");
            let refused = match PgConnection::connect_with(&options.extra_float_digits(None)).await {
                Ok(connection) => {
                    let _ = connection.close().await;
                    return true;
                }
                Err(error) => error,
            };
            let ended = !matches!(self.server.try_wait(), Ok(None));
            assert!(
                !ended && started.elapsed() < START,
                "PgBouncer did not start ({refused}); scripts/test installs it. It says: {}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn settings(direct: &url::Url, port: u16, setup: PoolerSetup) -> String {
    let host = direct.host_str().unwrap_or("127.0.0.1");
    let server = direct.port().expect("a URL with a port");
    let user = direct.username();
    let sessions = setup.sessions;
    let ignored = if setup.lenient {
        "ignore_startup_parameters = extra_float_digits, options\n"
    } else {
        ""
    };
    format!(
        "[databases]\n* = host={host} port={server} user={user}\n\
         [pgbouncer]\npool_mode = transaction\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = any\nmax_client_conn = 500\ndefault_pool_size = {sessions}\n{ignored}"
    )
}

fn metadata(path: &Path) -> (u32, u32) {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    (meta.uid(), meta.gid())
}
