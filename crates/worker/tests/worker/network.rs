//! What lies between a worker and its database fails while both are well.

use std::sync::Arc;

use store::{Config as StoreConfig, Store};
use testkit::postgres::{self, Database, Fault, Proxy};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use worker::{Config, Registry, Worker};

use crate::common::{Running, Scripted, fast, insert, until, until_status};

/// A worker whose every statement goes through the proxy.
async fn start(store: StoreConfig, config: Config) -> Running {
    let store = Store::connect(store).await.expect("connects");
    let (stop, kill) = (CancellationToken::new(), CancellationToken::new());
    let registry = Registry::new().register(Scripted::default());
    let worker = Worker::new(store, registry, config, Arc::new(Notify::new()));
    let done = tokio::spawn(worker.run(stop.clone(), kill.clone()));
    Running { stop, kill, done }
}

async fn of_task(db: &Database, columns: &str) -> Option<String> {
    db.value(&format!("SELECT ({columns})::text FROM tasks WHERE id = 't'"))
        .await
}

#[tokio::test]
async fn a_task_whose_claim_was_not_answered_is_handed_back_by_the_worker_that_lives_on() {
    let db = postgres::database().await;
    let proxy = Proxy::before(&db).await;
    let worker = start(proxy.config(db.url()), fast()).await;
    // One that has nothing to do claims in a transaction of several statements.
    insert(&db, "other", "hang").await;
    until(&db, "EXISTS (SELECT FROM tasks WHERE status = 'in_progress')").await;
    // The claim's answer carries the payload.
    proxy.strike(Fault::LoseAnswer("unheard of"));
    insert(&db, "t", "unheard of").await;
    proxy.struck().await;
    until_status(&db, "t", "completed").await;
    let counts = of_task(&db, "attempt, crashes, failures").await;
    assert_eq!(
        counts.as_deref(),
        Some("(2,0,0)"),
        "taken twice, by a worker that did not die"
    );
    worker.stop().await;
}

#[tokio::test]
async fn a_claim_of_an_idle_worker_that_was_not_answered_was_none() {
    let db = postgres::database().await;
    let proxy = Proxy::before(&db).await;
    let worker = start(proxy.config(db.url()), fast()).await;
    proxy.strike(Fault::LoseAnswer("unheard of"));
    insert(&db, "t", "unheard of").await;
    proxy.struck().await;
    until_status(&db, "t", "completed").await;
    let counts = of_task(&db, "attempt, crashes, failures").await;
    assert_eq!(counts.as_deref(), Some("(1,0,0)"));
    worker.stop().await;
}
