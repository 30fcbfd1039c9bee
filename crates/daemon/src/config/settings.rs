//! Every key of the config file, with its type and default. `config/longshore.toml` explains them to
//! people; a test keeps the two in step.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use adapter_host::HostConfig;
use adapter_kube::KubeConfig;
use domain::Verdict;
use pipelines::FixBuildConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::flags::FlagSource;
use super::outside::{Checks, MetricsStore, Registry};
use super::values::{DatabaseUrl, Secret, Span};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub database: Database,
    pub worker: Worker,
    pub api: Api,
    pub client: Client,
    pub gitlab: Gitlab,
    pub github: Github,
    pub tickets: Tickets,
    pub fix_build: FixBuildConfig,
    pub hosts: BTreeMap<String, HostConfig>,
    pub clusters: BTreeMap<String, KubeConfig>,
    pub registries: BTreeMap<String, Registry>,
    pub metrics: BTreeMap<String, MetricsStore>,
    pub checks: Checks,
    pub flags: BTreeMap<String, FlagSource>,
    pub log: Log,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Database {
    pub url: Option<DatabaseUrl>,
    pub direct_url: Option<DatabaseUrl>,
    pub pooler: bool,
    pub listen: bool,
    pub connections: u32,
    pub connect_timeout: Span,
    pub acquire_timeout: Span,
    pub statement_timeout: Span,
}

impl Default for Database {
    fn default() -> Self {
        Self {
            url: None,
            direct_url: None,
            pooler: false,
            listen: true,
            connections: 10,
            connect_timeout: Span::seconds(30),
            acquire_timeout: Span::seconds(5),
            statement_timeout: Span::seconds(30),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    pub agents: Vec<String>,
    pub slots: u32,
    pub poll: Span,
    pub lease: Span,
    pub grace: Span,
    pub cancel_grace: Span,
    pub max_attempts: u32,
    pub max_crashes: u32,
    pub retry_first: Span,
    pub retry_longest: Span,
    pub run_limit: Span,
    pub deadline: Option<Span>,
    pub retention: Span,
    pub run_limits: BTreeMap<String, Span>,
    pub deadlines: BTreeMap<String, Span>,
    pub attempts: BTreeMap<String, u32>,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            agents: vec!["devops".to_owned()],
            slots: 16,
            poll: Span::seconds(1),
            lease: Span::seconds(15),
            grace: Span::seconds(30),
            cancel_grace: Span::seconds(30),
            max_attempts: 5,
            max_crashes: 10,
            retry_first: Span::seconds(2),
            retry_longest: Span::seconds(300),
            run_limit: Span::seconds(15 * 60),
            deadline: None,
            retention: Span::seconds(30 * 24 * 3600),
            run_limits: BTreeMap::new(),
            deadlines: BTreeMap::new(),
            attempts: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    #[schemars(with = "String")]
    pub bind: SocketAddr,
    pub tokens: Vec<Secret>,
    pub open: bool,
    pub require_token: bool,
    pub hosts: Vec<String>,
    pub request_timeout: Span,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            bind: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8844),
            tokens: Vec::new(),
            open: false,
            require_token: false,
            hosts: Vec::new(),
            request_timeout: Span::seconds(30),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Client {
    pub token: Option<Secret>,
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gitlab {
    #[schemars(with = "Option<String>")]
    pub url: Option<Url>,
    pub token: Option<Secret>,
    pub webhook_secret: Option<Secret>,
    pub timeout: Span,
    pub settle: Span,
    pub requests_per_minute: u32,
}

impl Default for Gitlab {
    fn default() -> Self {
        Self {
            url: None,
            token: None,
            webhook_secret: None,
            timeout: Span::seconds(30),
            settle: Span::seconds(60),
            requests_per_minute: 300,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Github {
    #[schemars(with = "Option<String>")]
    pub url: Option<Url>,
    pub token: Option<Secret>,
    pub webhook_secret: Option<Secret>,
    pub timeout: Span,
    pub settle: Span,
    pub requests_per_minute: u32,
}

impl Default for Github {
    fn default() -> Self {
        Self {
            url: None,
            token: None,
            webhook_secret: None,
            timeout: Span::seconds(30),
            settle: Span::seconds(60),
            requests_per_minute: 80,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tickets {
    pub notes_per_minute: u32,
    #[schemars(with = "BTreeMap<String, Vec<String>>")]
    pub labels: BTreeMap<Verdict, Vec<String>>,
}

impl Default for Tickets {
    fn default() -> Self {
        Self {
            notes_per_minute: 50,
            labels: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    Auto,
    Human,
    Json,
}
