//! Where measurements are, and how checks are made. Where workloads run is told by their adapters.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::values::{Secret, Span, WebUrl};

/// A store of measurements.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsStore {
    /// What it speaks: `prometheus` (PromQL), or `loki` (LogQL's metric queries).
    #[serde(default)]
    pub kind: StoreKind,
    /// What stands before `/api/v1` (`/loki/api/v1`); a path that a proxy wants belongs to it.
    #[schemars(with = "String")]
    pub url: Url,
    #[serde(default)]
    pub bearer_token: Option<Secret>,
    /// With `password`, in place of a token.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<Secret>,
    /// Sent with each request, such as `X-Scope-OrgID` to a store with tenants; their values are secret.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// A web proxy to go through.
    #[serde(default)]
    pub proxy: Option<WebUrl>,
    /// How long one question and its answer may take.
    #[serde(default = "thirty")]
    pub timeout: Span,
    /// For how long a value may stand in for the ones missing after it; the store's own time (5m) when left out.
    #[serde(default)]
    pub lookback: Option<Span>,
    /// Whether an answer that the store itself calls incomplete counts as one.
    #[serde(default)]
    pub accept_partial: bool,
}

fn thirty() -> Span {
    Span::seconds(30)
}

/// A registry of container images, asked whether it has a version before anything is touched.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// What stands before the first `/` in the names of its images; Docker Hub is `docker.io`.
    pub host: String,
    /// Of one who may pull, with `password`; nobody's asks for what everybody may pull.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<Secret>,
    /// Certificates (PEM) to trust beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Without TLS.
    #[serde(default)]
    pub plain_http: bool,
    /// How long one question and its answer may take.
    #[serde(default = "thirty")]
    pub timeout: Span,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Checks {
    pub ca_file: Option<PathBuf>,
    pub commands: BTreeMap<String, CheckCommand>,
}

/// A command that says by its exit code whether something is well. It gets nothing of the worker's environment.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckCommand {
    /// Its whole path.
    pub program: PathBuf,
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment, beside `PATH` and what a check tells it; the values are secret.
    #[serde(default)]
    pub env: BTreeMap<String, Secret>,
    /// Where it runs; where the worker does when left out.
    #[serde(default)]
    pub folder: Option<PathBuf>,
    /// After which it is killed, with everything that it started.
    #[serde(default = "minute")]
    pub timeout: Span,
}

fn minute() -> Span {
    Span::seconds(60)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    #[default]
    Prometheus,
    Loki,
}
