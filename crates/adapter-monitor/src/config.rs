use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// Where measurements are, and how checks are made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// By the name that an environment's settings call each one by.
    pub metrics: BTreeMap<String, StoreConfig>,
    pub probe: ProbeConfig,
}

/// What a store speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// Prometheus's HTTP API and PromQL: Prometheus itself, Mimir, Thanos, VictoriaMetrics.
    #[default]
    Prometheus,
    /// Loki's HTTP API and LogQL's metric queries: what is counted in logs.
    Loki,
}

impl StoreKind {
    /// What stands before the name of a call in its address.
    pub(crate) fn api(self) -> &'static str {
        match self {
            Self::Prometheus => "/api/v1",
            Self::Loki => "/loki/api/v1",
        }
    }
}

/// One store of measurements. All durations are seconds in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    #[serde(default)]
    pub kind: StoreKind,
    /// What stands before `/api/v1` (`/loki/api/v1`); a path that a proxy wants belongs to it.
    pub url: Url,
    #[serde(default)]
    pub bearer_token: Option<SecretString>,
    /// With `password`, instead of a token.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<SecretString>,
    /// Sent with each request, such as `X-Scope-OrgID` to a store with tenants. Their values are kept secret.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A web proxy to go through. Proxies named in the environment are not used.
    #[serde(default)]
    pub proxy: Option<Url>,
    /// Longest time for one question and its answer. The store is told to give up a little earlier, so that it can
    /// still say so.
    #[serde(default = "thirty", with = "seconds")]
    pub timeout: Duration,
    #[serde(default = "five", with = "seconds")]
    pub connect_timeout: Duration,
    /// Largest answer that is read. A series of 11,000 points, the most that Prometheus gives, is about 300 KB.
    #[serde(default = "answer_bytes")]
    pub max_answer_bytes: usize,
    /// For how long a value may stand in for the ones missing after it; the store's own time (5 minutes) when left
    /// out. Prometheus heeds it from version 2.44 on; Loki has nothing of the kind.
    #[serde(default, with = "some_seconds")]
    pub lookback: Option<Duration>,
    /// Whether an answer that the store itself calls incomplete counts as one. It is an error otherwise: a part of the
    /// replicas may look well where the whole does not.
    #[serde(default)]
    pub accept_partial: bool,
}

impl StoreConfig {
    /// A store that asks for no credentials, with the defaults.
    pub fn new(url: Url) -> Self {
        Self {
            kind: StoreKind::Prometheus,
            url,
            bearer_token: None,
            username: None,
            password: None,
            headers: BTreeMap::new(),
            ca_file: None,
            proxy: None,
            timeout: thirty(),
            connect_timeout: five(),
            max_answer_bytes: answer_bytes(),
            lookback: None,
            accept_partial: false,
        }
    }
}

/// How checks are made. Each check brings its own time limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// Certificates (PEM) to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// How much of a body is read in search of what it must hold.
    pub max_body_bytes: usize,
    /// How often a check may be sent on to another address. A status that the check calls well is never followed.
    pub max_redirects: usize,
    /// What checks may run here, by the names that environments' settings call them by. Settings carry names alone: who
    /// may edit a repository's settings gets no shell on the worker by it.
    pub commands: BTreeMap<String, CommandConfig>,
}

/// A command that looks whether something is well, and says so by its exit code. It runs with the rights of the worker and
/// without the worker's environment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandConfig {
    /// Its whole path.
    pub program: PathBuf,
    #[serde(default)]
    pub args: Vec<String>,
    /// All of its environment, beside `PATH` and what a check tells it. The values are kept secret.
    #[serde(default)]
    pub env: BTreeMap<String, SecretString>,
    /// Where it runs; where the worker does when left out.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// Longest time, after which it is killed with everything that it started. In seconds.
    #[serde(default = "sixty", with = "seconds")]
    pub timeout: Duration,
}

impl CommandConfig {
    /// Without arguments, with the defaults.
    pub fn new(program: PathBuf) -> Self {
        Self {
            program,
            args: Vec::new(),
            env: BTreeMap::new(),
            folder: None,
            timeout: sixty(),
        }
    }
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            ca_file: None,
            max_body_bytes: 1 << 20,
            max_redirects: 5,
            commands: BTreeMap::new(),
        }
    }
}

fn thirty() -> Duration {
    Duration::from_secs(30)
}
fn sixty() -> Duration {
    Duration::from_secs(60)
}
fn five() -> Duration {
    Duration::from_secs(5)
}
fn answer_bytes() -> usize {
    32 << 20
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

mod some_seconds {
    use std::time::Duration;

    use serde::Deserializer;

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        super::seconds::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_needs_an_address_and_no_more_and_unknown_keys_are_refused() {
        let read = |json: &str| serde_json::from_str::<StoreConfig>(json);
        let config = read(r#"{"url": "http://prometheus:9090", "timeout": 2.5, "lookback": 30}"#);
        let config = config.expect("is usable");
        assert_eq!(config.timeout, Duration::from_millis(2500));
        assert_eq!(config.lookback, Some(Duration::from_secs(30)));
        assert!(!config.accept_partial);
        assert_eq!(config.kind, StoreKind::Prometheus);
        let loki = read(r#"{"kind": "loki", "url": "http://loki:3100"}"#).expect("is usable");
        assert_eq!(loki.kind, StoreKind::Loki);
        assert!(read(r#"{"kind": "graphite", "url": "http://x"}"#).is_err());
        assert!(read("{}").is_err());
        assert!(read(r#"{"url": "http://x", "bearer": "t"}"#).is_err());
        assert!(read(r#"{"url": "http://x", "timeout": -1}"#).is_err());
    }

    #[test]
    fn what_is_printed_of_a_store_holds_no_secret() {
        let mut config = StoreConfig::new("http://x".parse().expect("an address"));
        config.bearer_token = Some("geheim".into());
        config.headers.insert("x-key".to_owned(), "geheim".into());
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
