//! The private Postgres, where its folder is awkward.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sqlx::{Connection, PgConnection};
use store::cluster::{Cluster, ClusterConfig, StopMode};

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
