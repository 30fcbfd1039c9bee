//! HTTP, TCP and commands as [`Probe`]: one look, from where this process runs.

mod command;
mod http;
mod tcp;

use std::time::Duration;

use async_trait::async_trait;
use domain::{Error, Result};
use ports::{Check, Probe, Seen};

use crate::config::ProbeConfig;
use crate::door::{built, client};
use command::Commands;

/// Looks at addresses over the network, and runs the commands of the configuration. Every look at an address is a connection of its own: one that was kept from before would
/// not show whether a new one is taken.
pub struct Probes {
    client: reqwest::Client,
    max_body_bytes: usize,
    max_redirects: usize,
    commands: Commands,
}

impl Probes {
    /// Fails when the certificates cannot be used, or a command can never be run. Looks at nothing and runs nothing.
    pub fn new(config: &ProbeConfig) -> Result<Self> {
        let client = client("checks", config.ca_file.as_deref())?.pool_max_idle_per_host(0);
        Ok(Self {
            client: built("checks", client)?,
            max_body_bytes: config.max_body_bytes,
            max_redirects: config.max_redirects,
            commands: Commands::new(&config.commands)?,
        })
    }
}

#[async_trait]
impl Probe for Probes {
    async fn check(&self, check: &Check) -> Result<Seen> {
        let timeout = match check {
            Check::Http { timeout, .. } | Check::Tcp { timeout, .. } => Some(*timeout),
            Check::Command { timeout, .. } => *timeout,
        };
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err(
                Error::invalid("a check with no time cannot be made").next("Give it a second or more")
            );
        }
        match check {
            Check::Http {
                url,
                status,
                contains,
                timeout,
            } => self.http(url, *status, contains.as_deref(), *timeout).await,
            Check::Tcp { address, timeout } => tcp::check(address, *timeout).await,
            Check::Command {
                name,
                values,
                timeout,
            } => self.commands.run(name, values, *timeout).await,
        }
    }
}

fn unwell(what: impl Into<String>) -> Seen {
    Seen {
        well: false,
        what: what.into(),
    }
}

/// `300 ms`, `1.5 s`
fn span(of: Duration) -> String {
    match of.as_millis() {
        millis if millis < 1000 => format!("{millis} ms"),
        millis => format!("{} s", millis as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        assert_eq!(span(Duration::from_micros(12_900)), "12 ms");
        assert_eq!(span(Duration::from_millis(1500)), "1.5 s");
        assert_eq!(span(Duration::from_secs(30)), "30 s");
    }
}
