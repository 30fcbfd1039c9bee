//! The worker behind a real PgBouncer in transaction mode.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::{ErrorKind, NewTask};
use serde_json::json;
use store::{Listen, Store};
use testkit::postgres::{self, Database, Pooler, PoolerSetup};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use worker::{Config, Registry, Worker};

use crate::common::{Running, Scripted, fast, summary, until, until_status};

/// Far longer than a test: what is done all the same was told by a notification or was due.
const NEVER: Duration = Duration::from_secs(3600);

async fn store(config: store::Config, name: &str) -> Store {
    Store::connect(store::Config {
        application_name: name.to_owned(),
        ..config
    })
    .await
    .expect("connect through the pooler")
}

/// A worker as the binary has it: over the pooler, woken by the store's listener where there is one.
async fn start(pooled: store::Config, handler: &Scripted, config: Config) -> Running {
    let store = store(pooled, "longshore-worker").await;
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let wake = Arc::new(Notify::new());
    let listener = store.listen(wake.clone());
    let registry = Registry::new().register(handler.clone());
    let mut worker = Worker::new(store, registry, config, wake);
    if let Some(listener) = &listener {
        worker = worker.hearing(listener.hearing());
    }
    let work = worker.run(stop.clone(), kill.clone());
    let done = tokio::spawn(async move {
        let _listener = listener;
        work.await
    });
    Running { stop, kill, done }
}

fn task(script: &str) -> NewTask {
    NewTask::new("scripted", json!({ "script": script })).assigned_to("devops")
}

/// Every kind of end that a task may come to, ordered and steered through the pooler as well.
async fn work_through(db: &Database, pooler: &Pooler, handler: &Scripted) {
    let api = store(pooler.config(), "longshore-api").await;
    let mut ids = Vec::new();
    for script in ["ok", "fail", "flaky", "parent", "wait", "lock", "hang", "wait"] {
        ids.push(api.create_task(&task(script)).await.expect("create a task"));
    }
    for (at, end) in [
        (0, "completed"),
        (1, "failed"),
        (2, "completed"),
        (3, "completed"),
    ] {
        until_status(db, ids[at].as_str(), end).await;
    }
    assert_eq!(summary(db, ids[2].as_str()).await, "at the third try");
    assert_eq!(summary(db, ids[3].as_str()).await, "child completed");

    for (at, signal) in [(4, "approval"), (5, "go")] {
        until_status(db, ids[at].as_str(), "waiting").await;
        assert!(
            api.signal(&ids[at], signal, &json!("ada"))
                .await
                .expect("send a signal")
        );
        until_status(db, ids[at].as_str(), "completed").await;
    }
    assert_eq!(summary(db, ids[4].as_str()).await, "approved by ada");

    let undone = handler.undone.load(Ordering::SeqCst);
    until(
        db,
        &format!(
            "EXISTS (SELECT FROM tasks WHERE id = '{}' AND status = 'in_progress')",
            ids[6]
        ),
    )
    .await;
    until_status(db, ids[7].as_str(), "waiting").await;
    for at in [6, 7] {
        api.cancel_task(&ids[at]).await.expect("cancel a task");
        until(
            db,
            &format!(
                "EXISTS (SELECT FROM tasks WHERE id = '{}' AND status = 'cancelled' AND completed_at IS NOT NULL)",
                ids[at]
            ),
        )
        .await;
    }
    assert_eq!(
        handler.undone.load(Ordering::SeqCst),
        undone + 2,
        "both were unwound"
    );

    api.retry_task(&ids[1]).await.expect("retry a task by hand");
    until(
        db,
        &format!(
            "EXISTS (SELECT FROM tasks WHERE id = '{}' AND status = 'failed' AND attempt > 1 AND worker_id IS NULL)",
            ids[1]
        ),
    )
    .await;
    let lost = db
        .value("SELECT count(*) FROM tasks WHERE status NOT IN ('completed', 'failed', 'cancelled')")
        .await;
    assert_eq!(lost.as_deref(), Some("0"));
    api.close().await;
}

#[tokio::test]
async fn with_a_direct_address_for_listen_news_come_at_once() {
    let db = postgres::empty_database().await;
    let pooler = db.pooler(PoolerSetup::default()).await;
    let pooled = store::Config {
        listen: Listen::Direct(db.url().to_owned()),
        ..pooler.config()
    };
    let admin = store(pooled.clone(), "longshore").await;
    admin.migrate().await.expect("migrate past the pooler");
    let handler = Scripted::default();
    let config = Config {
        poll: NEVER,
        listens: true,
        ..fast()
    };
    let worker = start(pooled, &handler, config).await;
    work_through(&db, &pooler, &handler).await;
    worker.stop().await;
}

