use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use domain::Result;
use serde::{Deserialize, Serialize};

/// A look from outside at something that should answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "check", rename_all = "snake_case")]
pub enum Check {
    Http {
        url: String,
        /// The statuses that are well, both ends with them.
        status: (u16, u16),
        /// What the body must hold.
        contains: Option<String>,
        timeout: Duration,
    },
    Tcp {
        /// `host:port`.
        address: String,
        timeout: Duration,
    },
    /// A command that the worker's configuration has under that name: only names travel, never command lines.
    Command {
        name: String,
        /// What it is told, as variables of its environment.
        values: BTreeMap<String, String>,
        /// A shorter time than the command's own.
        timeout: Option<Duration>,
    },
}

/// What a check saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub well: bool,
    /// What was seen, in a few words: `200 in 12 ms`, `connection refused`.
    pub what: String,
}

/// Looks whether something answers as it should.
#[async_trait]
pub trait Probe: Send + Sync {
    /// One look; a command may be run again for the same look after a crash, and ends with the look that is given up.
    /// Whatever keeps the other side from answering well is what was seen, not an error; a check that
    /// cannot be made at all is [`Invalid`](domain::ErrorKind::Invalid).
    async fn check(&self, check: &Check) -> Result<Seen>;
}
