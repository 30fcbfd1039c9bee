//! What of a connection that comes to nothing is told apart.

use std::time::Duration;

use ports::Check;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http::{request, writes};
use super::{Server, TIMEOUT, get, refused, see, unwell};

fn tcp(address: String, timeout: Duration) -> Check {
    Check::Tcp { address, timeout }
}

#[tokio::test]
async fn refused_reset_closed_and_silent_are_told_apart() {
    let nobody = refused().await;
    assert_eq!(unwell(&tcp(nobody.clone(), TIMEOUT)).await, "connection refused");
    assert_eq!(
        unwell(&get(format!("http://{nobody}/"), TIMEOUT)).await,
        "connection refused"
    );

    let resets = Server::start(|mut connection| async move {
        request(&mut connection).await;
        // Closing with no time to linger sends a reset.
        let _ = connection.set_zero_linger();
    })
    .await;
    assert_eq!(
        unwell(&get(format!("http://{}/", resets.address), TIMEOUT)).await,
        "connection reset"
    );

    let closes = Server::start(|mut connection| async move {
        request(&mut connection).await;
    })
    .await;
    let seen = unwell(&get(format!("http://{}/", closes.address), TIMEOUT)).await;
    assert!(seen.contains("closed"), "{seen}");

    let silent = Server::start(|mut connection| async move {
        let _ = connection.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let check = get(format!("http://{}/", silent.address), Duration::from_millis(150));
    assert_eq!(unwell(&check).await, "no answer within 150 ms");
}

#[tokio::test]
async fn a_name_that_nobody_has_is_seen_as_such() {
    for check in [
        tcp("nobody.invalid:80".to_owned(), TIMEOUT),
        get("http://nobody.invalid/", TIMEOUT),
    ] {
        assert_eq!(unwell(&check).await, "its name is not known");
    }
}

#[tokio::test]
async fn what_speaks_another_language_is_not_well() {
    let polite = writes("220 mail.example.com ESMTP\r\n".to_owned()).await;
    let seen = unwell(&get(format!("http://{}/", polite.address), TIMEOUT)).await;
    assert!(seen.contains("invalid HTTP"), "{seen}");
    let other = Server::start(|mut connection| async move {
        let _ = connection.write_all(b"220 mail.example.com ESMTP\r\n").await;
        let _ = connection.shutdown().await;
        // What was sent is read, or a reset would overtake the greeting.
        let _ = connection.read_to_end(&mut Vec::new()).await;
    })
    .await;
    let seen = unwell(&get(format!("https://{}/", other.address), TIMEOUT)).await;
    assert!(seen.starts_with("TLS failed"), "{seen}");
}

#[tokio::test]
async fn a_connection_that_nobody_takes_is_given_up_in_time() {
    // A listener whose queue is full takes no more connections and refuses none.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind(([127, 0, 0, 1], 0).into())
        .expect("a free loopback port");
    let full = socket.listen(0).expect("a listener");
    let address = full.local_addr().expect("an address");
    let mut waiting = Vec::new();
    let limit = Duration::from_millis(200);
    for _ in 0..64 {
        match tokio::time::timeout(limit, tokio::net::TcpStream::connect(address)).await {
            Ok(connection) => waiting.push(connection.expect("a place in the queue")),
            Err(_) => break,
        }
    }
    assert!(waiting.len() < 64, "the queue never filled");
    let seen = unwell(&tcp(address.to_string(), limit)).await;
    assert_eq!(seen, "no connection within 200 ms");
}

#[tokio::test]
async fn what_is_seen_says_how_long_it_took() {
    let server = Server::start(|_| async {}).await;
    let seen = see(&tcp(server.address.clone(), TIMEOUT)).await;
    assert!(seen.well && seen.what.starts_with("connected in "), "{seen:?}");
}
