//! A database as its administrator made it, not as we would have.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Scripted, fast, insert, until, until_status};
use store::{Config as StoreConfig, Store};
use testkit::postgres;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use worker::{Config, Registry, Worker};

#[tokio::test]
async fn a_role_with_few_rights_another_schema_and_odd_settings_is_enough() {
    let (db, handler) = (postgres::empty_database().await, Scripted::default());
    let name = db.value("SELECT current_database()").await.unwrap_or_default();
    db.sql(&format!(
        "CREATE ROLE app LOGIN; REVOKE ALL ON DATABASE {name} FROM PUBLIC; GRANT CONNECT ON DATABASE {name} TO app;
         CREATE SCHEMA longshore AUTHORIZATION app; CREATE SCHEMA orchestra AUTHORIZATION app;
         ALTER ROLE app SET search_path = orchestra; ALTER ROLE app SET timezone = 'America/St_Johns';
         ALTER ROLE app SET datestyle = 'German'; ALTER ROLE app SET intervalstyle = 'sql_standard';
         ALTER ROLE app SET bytea_output = 'escape'; ALTER ROLE app SET statement_timeout = '10s';
         ALTER ROLE app SET idle_in_transaction_session_timeout = '2s'; ALTER ROLE app SET lock_timeout = '5s';
         ALTER ROLE app SET default_transaction_isolation = 'serializable'; ALTER ROLE app SET row_security = off;
         ALTER DATABASE {name} SET search_path = orchestra"
    ))
    .await;
    let config = StoreConfig {
        application_name: "longshore-worker".to_owned(),
        ..StoreConfig::new(db.url().replace("//postgres@", "//app@"))
    };
    let store = Store::connect(config).await.expect("connects");
    for _ in 0..2 {
        store
            .migrate()
            .await
            .expect("needs no right to make a schema that stands");
    }
    // What wakes and what parks must see each other's commits, whatever the role is used to.
    db.sql(
        "CREATE FUNCTION orchestra.check_isolation() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF current_setting('transaction_isolation') <> 'read committed' THEN RAISE 'at %', current_setting('transaction_isolation'); END IF;
             RETURN NULL; END $$;
         CREATE TRIGGER check_isolation AFTER UPDATE ON orchestra.tasks FOR EACH STATEMENT EXECUTE FUNCTION orchestra.check_isolation()",
    )
    .await;
    for script in ["ok", "flaky", "parent", "fail"] {
        insert(&db, script, script).await;
    }
    db.sql("SET timezone = 'Asia/Tokyo'; INSERT INTO tasks (id, task_type, assigned_to, created_at) VALUES ('literal', 'scripted', 'devops', '2026-01-29T16:28:00.123456')").await;
    let stop = CancellationToken::new();
    let registry = Registry::new().register(handler.clone());
    let worker = Worker::new(store, registry, fast(), Arc::new(Notify::new()));
    let done = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    for id in ["ok", "flaky", "parent", "literal"] {
        until_status(&db, id, "completed").await;
    }
    until_status(&db, "fail", "failed").await;
    until(&db, "abs(extract(epoch FROM completed_at - (now() AT TIME ZONE 'UTC'))) < 60 AND created_at = '2026-01-29T16:28:00.123456' FROM tasks WHERE id = 'literal'").await;
    stop.cancel();
    done.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_flood_of_other_agents_rows_is_not_answered_by_a_flood_of_heartbeats() {
    let (db, handler) = (postgres::database().await, Scripted::default());
    db.sql(
        "CREATE TABLE beats (n bigserial);
         CREATE FUNCTION count_beat() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO beats DEFAULT VALUES; RETURN NULL; END $$;
         CREATE TRIGGER count_beat AFTER UPDATE ON longshore.workers FOR EACH ROW EXECUTE FUNCTION count_beat()",
    )
    .await;
    let store = db.worker_store().await;
    let wake = Arc::new(Notify::new());
    let _listener = store.listen(wake.clone()).expect("listens");
    let config = Config {
        listens: true,
        lease: Duration::from_secs(30),
        ..fast()
    };
    let stop = CancellationToken::new();
    let worker = Worker::new(store, Registry::new().register(handler.clone()), config, wake);
    let done = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    insert(&db, "hangs", "hang").await;
    handler.entered.notified().await;
    let started = std::time::Instant::now();
    let mut orchestrator = db.session().await;
    for _ in 0..1000 {
        orchestrator
            .sql("INSERT INTO tasks (task_type, assigned_to) VALUES ('paint', 'builder')")
            .await;
    }
    insert(&db, "ours", "ok").await;
    until_status(&db, "ours", "completed").await;
    db.sql("UPDATE tasks SET status = 'cancelled' WHERE id = 'hangs'")
        .await;
    until_status(&db, "hangs", "cancelled").await;
    let beats: u128 = db
        .value("SELECT count(*) FROM beats")
        .await
        .expect("a count")
        .parse()
        .expect("a number");
    assert!(beats > 0, "the cancel was heard by one");
    let most = started.elapsed().as_millis() / 100 + 2;
    assert!(beats <= most, "{beats} heartbeats, where {most} would do");
    stop.cancel();
    done.await.expect("no panic").expect("no error");
}
