//! Postgres for tests: a server of the test process's own, and a database per test.
//!
//! The server's folder is copied from a cached cluster that holds the migrated schema, which costs a fraction of
//! a second; nextest runs a process per test, so nothing is shared between them. The server ends with its last
//! user, and with the process however that ends.

mod clock;
mod database;
mod notifications;
mod pooler;
mod proxy;
mod template;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};

use store::cluster::{Cluster, ClusterConfig, StopMode};
use tokio::sync::Mutex;

pub use clock::ManualClock;
pub use database::{Database, Row, Session};
pub use notifications::{Changes, Notifications};
pub use pooler::{Pooler, PoolerSetup};
pub use proxy::{Fault, Proxy, port_of};

/// A server with a migrated template; gives out databases.
pub struct Postgres {
    cluster: Mutex<Cluster>,
    url: String,
    /// Goes after the server: fields are dropped in order.
    _dir: tempfile::TempDir,
}

impl Postgres {
    /// The process's server, shared by the tests that run in it at the same time.
    pub async fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Mutex<Weak<Postgres>>> = OnceLock::new();
        let mut shared = SHARED.get_or_init(Mutex::default).lock().await;
        if let Some(running) = shared.upgrade() {
            return running;
        }
        let started = Self::own().await;
        *shared = Arc::downgrade(&started);
        started
    }

    /// A server of the test's own, which it may stop, kill and start again.
    pub async fn own() -> Arc<Self> {
        let dir = template::copy().await;
        let cluster = Cluster::start(ClusterConfig::throwaway(dir.path()))
            .await
            .expect("start Postgres");
        let url = cluster.url("");
        Arc::new(Self {
            cluster: Mutex::new(cluster),
            url,
            _dir: dir,
        })
    }

    /// A new database with the current schema.
    pub async fn database(self: &Arc<Self>) -> Database {
        Database::create(self.clone(), template::MIGRATED).await
    }

    /// A new database with nothing in it.
    pub async fn empty_database(self: &Arc<Self>) -> Database {
        Database::create(self.clone(), "template0").await
    }

    /// Ends all sessions and the server; [`Postgres::start`] brings it back on the same port.
    pub async fn stop(&self) {
        self.cluster
            .lock()
            .await
            .stop(StopMode::Fast)
            .await
            .expect("stop Postgres");
    }

    /// Ends the server as a power cut would.
    pub async fn kill(&self) {
        self.cluster
            .lock()
            .await
            .stop(StopMode::Immediate)
            .await
            .expect("kill Postgres");
    }

    pub async fn start(&self) {
        self.cluster
            .lock()
            .await
            .resume()
            .await
            .expect("start Postgres again");
    }

    pub async fn restart(&self) {
        self.stop().await;
        self.start().await;
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("{}{database}", self.url)
    }

    /// Where the server keeps its data.
    pub async fn data_dir(&self) -> PathBuf {
        self.cluster.lock().await.data_dir()
    }

    pub async fn dir(&self) -> PathBuf {
        self.cluster.lock().await.dir().to_owned()
    }
}

/// A migrated database on the process's shared server: what most tests want.
pub async fn database() -> Database {
    Postgres::shared().await.database().await
}

/// An empty database on the process's shared server.
pub async fn empty_database() -> Database {
    Postgres::shared().await.empty_database().await
}

/// Folders that the server's user can enter, which the workspace itself may not be.
fn base_dir() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let owner =
            std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").expect("read /proc/self"));
        let base = std::env::temp_dir().join(format!("longshore-test-postgres-{owner}"));
        std::fs::create_dir_all(&base).expect("make the folder of test servers");
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&base, open).expect("open the folder of test servers");
        base
    })
}
