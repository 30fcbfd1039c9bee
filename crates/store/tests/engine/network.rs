//! What lies between a program and its database fails in ways of its own.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use domain::NewTask;
use durable::{Journal, StepRef};
use serde_json::json;
use store::{Config, Store, TaskJournal};
use testkit::postgres::{self, Database, Postgres};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::common::{LONG, claim, register};

/// Stands in front of a server. Its connections go where it points when they are opened; one that sends `marker`
/// falls silent there, with both ends open, as when its worker is frozen.
struct Proxy {
    port: u16,
    target: Arc<AtomicU16>,
    silent: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    async fn to(target: u16, marker: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (target, silent) = (Arc::new(AtomicU16::new(target)), Arc::new(Notify::new()));
        let (to, told) = (target.clone(), silent.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, to.load(Ordering::SeqCst), marker, told.clone()));
            }
        });
        Self {
            port,
            target,
            silent,
            task,
        }
    }
}

async fn carry(client: TcpStream, target: u16, marker: &'static str, silent: Arc<Notify>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
        return;
    };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let back = tokio::io::copy(&mut from_server, &mut to_client);
    let forth = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let sent = &buffer[..read];
            if !marker.is_empty() && sent.windows(marker.len()).any(|bytes| bytes == marker.as_bytes()) {
                silent.notify_one();
                std::future::pending::<()>().await;
            }
            if to_server.write_all(sent).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = back => {}
        () = forth => {}
    }
}

fn port_of(url: &str) -> u16 {
    let after_host = url.rsplit_once("127.0.0.1:").expect("a loopback URL").1;
    let digits = after_host.split('/').next().expect("a port");
    digits.parse().expect("a port")
}

fn through(proxy: &Proxy, url: &str) -> Config {
    Config {
        pool_size: 2,
        application_name: "longshore-worker".to_owned(),
        ..Config::new(url.replace(&format!(":{}/", port_of(url)), &format!(":{}/", proxy.port)))
    }
}

#[tokio::test]
async fn a_worker_that_freezes_inside_a_transaction_does_not_keep_its_task() {
    let db = postgres::database().await;
    let proxy = Proxy::to(port_of(db.url()), "FROM longshore.task_steps").await;
    let config = Config {
        idle_in_transaction: Duration::from_millis(500),
        ..through(&proxy, db.url())
    };
    let frozen = Store::connect(config).await.expect("connects");
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('t', 'deploy', 'devops')")
        .await;
    register(&frozen, "frozen", Duration::from_secs(1)).await;
    let claimed = frozen.claim(&claim("frozen", 1)).await.expect("claim");
    let lease = claimed.first().expect("the task").lease.clone();
    let journal = TaskJournal::new(frozen, None);
    let writing = tokio::spawn(async move {
        let at = StepRef {
            scope: "run".to_owned(),
            seq: 0,
            key: "step".to_owned(),
        };
        journal.start(&lease, &at).await
    });
    proxy.silent.notified().await;

    let other = db.worker_store().await;
    register(&other, "other", LONG).await;
    let takes_over = async {
        loop {
            if let Some(taken) = other.claim(&claim("other", 1)).await.expect("claim").pop() {
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
    let proxy = Proxy::to(port_of(&url), "").await;
    // It comes back as a standby: it reads, and refuses to write.
    old.stop().await;
    let signal = old.data_dir().await.join("standby.signal");
    std::fs::write(&signal, "").expect("make it a standby");
    std::fs::set_permissions(&signal, std::fs::Permissions::from_mode(0o666)).expect("let it read that");
    old.start().await;
    let store = Store::connect(through(&proxy, &url)).await.expect("connects");
    let task = NewTask::new("deploy", json!({}));
    let refused = store
        .create_task(&task)
        .await
        .expect_err("a standby takes no writes");
    assert!(refused.is_transient(), "{refused}");

    // The address leads to the new primary from now on; what was connected stays connected.
    proxy.target.store(port_of(&new_url), Ordering::SeqCst);
    store.create_task(&task).await.expect("the next one is written");
}
