//! Who waits for whom, and who is told so.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::served::{Served, config};

/// What is answered to a head alone, whose body never comes.
async fn told(served: &Served, head: &str) -> String {
    let mut stream = TcpStream::connect(served.at).await.unwrap();
    let head = format!("{head}\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut text))
        .await
        .expect("an answer")
        .unwrap();
    text
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let served = Served::new().await;
    let large = told(&served, "POST /api/tasks HTTP/1.1\r\ncontent-length: 5000000").await;
    assert!(large.starts_with("HTTP/1.1 413"), "{large}");
    assert!(!large.contains("payload"), "{large}");
}

#[tokio::test]
async fn a_slow_sender_and_a_slow_answer_are_told_apart_and_both_are_counted() {
    let metrics = api::install_metrics().unwrap();
    let mut quick = config();
    quick.request_timeout = Duration::from_millis(300);
    let served = Served::with(quick).await;
    let slow = told(&served, "POST /api/tasks HTTP/1.1\r\ncontent-length: 10").await;
    assert!(
        slow.starts_with("HTTP/1.1 408") && slow.contains("did not arrive"),
        "{slow}"
    );

    let database = served.database.clone();
    let locking = tokio::spawn(async move {
        database
            .sql("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)")
            .await
    });
    let held = "SELECT count(*) FROM pg_locks WHERE relation = 'tasks'::regclass AND mode = 'AccessExclusiveLock' AND granted";
    while served.count(held).await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (status, late) = served.get("/api/tasks").await;
    assert_eq!(
        (status, late["error"]["kind"].as_str()),
        (504, Some("timeout")),
        "{late}"
    );
    locking.abort();
    let counted = metrics.render();
    for (method, status) in [("POST", "408"), ("GET", "504")] {
        let is_it = |line: &&str| {
            line.starts_with("longshore_http_requests_total")
                && [method, status, "\"/api/tasks\""]
                    .iter()
                    .all(|part| line.contains(part))
        };
        assert!(counted.lines().any(|line| is_it(&line)), "{status}: {counted}");
    }
}