#[tokio::test]
async fn without_listen_the_poll_finds_everything_and_migrations_go_through_the_pooler() {
    let db = postgres::empty_database().await;
    let pooler = db.pooler(PoolerSetup::default()).await;
    let admin = store(pooler.config(), "longshore").await;
    for _ in 0..2 {
        admin.migrate().await.expect("migrate through the pooler");
    }
    let handler = Scripted::default();
    let worker = start(pooler.config(), &handler, fast()).await;
    work_through(&db, &pooler, &handler).await;
    worker.stop().await;
    assert_eq!(
        db.value("SELECT count(*) FROM longshore.workers")
            .await
            .as_deref(),
        Some("0")
    );
}

#[tokio::test]
async fn many_tasks_of_many_connections_share_two_sessions() {
    let db = postgres::database().await;
    let pooler = db
        .pooler(PoolerSetup {
            sessions: 2,
            ..PoolerSetup::default()
        })
        .await;
    let api = store(pooler.config(), "longshore-api").await;
    let handler = Scripted::default();
    let mut workers = Vec::new();
    for _ in 0..2 {
        workers.push(start(pooler.config(), &handler, fast()).await);
    }
    let creating = (0..150).map(|_| {
        let api = api.clone();
        tokio::spawn(async move { api.create_task(&task("count")).await })
    });
    for created in creating.collect::<Vec<_>>() {
        created
            .await
            .expect("a task of the runtime")
            .expect("create a task");
    }
    until(
        &db,
        "count(*) = 150 AND bool_and(status = 'completed' AND attempt = 1) FROM tasks",
    )
    .await;
    for worker in workers {
        worker.stop().await;
    }
    let mut ran = handler.order.lock().expect("the order").clone();
    ran.sort_unstable();
    let runs = ran.len();
    ran.dedup();
    assert_eq!((runs, ran.len()), (150, 150), "each task ran once");
    let sessions = db
        .value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
        .await;
    assert!(
        ["1", "2"].contains(&sessions.as_deref().unwrap_or_default()),
        "{sessions:?}"
    );
}

#[tokio::test]
async fn whoever_forgets_the_setting_is_told_at_the_start() {
    let db = postgres::database().await;
    for lenient in [false, true] {
        let pooler = db
            .pooler(PoolerSetup {
                lenient,
                ..PoolerSetup::default()
            })
            .await;
        let forgetful = store::Config {
            pooler: false,
            ..pooler.config()
        };
        let Err(error) = Store::connect(forgetful).await else {
            panic!("connected as if there were no pooler (lenient: {lenient})");
        };
        assert_eq!(error.kind, ErrorKind::Invalid, "lenient: {lenient}: {error}");
        let next = error.next.unwrap_or_default();
        assert!(
            next.contains("`database.pooler = true`"),
            "lenient: {lenient}: {next}"
        );
    }
}

#[tokio::test]
async fn a_listener_that_hears_nothing_is_found_out_and_the_poll_takes_over() {
    let db = postgres::database().await;
    let pooler = db
        .pooler(PoolerSetup {
            lenient: true,
            ..PoolerSetup::default()
        })
        .await;
    let deaf = store::Config {
        listen: Listen::Direct(pooler.url().to_owned()),
        ..pooler.config()
    };
    let handler = Scripted::default();
    let config = Config {
        listens: true,
        ..fast()
    };
    // Ten polls a second would be one a second with a listener that is believed.
    let worker = start(deaf.clone(), &handler, config).await;
    let api = store(deaf, "longshore-api").await;
    let wake = Arc::new(Notify::new());
    let listener = api.listen(wake).expect("a listener");
    let id = api.create_task(&task("ok")).await.expect("create a task");
    until_status(&db, id.as_str(), "completed").await;
    assert!(!listener.hearing().now(), "nothing comes through a pooler");
    worker.stop().await;
    let listening =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    assert_eq!(
        db.value(listening).await.as_deref(),
        Some("0"),
        "no pooled session listens"
    );

    let elsewhere = postgres::database().await;
    let astray = store::Config {
        listen: Listen::Direct(elsewhere.url().to_owned()),
        ..db.config()
    };
    let worker = start(
        astray,
        &handler,
        Config {
            listens: true,
            ..fast()
        },
    )
    .await;
    let id = db
        .store()
        .await
        .create_task(&task("ok"))
        .await
        .expect("create a task");
    until_status(&db, id.as_str(), "completed").await;
    worker.stop().await;

    let direct = db.store().await;
    let wake = Arc::new(Notify::new());
    let listener = direct.listen(wake.clone()).expect("a listener");
    while !listener.hearing().now() {
        wake.notified().await;
    }
    // It may hear again by the time that all are gone.
    let is_deaf = async {
        while listener.hearing().now() {
            wake.notified().await;
        }
    };
    tokio::join!(is_deaf, db.kill_sessions());
    while !listener.hearing().now() {
        wake.notified().await;
    }
}
