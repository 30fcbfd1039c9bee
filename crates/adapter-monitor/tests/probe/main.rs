//! The checks against real sockets: the port's suite, and what of a failure is told apart.

mod commands;
mod conformance;
mod http;
mod sockets;
mod tls;

use std::net::Ipv4Addr;
use std::time::Duration;

use adapter_monitor::{ProbeConfig, Probes};
use ports::{Check, Probe, Seen};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const TIMEOUT: Duration = Duration::from_secs(20);

fn probes(config: &ProbeConfig) -> Probes {
    Probes::new(config).expect("a usable configuration")
}

/// A listener of the test; it ends with the test.
struct Server {
    address: String,
    serving: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Server {
    /// Treats every connection so.
    async fn start<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free loopback port");
        let address = listener.local_addr().expect("an address").to_string();
        let serving = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(treat(connection));
            }
        });
        Self { address, serving }
    }
}

/// An address where nothing listens.
async fn refused() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free loopback port");
    listener.local_addr().expect("an address").to_string()
}

fn get(url: impl Into<String>, timeout: Duration) -> Check {
    Check::Http {
        url: url.into(),
        status: (200, 299),
        contains: None,
        timeout,
    }
}

async fn see(check: &Check) -> Seen {
    let seen = probes(&ProbeConfig::default()).check(check).await;
    seen.expect("what is wrong with the other side is no error")
}

/// What was seen, which must not be well.
async fn unwell(check: &Check) -> String {
    let seen = see(check).await;
    assert!(!seen.well, "{seen:?}");
    seen.what
}
