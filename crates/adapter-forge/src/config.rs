use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// Where the forges are and how we enter them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The first one of a provider serves the repositories that name no web address.
    pub hosts: Vec<HostConfig>,
    /// Tickets in a folder, for trying things out without a forge.
    pub local: Option<LocalConfig>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Gitlab,
    Github,
}

impl Provider {
    /// The word for it in the column `provider` and in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Gitlab => "gitlab",
            Self::Github => "github",
        }
    }
}

/// One instance of a forge. All durations are seconds in the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostConfig {
    pub provider: Provider,
    /// The instance's web address; `https://gitlab.com` or `https://github.com` when left out.
    #[serde(default)]
    pub url: Option<Url>,
    /// Where its API is, when that does not follow from the web address.
    #[serde(default)]
    pub api_url: Option<Url>,
    #[serde(default)]
    pub token: Option<SecretString>,
    /// Our own user's number. Asked of the forge at the first need when left out; a GitHub app must be told, because
    /// its tokens may not ask.
    #[serde(default)]
    pub user_id: Option<u64>,
    /// Longest time for one request and its answer; a log may take longer as long as it flows.
    #[serde(default = "thirty", with = "seconds")]
    pub timeout: Duration,
    #[serde(default = "ten", with = "seconds")]
    pub connect_timeout: Duration,
    /// Longest pause in the middle of an answer.
    #[serde(default = "thirty", with = "seconds")]
    pub read_timeout: Duration,
    /// How long the forge may still work on a request that we gave up (GitLab's web server kills one after 60 s).
    #[serde(default = "sixty", with = "seconds")]
    pub settle: Duration,
    /// Our share of the forge's patience. GitLab.com grants 2,000 authenticated requests a minute; GitHub 5,000 an hour.
    #[serde(default = "rate")]
    pub requests_per_minute: u32,
    /// A web proxy to go through. Proxies named in the environment are not used.
    #[serde(default)]
    pub proxy: Option<Url>,
}

impl HostConfig {
    /// The provider's public instance with the defaults.
    pub fn new(provider: Provider) -> Self {
        Self {
            provider,
            url: None,
            api_url: None,
            token: None,
            user_id: None,
            timeout: thirty(),
            connect_timeout: ten(),
            read_timeout: thirty(),
            settle: sixty(),
            requests_per_minute: rate(),
            proxy: None,
        }
    }
}

/// Tickets kept as files in a folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    pub folder: PathBuf,
    /// Whether a ticket that nobody opened comes into being when it is first named.
    #[serde(default = "yes")]
    pub open_unknown: bool,
}

fn thirty() -> Duration {
    Duration::from_secs(30)
}
fn ten() -> Duration {
    Duration::from_secs(10)
}
fn sixty() -> Duration {
    Duration::from_secs(60)
}
fn rate() -> u32 {
    600
}
fn yes() -> bool {
    true
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}
