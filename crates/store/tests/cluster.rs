//! The private Postgres, where its folder is awkward.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use sqlx::{Connection, PgConnection};
use store::cluster::{Binaries, Cluster, ClusterConfig, StopMode};

async fn sql(cluster: &Cluster, text: &'static str) -> i64 {
    let mut session = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    let answer: (i64,) = sqlx::query_as(text).fetch_one(&mut session).await.unwrap();
    session.close().await.unwrap();
    answer.0
}

/// Root's home is such a place, and a checkout there is what a fresh machine often has.
#[tokio::test]
async fn in_a_folder_that_is_closed_to_others_it_starts_and_keeps_its_data() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let aside = tempfile::tempdir().unwrap();
    fs::set_permissions(aside.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let dir = home.path().join("checkout/.longshore/postgres");
    let config = ClusterConfig {
        aside: aside.path().to_owned(),
        ..ClusterConfig::throwaway(&dir)
    };

    let mut first = Cluster::start(config.clone()).await.unwrap();
    let mut session = PgConnection::connect(&first.url("postgres")).await.unwrap();
    sqlx::raw_sql("CREATE TABLE kept (n bigint); INSERT INTO kept VALUES (7)")
        .execute(&mut session)
        .await
        .unwrap();
    session.close().await.unwrap();
    first.stop(StopMode::Fast).await.unwrap();
    drop(first);

    let second = Cluster::start(config.clone()).await.unwrap();
    assert_eq!(sql(&second, "SELECT n FROM kept").await, 7);
    drop(second);

    // Who deletes the data deletes them, wherever they stood.
    fs::remove_dir_all(dir.canonicalize().unwrap()).unwrap();
    let third = Cluster::start(config).await.unwrap();
    assert_eq!(
        sql(&third, "SELECT count(*) FROM pg_class WHERE relname = 'kept'").await,
        0
    );
}

/// An `initdb` that is killed after what it does first.
#[tokio::test]
async fn a_first_start_that_was_killed_does_not_spoil_the_next() {
    let real = Binaries::find(None).unwrap();
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let killed = home.path().join("bin");
    fs::create_dir(&killed).unwrap();
    symlink(real.dir().join("postgres"), killed.join("postgres")).unwrap();
    let script = format!(
        "#!/bin/sh\nwhile [ $# -gt 1 ]; do [ \"$1\" != -D ] || dir=$2; shift; done\n\
         mkdir -p \"$dir/base\"; echo {} >\"$dir/PG_VERSION\"; kill -KILL $$\n",
        real.major()
    );
    fs::write(killed.join("initdb"), script).unwrap();
    fs::set_permissions(&killed, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(killed.join("initdb"), fs::Permissions::from_mode(0o755)).unwrap();

    let config = ClusterConfig::throwaway(home.path().join("postgres"));
    let interrupted = ClusterConfig {
        binaries: Some(killed),
        ..config.clone()
    };
    assert!(Cluster::create(interrupted).await.is_err(), "it was killed");
    let cluster = Cluster::start(config).await.unwrap();
    assert_eq!(sql(&cluster, "SELECT 7::bigint").await, 7);
}

/// Root's mask may close what it makes to all others; only root has a folder made elsewhere.
#[tokio::test]
async fn the_folder_aside_can_be_entered_whatever_the_mask_is() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let closed = home.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let config = ClusterConfig {
        aside: home.path().join("aside"),
        ..ClusterConfig::throwaway(closed.join("postgres"))
    };
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let cluster = Cluster::create(config).await;
    rustix::process::umask(mask);
    let cluster = cluster.unwrap();
    let aside = cluster.dir().starts_with(home.path().join("aside"));
    assert_eq!(aside, rustix::process::geteuid().is_root());
}
