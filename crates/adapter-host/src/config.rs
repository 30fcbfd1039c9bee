use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::{Error, Result, Span};
use ports::{Pace, Portion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::haproxy::{HaproxyConfig, name};

/// Workloads that run as processes on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Where wishes, states and logs are kept; made when absent. It must outlive restarts of the host.
    pub state: PathBuf,
    /// The HAProxy in front of the workloads that name a `backend`.
    #[serde(default)]
    pub haproxy: Option<HaproxyConfig>,
    /// By name.
    pub workloads: BTreeMap<String, WorkloadConfig>,
}

/// One workload. In `command` and `env`, `{version}`, `{folder}` (the version's own), `{port}`, `{address}` and
/// `{workload}` stand for what they say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadConfig {
    /// The folder with a folder for every version, named after it.
    pub versions: PathBuf,
    /// The program and its arguments. It runs in the version's folder, in the foreground, and ends on SIGTERM.
    pub command: Vec<String>,
    /// Its environment. Of ours it gets nothing; `PATH` and `PORT` are set.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where replicas listen.
    #[serde(default = "loopback")]
    pub address: String,
    /// First and last of the ports that are ours to give out: one for every replica that there may be at a time.
    pub ports: (u16, u16),
    #[serde(default)]
    pub ready: Ready,
    /// How long a readiness check may take, and the pause between two of a replica that is ready.
    #[serde(default = "one")]
    pub ready_interval: Span,
    /// The backend of HAProxy whose servers are pointed at the replicas. Without, who sends traffic finds them itself.
    #[serde(default)]
    pub backend: Option<String>,
    /// Longest wait for the last request of a replica that is to go.
    #[serde(default = "thirty")]
    pub drain_limit: Span,
    /// From SIGTERM to SIGKILL.
    #[serde(default = "ten")]
    pub stop_grace: Span,
    /// The pause before a crashed replica is started again, doubled each time up to the longest.
    #[serde(default = "one")]
    pub restart_pause: Span,
    #[serde(default = "sixty")]
    pub longest_restart_pause: Span,
    /// The pace of roll-outs that name none.
    #[serde(default = "quarter")]
    pub pace: Pace,
}

/// What shows that a replica can take traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "check", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ready {
    /// It takes connections.
    #[default]
    Tcp,
    /// It answers a GET with a status from 200 to 399.
    Http { path: String },
}

/// The program that keeps a workload's processes when it is given the workload's folder as its last argument:
/// something that calls [`keep`](crate::keep).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperCommand {
    pub program: PathBuf,
    pub args: Vec<String>,
}

/// Everything that a workload's keeper is told of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) workload: WorkloadConfig,
    pub(crate) haproxy: Option<HaproxyConfig>,
}

impl HostConfig {
    /// What cannot work, without a look at anything outside.
    pub fn check(&self) -> Result<()> {
        if let Some(haproxy) = &self.haproxy {
            haproxy.check()?;
        }
        for (name, workload) in &self.workloads {
            workload.check(self.haproxy.is_some()).map_err(|error| {
                error.context(format!("the workload {name} cannot be kept as configured"))
            })?;
        }
        Ok(())
    }
}

impl WorkloadConfig {
    fn check(&self, has_haproxy: bool) -> Result<()> {
        let wrong = |what: &str| Err(Error::invalid(what));
        if self.command.first().is_none_or(String::is_empty) {
            return wrong("`command` names no program");
        }
        if !self.versions.is_absolute() {
            return wrong("`versions` is not a whole path");
        }
        if self.ports.0 == 0 || self.ports.0 > self.ports.1 {
            return wrong("`ports` is not a first and a last port");
        }
        if self.address.parse::<std::net::IpAddr>().is_err() {
            return wrong("`address` is no IP address");
        }
        if let Ready::Http { path } = &self.ready
            && (!path.starts_with('/') || path.chars().any(|c| c.is_ascii_control() || c == ' '))
        {
            return wrong("the path of `ready` is no path of a URL");
        }
        match &self.backend {
            Some(backend) if has_haproxy => name(backend, "the name of a backend").map(drop),
            Some(_) => wrong("it names a `backend`, and the target has no `haproxy`"),
            None => Ok(()),
        }
    }

    /// A text of the configuration with its placeholders filled in.
    pub(crate) fn fill(&self, text: &str, workload: &str, version: &str, port: u16) -> String {
        text.replace("{folder}", &self.versions.join(version).to_string_lossy())
            .replace("{version}", version)
            .replace("{workload}", workload)
            .replace("{address}", &self.address)
            .replace("{port}", &port.to_string())
    }
}

fn loopback() -> String {
    "127.0.0.1".to_owned()
}
fn one() -> Span {
    Span::seconds(1)
}
fn ten() -> Span {
    Span::seconds(10)
}
fn thirty() -> Span {
    Span::seconds(30)
}
fn sixty() -> Span {
    Span::seconds(60)
}
fn quarter() -> Pace {
    Pace {
        max_unavailable: Portion::Percent(25),
        max_surge: Portion::Percent(25),
    }
}
