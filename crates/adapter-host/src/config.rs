use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use domain::{Error, Result, Span};
use ports::{Pace, Portion};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::haproxy::{Address, HaproxyConfig, name};
use crate::systemd::Systemd;

/// Workloads that run as processes on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    /// Where wishes, states and logs are kept: a whole path, made when absent. It must outlive restarts of the machine.
    pub state: PathBuf,
    /// Who starts what runs, and its keepers.
    #[serde(default)]
    pub supervisor: Supervisor,
    /// The HAProxy in front of the workloads that name a `backend`.
    #[serde(default)]
    pub haproxy: Option<HaproxyConfig>,
    /// By name.
    pub workloads: BTreeMap<String, WorkloadConfig>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Supervisor {
    /// Where systemd runs, it: the machine's own when we are root, that of our user where there is one. Else `process`.
    #[default]
    Auto,
    /// The machine's systemd, which only root may have start anything.
    Systemd,
    /// The systemd of our user.
    SystemdUser,
    /// Longshore itself.
    Process,
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
    /// How long a readiness check may take, and the pause between two of a replica that is ready; a new one is asked
    /// more often.
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

/// The program that keeps a workload's processes when it is given `--begun-by`, a word, and the workload's folder as its last
/// arguments: something that calls [`keep`](crate::keep) with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperCommand {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// Where our user's own systemd is: `XDG_RUNTIME_DIR`.
    pub runtime_dir: PathBuf,
}

/// Everything that a workload's keeper is told of the configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Settings {
    pub(crate) name: String,
    pub(crate) workload: WorkloadConfig,
    pub(crate) haproxy: Option<HaproxyConfig>,
    /// Who starts replicas and their keeper; none when they start them themselves.
    #[serde(default)]
    pub(crate) systemd: Option<Systemd>,
}

impl HostConfig {
    /// What cannot work, without a look at anything outside.
    pub fn check(&self) -> Result<()> {
        if let Some(haproxy) = &self.haproxy {
            haproxy.check()?;
        }
        if !self.state.is_absolute() {
            return Err(Error::invalid(format!(
                "`state` is not a whole path: {}",
                self.state.display()
            )));
        }
        for (name, workload) in &self.workloads {
            workload.check(self.haproxy.is_some()).map_err(|error| {
                error.context(format!("the workload {name} cannot be kept as configured"))
            })?;
        }
        let all: Vec<_> = self.shares(String::clone).collect();
        apart(&all)
    }

    /// What several hosts of one worker must not share, for all of them are this machine. Each by its name.
    pub fn check_together<'a>(hosts: impl IntoIterator<Item = (&'a str, &'a Self)>) -> Result<()> {
        let hosts: Vec<_> = hosts.into_iter().collect();
        for (place, (name, host)) in hosts.iter().enumerate() {
            let folders =
                |other: &Self| other.state.starts_with(&host.state) || host.state.starts_with(&other.state);
            if let Some((other, _)) = hosts[..place].iter().find(|(_, other)| folders(other)) {
                return Err(Error::invalid(format!(
                    "the hosts {other} and {name} keep their `state` in one folder: {}",
                    host.state.display()
                ))
                .next("Give each host a folder of its own"));
            }
        }
        let named = hosts
            .iter()
            .flat_map(|(host, config)| config.shares(move |workload| format!("{host}/{workload}")));
        apart(&named.collect::<Vec<_>>())
    }

    fn shares<'a>(&'a self, name: impl Fn(&String) -> String + 'a) -> impl Iterator<Item = Shares<'a>> {
        let socket = self.haproxy.as_ref().map(|haproxy| &haproxy.socket);
        self.workloads.iter().map(move |(workload, config)| Shares {
            name: name(workload),
            backend: socket.zip(config.backend.as_deref()),
            config,
        })
    }
}

/// What a workload has of the machine.
struct Shares<'a> {
    name: String,
    backend: Option<(&'a Address, &'a str)>,
    config: &'a WorkloadConfig,
}

/// No two have a port or a server of HAProxy in common: each would take it from the other.
fn apart(all: &[Shares<'_>]) -> Result<()> {
    for (place, one) in all.iter().enumerate() {
        for other in &all[..place] {
            let ((first, last), (from, to)) = (one.config.ports, other.config.ports);
            let one_address = match (one.config.ip(), other.config.ip()) {
                (Ok(a), Ok(b)) => a == b || a.is_unspecified() || b.is_unspecified(),
                _ => false,
            };
            if one_address && first <= to && from <= last {
                return Err(Error::invalid(format!(
                    "the workloads {} and {} have ports in common: `ports` is {from} to {to}, and {first} to {last}",
                    other.name, one.name
                ))
                .next("Give each workload ports of its own"));
            }
            if let Some((_, backend)) = one.backend.filter(|_| one.backend == other.backend) {
                return Err(Error::invalid(format!(
                    "the workloads {} and {} have one `backend`: {backend}",
                    other.name, one.name
                ))
                .next("Give each workload a backend of its own"));
            }
        }
    }
    Ok(())
}

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A length of time that cannot be told from never, or from at once, is a slip of the pen.
pub(crate) fn check_span(key: &str, span: Span, may_be_none: bool) -> Result<()> {
    if span.0 > LONGEST || (span.0.is_zero() && !may_be_none) {
        let least = if may_be_none { "0s" } else { "1ms" };
        return Err(Error::invalid(format!("`{key}` is {span}")).next(format!("Write {least} to 1d")));
    }
    Ok(())
}

/// Shells drop other names without a word, and systemd does so with the whole variable.
fn check_variable(name: &str, value: &str) -> Result<()> {
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty();
    if !is_name {
        return Err(
            Error::invalid(format!("`env` names {name:?}, which is no name of a variable"))
                .next("A name is of letters from a to z, digits and `_`, and does not begin with a digit"),
        );
    }
    if value.chars().any(|c| c.is_ascii_control() && !"\n\t".contains(c)) {
        return Err(
            Error::invalid(format!("the value of {name} in `env` holds a control character"))
                .next("Write it without; ends of lines and tabs may stand there"),
        );
    }
    Ok(())
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
        self.ip()?;
        for (name, value) in &self.env {
            check_variable(name, value)?;
        }
        for (key, span, may_be_none) in [
            ("ready_interval", self.ready_interval, false),
            ("drain_limit", self.drain_limit, true),
            ("stop_grace", self.stop_grace, true),
            ("restart_pause", self.restart_pause, false),
            ("longest_restart_pause", self.longest_restart_pause, false),
        ] {
            check_span(key, span, may_be_none)?;
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

    pub(crate) fn ip(&self) -> Result<IpAddr> {
        let parsed = self.address.parse();
        parsed.map_err(|_| Error::invalid(format!("`address` is no IP address: {}", self.address)))
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
