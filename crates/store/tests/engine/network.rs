//! What lies between a program and its database fails in ways of its own.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use domain::{NewTask, Report, TaskStatus, Verdict};
use durable::{Journal, Lease, Outcome, StepRef, Wake};
use serde_json::json;
use store::{Config, Recorder, Settle, Settled, Store, TaskJournal};
use testkit::postgres::{self, Database, Fault, Postgres, Proxy, port_of};

use crate::common::{LONG, claim, register, worker_row};

#[tokio::test]
async fn a_worker_that_freezes_inside_a_transaction_does_not_keep_its_task() {
    let db = postgres::database().await;
    let proxy = Proxy::before(&db).await;
    proxy.strike(Fault::Freeze("FROM longshore.task_steps"));
    let config = Config {
        pool_size: 2,
        idle_in_transaction: Duration::from_millis(500),
        ..proxy.config(db.url())
    };
    let frozen = Store::connect(config).await.expect("connects");
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('t', 'deploy', 'devops')")
        .await;
    register(&frozen, "frozen", Duration::from_secs(1)).await;
    let claimed = frozen
        .claim(&claim("frozen", 1), &store::Taken::default())
        .await
        .expect("claim");
    let lease = claimed.first().expect("the task").lease.clone();
    let journal = TaskJournal::new(frozen.clone(), Recorder::start(frozen), None);
    let writing = tokio::spawn(async move {
        let at = StepRef {
            scope: "run".to_owned(),
            seq: 0,
            key: "step".to_owned(),
        };
        journal.timer(&lease, &at, LONG).await
    });
    proxy.struck().await;

    let other = db.worker_store().await;
    register(&other, "other", LONG).await;
    let takes_over = async {
        loop {
            if let Some(taken) = other
                .claim(&claim("other", 1), &store::Taken::default())
                .await
                .expect("claim")
                .pop()
            {
                return taken;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let taken = tokio::time::timeout(Duration::from_secs(20), takes_over)
        .await
        .expect("the task is free once the lease and the frozen transaction are over");
    assert_eq!((taken.lease.attempt, taken.crashes), (2, 1));
    writing.abort();
}

/// A database of the same name on each of two servers.
async fn app(server: &Arc<Postgres>) -> (Database, String) {
    let (admin, app) = (server.database().await, server.database().await);
    let name = app.url().rsplit('/').next().expect("a name").to_owned();
    admin.sql(&format!("ALTER DATABASE {name} RENAME TO app")).await;
    let url = app.url().replace(&name, "app");
    (admin, url)
}

#[tokio::test]
async fn after_a_failover_the_old_primary_is_left_though_it_still_answers() {
    let (old, new) = (Postgres::own().await, Postgres::own().await);
    let ((_old_db, url), (_new_db, new_url)) = (app(&old).await, app(&new).await);
    let proxy = Proxy::to(port_of(&url)).await;
    // It comes back as a standby: it reads, and refuses to write.
    old.stop().await;
    let signal = old.data_dir().await.join("standby.signal");
    std::fs::write(&signal, "").expect("make it a standby");
    std::fs::set_permissions(&signal, std::fs::Permissions::from_mode(0o666)).expect("let it read that");
    old.start().await;
    let config = Config {
        pool_size: 2,
        ..proxy.config(&url)
    };
    let store = Store::connect(config).await.expect("connects");
    let task = NewTask::new("deploy", json!({}));
    let refused = store
        .create_task(&task)
        .await
        .expect_err("a standby takes no writes");
    assert!(refused.is_transient(), "{refused}");

    // The address leads to the new primary from now on; what was connected stays connected.
    proxy.lead_to(port_of(&new_url));
    store.create_task(&task).await.expect("the next one is written");
}

#[tokio::test]
async fn a_registration_whose_commit_answer_was_lost_can_be_repeated() {
    let db = postgres::database().await;
    let proxy = Proxy::before(&db).await;
    let store = Store::connect(proxy.config(db.url())).await.expect("connects");
    proxy.strike(Fault::LoseCommit("fix_build/1"));
    let row = worker_row("w");
    let lost = store
        .register_worker(&row, LONG)
        .await
        .expect_err("no answer came");
    assert!(lost.is_transient(), "{lost}");
    let stands = "SELECT count(*) FROM longshore.workers WHERE id = 'w'";
    assert_eq!(db.value(stands).await.as_deref(), Some("1"), "it took effect");
    store.register_worker(&row, LONG).await.expect("the second try");
    assert_eq!(db.value(stands).await.as_deref(), Some("1"));
}

async fn claimed(db: &Database, store: &Store) -> Lease {
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('t', 'deploy', 'devops')")
        .await;
    register(store, "w", LONG).await;
    let claimed = store
        .claim(&claim("w", 1), &store::Taken::default())
        .await
        .expect("claim");
    claimed.first().expect("the task").lease.clone()
}

fn settle(lease: Lease, outcome: Outcome) -> Settle {
    Settle {
        lease,
        parent: None,
        ticket: None,
        outcome,
        delay: Duration::ZERO,
    }
}

fn ended(words: &str) -> Outcome {
    Outcome::Ended {
        status: TaskStatus::Completed,
        report: Box::new(Report::new(Verdict::Succeeded, words)),
        error: None,
    }
}

#[tokio::test]
async fn a_result_that_gets_no_answer_is_given_up_in_time_and_written_over_another_connection() {
    let db = postgres::database().await;
    let proxy = Proxy::before(&db).await;
    let config = Config {
        pool_size: 1,
        acquire_timeout: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(1),
        idle_in_transaction: Duration::from_secs(1),
        ..proxy.config(db.url())
    };
    let store = Store::connect(config).await.expect("connects");
    let batch = [settle(claimed(&db, &store).await, ended("done"))];
    proxy.strike(Fault::Freeze("completed_at = longshore.utc_now()"));
    let tried = tokio::time::timeout(Duration::from_secs(20), store.finish(&batch))
        .await
        .expect("it does not wait for ever");
    let error = tried.expect_err("nothing was answered");
    assert!(
        error.is_transient() && error.to_string().contains("did not answer"),
        "{error}"
    );
    // The only place in the pool becomes free, though nobody closed the silent connection.
    let written = async {
        loop {
            match store.finish(&batch).await {
                Ok(settled) => return settled,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
        }
    };
    let written = tokio::time::timeout(Duration::from_secs(20), written).await;
    assert_eq!(written.expect("it is written"), [Settled::Written]);
}

#[tokio::test]
async fn an_outcome_whose_commit_answer_was_lost_is_known_again_when_it_is_repeated() {
    let db = postgres::database().await;
    let proxy = Proxy::before(&db).await;
    let store = Store::connect(proxy.config(db.url())).await.expect("connects");
    let lease = claimed(&db, &store).await;
    let parked = Outcome::Park(Wake {
        why: "for unheard news".to_owned(),
        signals: vec!["news".to_owned()],
        ..Wake::default()
    });
    let parked = settle(lease.clone(), parked);
    proxy.strike(Fault::LoseCommit("unheard news"));
    store.park(&parked).await.expect_err("no answer came");
    assert_eq!(store.park(&parked).await.expect("again"), Settled::Written);
    let other = settle(lease.clone(), Outcome::Hold("for another reason".to_owned()));
    assert_eq!(store.park(&other).await.expect("another"), Settled::LeaseLost);

    db.sql("UPDATE tasks SET run_at = longshore.utc_now()").await;
    let again = store
        .claim(&claim("w", 1), &store::Taken::default())
        .await
        .expect("claim");
    let lease = again.first().expect("the task").lease.clone();
    let batch = [settle(lease.clone(), ended("unheard end"))];
    proxy.strike(Fault::LoseCommit("unheard end"));
    store.finish(&batch).await.expect_err("no answer came");
    assert_eq!(store.finish(&batch).await.expect("again"), [Settled::Written]);
    let other = [settle(lease, ended("another end"))];
    assert_eq!(store.finish(&other).await.expect("another"), [Settled::LeaseLost]);
}

#[tokio::test]
async fn a_listener_whose_connection_the_network_forgot_listens_over_another() {
    let db = postgres::database().await;
    let proxy = Proxy::before(&db).await;
    let config = Config {
        listen_check: Duration::from_millis(200),
        ..proxy.config(db.url())
    };
    let store = Store::connect(config).await.expect("connects");
    let wake = Arc::new(tokio::sync::Notify::new());
    let listener = store.listen(wake).expect("it listens");
    let hears = async {
        while !listener.hearing().now() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), hears)
        .await
        .expect("it hears");
    proxy.forget_connections();
    // The server keeps the forgotten session, as it was not told either.
    let count = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'";
    let again = async {
        while db.value(count).await.as_deref() != Some("2") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .expect("it listens again");
}
