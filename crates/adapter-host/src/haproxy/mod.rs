//! HAProxy through its runtime API, as the management guide of version 2.6 has it.

mod router;
mod servers;
mod socket;
mod weights;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use domain::{Error, Result, Span};
use schemars::JsonSchema;
use serde::Deserialize;

pub use router::HaproxyRouter;
pub(crate) use servers::Server;
pub(crate) use socket::Runtime;

/// One HAProxy and how servers are named in it.
///
/// A backend that is parted declares a server for every replica that a side may have at most, named after the side and
/// numbered (`server-template stable 3 …`, `server-template candidate 3 … weight 0`). All other servers are somebody
/// else's and are never touched.
#[derive(Clone, Debug, PartialEq, serde::Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaproxyConfig {
    /// The `stats socket`, which must have `level admin`: a path, or `host:port`.
    pub socket: Address,
    /// What the names of the stable side's servers begin with, before their number.
    #[serde(default = "stable")]
    pub stable: String,
    /// The same of the candidate's.
    #[serde(default = "candidate")]
    pub candidate: String,
    /// Longest time for one command and its answer.
    #[serde(default = "five")]
    pub timeout: Span,
}

impl HaproxyConfig {
    pub fn new(socket: Address) -> Self {
        Self {
            socket,
            stable: stable(),
            candidate: candidate(),
            timeout: five(),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        crate::config::check_span("haproxy.timeout", self.timeout, false)?;
        for prefix in [&self.stable, &self.candidate] {
            name(prefix, "the beginning of a server's name")?;
        }
        if self.stable == self.candidate {
            return Err(Error::invalid(format!(
                "both sides' servers are named {}1, {}2 and so on",
                self.stable, self.stable
            ))
            .next("Give `stable` and `candidate` different values"));
        }
        Ok(())
    }
}

fn stable() -> String {
    "stable".to_owned()
}

fn candidate() -> String {
    "candidate".to_owned()
}

fn five() -> Span {
    Span::seconds(5)
}

/// Where the runtime API listens.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Address {
    Unix(PathBuf),
    /// `host:port`.
    Tcp(String),
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.starts_with('/') {
            return Ok(Self::Unix(path.into()));
        }
        let port = text.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
        match port {
            Some(Ok(_)) => Ok(Self::Tcp(text.to_owned())),
            _ => Err(
                Error::invalid(format!("`{text}` is no address of a runtime API of HAProxy"))
                    .next("Name the whole path of its `stats socket`, or host:port"),
            ),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// A name that may stand in a command: HAProxy's own rule, which also keeps a second command out.
pub(crate) fn name<'a>(text: &'a str, what: &str) -> Result<&'a str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
    if !text.is_empty() && text.chars().all(allowed) {
        return Ok(text);
    }
    Err(Error::invalid(format!("`{text}` cannot be {what} in HAProxy"))
        .next("Use letters, digits and `-`, `_`, `.`, `:` only"))
}
