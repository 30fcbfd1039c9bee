//! Statuses, redirects and bodies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adapter_monitor::ProbeConfig;
use domain::ErrorKind;
use ports::{Check, Probe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Server, TIMEOUT, get, probes, see, unwell};

/// Reads a request's head; its first line.
pub(super) async fn request(connection: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    head.lines().next().unwrap_or_default().to_owned()
}

/// Answers every request so.
pub(super) async fn says(status: u16, headers: &str, body: &str) -> Server {
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{headers}connection: close\r\n\r\n{body}"
    );
    writes(answer).await
}

/// Answers every request with these words, and closes.
pub(super) async fn writes(answer: String) -> Server {
    Server::start(move |mut connection| {
        let answer = answer.clone();
        async move {
            request(&mut connection).await;
            let _ = connection.write_all(answer.as_bytes()).await;
            let _ = connection.shutdown().await;
        }
    })
    .await
}

fn url(server: &Server) -> String {
    format!("http://{}/", server.address)
}

fn with(url: String, status: (u16, u16), contains: Option<&str>) -> Check {
    Check::Http {
        url,
        status,
        contains: contains.map(str::to_owned),
        timeout: TIMEOUT,
    }
}

#[tokio::test]
async fn a_redirect_is_followed_and_its_end_counts() {
    let end = says(200, "", "at home").await;
    let bad = says(503, "", "").await;
    for (to, well) in [(&end, true), (&bad, false)] {
        let start = says(302, &format!("location: {}\r\n", url(to)), "").await;
        let seen = see(&get(url(&start), TIMEOUT)).await;
        assert_eq!(seen.well, well, "{seen:?}");
    }
}

#[tokio::test]
async fn a_redirect_that_is_wanted_is_well_and_not_followed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let end = Server::start(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    })
    .await;
    let start = says(301, &format!("location: {}\r\n", url(&end)), "").await;
    let seen = see(&with(url(&start), (301, 301), None)).await;
    assert!(seen.well && seen.what.starts_with("301 in "), "{seen:?}");
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn redirects_in_a_circle_or_to_nowhere_are_not_well() {
    let circle = says(307, "location: /again\r\n", "").await;
    assert_eq!(
        unwell(&get(url(&circle), TIMEOUT)).await,
        "sent on more than 5 times"
    );
    let nowhere = says(302, "location: file:///etc/hostname\r\n", "").await;
    let seen = unwell(&get(url(&nowhere), TIMEOUT)).await;
    assert_eq!(seen, "302, and it names no web address to go on to");
}

#[tokio::test]
async fn the_ends_of_the_range_of_statuses_are_well_and_their_neighbours_are_not() {
    for (status, well) in [(200, true), (299, true), (300, false), (404, false)] {
        let server = says(status, "", "").await;
        let seen = see(&with(url(&server), (200, 299), None)).await;
        assert_eq!(seen.well, well, "{seen:?}");
        assert!(seen.what.starts_with(&status.to_string()), "{seen:?}");
    }
}

#[tokio::test]
async fn a_part_that_is_cut_in_two_by_the_network_is_found() {
    let server = Server::start(|mut connection| async move {
        request(&mut connection).await;
        let _ = connection.set_nodelay(true);
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let _ = connection.write_all(head).await;
        for piece in ["5\r\nall i\r\n", "6\r\ns well\r\n", "0\r\n\r\n"] {
            let _ = connection.write_all(piece.as_bytes()).await;
            let _ = connection.flush().await;
            tokio::task::yield_now().await;
        }
    })
    .await;
    let seen = see(&with(url(&server), (200, 299), Some("all is well"))).await;
    assert!(seen.well, "{seen:?}");
    let lacks = unwell(&with(url(&server), (200, 299), Some("all is lost"))).await;
    assert_eq!(lacks, "200, and the body lacks \"all is lost\"");
}

#[tokio::test]
async fn no_more_of_a_body_is_read_than_is_set() {
    let server = says(200, "", &format!("{}needle", "x".repeat(100))).await;
    let check = with(url(&server), (200, 299), Some("needle"));
    let seen = |most| {
        let probes = probes(&ProbeConfig {
            max_body_bytes: most,
            ..ProbeConfig::default()
        });
        let check = check.clone();
        async move { probes.check(&check).await.expect("looks") }
    };
    let short = seen(105).await;
    assert_eq!(
        short.what,
        "200, and the first 105 bytes of the body lack \"needle\""
    );
    assert!(!short.well);
    assert!(seen(106).await.well);
}

#[tokio::test]
async fn a_body_that_breaks_off_or_stalls_is_not_well_although_its_status_is() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nall";
    let broken = writes(head.to_owned()).await;
    let seen = unwell(&with(url(&broken), (200, 299), Some("well"))).await;
    assert!(seen.starts_with("200, and the body broke off"), "{seen}");
    let stalls = Server::start(move |mut connection| async move {
        request(&mut connection).await;
        let _ = connection.write_all(head.as_bytes()).await;
        request(&mut connection).await;
    })
    .await;
    let check = Check::Http {
        url: url(&stalls),
        status: (200, 299),
        contains: Some("well".to_owned()),
        timeout: Duration::from_millis(200),
    };
    let seen = unwell(&check).await;
    assert_eq!(seen, "200, and the rest of the answer did not come within 200 ms");
}

#[tokio::test]
async fn a_check_that_makes_no_sense_is_refused_without_repeating_a_password() {
    let probes = probes(&ProbeConfig::default());
    for check in [
        with("ftp://ada:geheim@host/".to_owned(), (200, 299), None),
        with("http://".to_owned(), (200, 299), None),
        with("http://host/".to_owned(), (299, 200), None),
        get("http://host/", Duration::ZERO),
    ] {
        let error = probes.check(&check).await.expect_err("cannot be made");
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(
            error.next.is_some() && !error.to_string().contains("geheim"),
            "{error}"
        );
    }
}
