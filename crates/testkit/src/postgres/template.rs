use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use store::cluster::{Cluster, ClusterConfig, StopMode};
use store::{Config, Listen, Store};
use tempfile::TempDir;
use tokio::process::Command;

use super::base_dir;

/// The database in the cached cluster that the others are cloned from.
pub(super) const MIGRATED: &str = "longshore_template";

/// A fresh copy of a stopped cluster with the migrated template in it.
pub(super) async fn copy() -> TempDir {
    let cached = cached().await;
    let dir = tempfile::Builder::new()
        .prefix("run-")
        .tempdir_in(base_dir())
        .expect("make a server's folder");
    let status = Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(cached.join("data"))
        .arg(dir.path())
        .status()
        .await
        .expect("run cp");
    assert!(status.success(), "copying {} failed", cached.display());
    dir
}

/// The cached cluster of this schema; made once, whoever comes first.
async fn cached() -> PathBuf {
    let dir = base_dir().join(format!("schema-{}", store::schema_fingerprint()));
    if dir.exists() {
        return dir;
    }
    let lock = base_dir().join("making.lock");
    let lock = tokio::task::spawn_blocking(move || {
        let file = File::create(lock).expect("make the lock file");
        file.lock().expect("lock the making of a cluster");
        file
    });
    let _held = lock.await.expect("wait for the lock");
    if !dir.exists() {
        forget_old();
        let making = tempfile::Builder::new()
            .prefix("making-")
            .tempdir_in(base_dir())
            .expect("make a folder");
        make(making.path()).await;
        std::fs::rename(making.keep(), &dir).expect("put the cluster in place");
    }
    dir
}

async fn make(dir: &Path) {
    let mut cluster = Cluster::start(ClusterConfig::throwaway(dir))
        .await
        .expect("start a new cluster");
    let admin = Store::connect(config(cluster.url("postgres")))
        .await
        .expect("reach the new cluster");
    admin.close().await;
    super::database::run(&cluster.url("postgres"), &format!("CREATE DATABASE {MIGRATED}")).await;
    let store = Store::connect(config(cluster.url(MIGRATED)))
        .await
        .expect("reach the template");
    store.migrate().await.expect("migrate the template");
    store.close().await;
    cluster.stop(StopMode::Fast).await.expect("stop the new cluster");
}

fn config(url: String) -> Config {
    Config {
        listen: Listen::Off,
        ..Config::new(url)
    }
}

/// Clusters of other schemas go after a day without use, and what killed tests left behind likewise.
fn forget_old() {
    let old = SystemTime::now() - Duration::from_secs(24 * 3600);
    for entry in std::fs::read_dir(base_dir()).into_iter().flatten().flatten() {
        let used = entry.metadata().and_then(|meta| meta.modified());
        if entry.path().is_dir() && used.is_ok_and(|used| used < old) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
