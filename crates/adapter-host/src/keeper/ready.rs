//! Whether a replica can take traffic.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::config::Ready;

/// What is wrong, in a few words.
pub(super) async fn check(ready: &Ready, address: IpAddr, port: u16, limit: Duration) -> Result<(), String> {
    match tokio::time::timeout(limit, look(ready, (address, port).into())).await {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(wrong))) => Err(wrong),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer in {} s", limit.as_secs_f32())),
    }
}

async fn look(ready: &Ready, address: SocketAddr) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect(address).await?;
    let Ready::Http { path } = ready else {
        return Ok(None);
    };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: longshore\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.contains(&b'\n') && head.len() < 1024 {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    let line = String::from_utf8_lossy(&head);
    let mut words = line.lines().next().unwrap_or_default().split(' ');
    let speaks_http = words.next().is_some_and(|word| word.starts_with("HTTP/"));
    let status = words
        .next()
        .and_then(|word| word.parse::<u16>().ok())
        .filter(|_| speaks_http);
    Ok(match status {
        Some(200..=399) => None,
        Some(status) => Some(format!("GET {path} was answered with {status}")),
        None => Some(format!("GET {path} was not answered in HTTP")),
    })
}
