use std::time::Duration;

use domain::{Error, Result};
use ports::Seen;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{span, unwell};
use crate::broken;

pub(super) async fn check(address: &str, limit: Duration) -> Result<Seen> {
    let (host, port) = parts(address)?;
    let began = Instant::now();
    Ok(match timeout(limit, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Seen {
            well: true,
            what: format!("connected in {}", span(began.elapsed())),
        },
        Ok(Err(error)) => unwell(broken::words(&error)),
        Err(_) => unwell(format!("no connection within {}", span(limit))),
    })
}

/// Host and port; an IPv6 address stands in brackets.
fn parts(address: &str) -> Result<(&str, u16)> {
    let split = address.rsplit_once(':').and_then(|(host, port)| {
        let port = port.parse::<u16>().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        (!host.is_empty() && !host.contains(char::is_whitespace)).then_some((host, port))
    });
    split.ok_or_else(|| {
        Error::invalid(format!("{address:?} is no address to connect to"))
            .next("Write it as HOST:PORT, an IPv6 address in brackets")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        assert_eq!(parts("db:5432"), Ok(("db", 5432)));
        assert_eq!(parts("[::1]:80"), Ok(("::1", 80)));
        for wrong in [
            "db",
            "db:",
            ":80",
            "db:0",
            "db:70000",
            "::1:80",
            "[::1:80",
            "a b:80",
            "http://db:80",
        ] {
            assert!(parts(wrong).is_err(), "{wrong}");
        }
    }
}
