//! Where feature flags are that are rolled out.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A store of feature flags: those of a GitLab project, or those that OpenFeature's flagd reads from a file or a ConfigMap.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagSource {
    #[serde(default)]
    pub provider: FlagProvider,
    /// gitlab: its web address; as configured for it when left out.
    #[serde(default)]
    pub url: String,
    /// gitlab: the project's number or path.
    #[serde(default)]
    pub project: String,
    /// flagd: a file of JSON on this host, by its whole path.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// flagd: in place of a file, the cluster with the ConfigMap, by its name under `clusters`.
    #[serde(default)]
    pub cluster: Option<String>,
    /// flagd: `NAMESPACE/NAME`, or `NAME` where the cluster's names without a namespace are.
    #[serde(default)]
    pub config_map: Option<String>,
    /// flagd: the ConfigMap's key with the flags; its only one when left out.
    #[serde(default)]
    pub key: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlagProvider {
    #[default]
    Gitlab,
    Flagd,
}

/// The one place that a source names.
#[derive(Debug, PartialEq, Eq)]
pub enum FlagPlace<'a> {
    Project {
        url: &'a str,
        project: &'a str,
    },
    File(&'a Path),
    ConfigMap {
        cluster: &'a str,
        name: &'a str,
        key: Option<&'a str>,
    },
}

impl FlagSource {
    /// Or what is wrong, in words that follow the source's name.
    pub fn place(&self) -> Result<FlagPlace<'_>, &'static str> {
        let ours = [&self.cluster, &self.config_map, &self.key];
        let of_gitlab = !self.url.is_empty() || !self.project.is_empty();
        let of_flagd = self.file.is_some() || ours.iter().any(|part| part.is_some());
        match (self.provider, &self.file, &self.cluster, &self.config_map) {
            (FlagProvider::Gitlab, ..) if of_flagd => {
                Err("holds what is flagd's; add `provider = \"flagd\"`, or leave that out")
            }
            (FlagProvider::Gitlab, ..) if self.project.trim().is_empty() => {
                Err("names no project; write it like \"shop/checkout\"")
            }
            (FlagProvider::Gitlab, ..) => Ok(FlagPlace::Project {
                url: &self.url,
                project: &self.project,
            }),
            _ if of_gitlab => Err(
                "holds `url` or `project`, which are GitLab's; flagd's flags are in a `file` or a `config_map`",
            ),
            (_, Some(file), None, None) if self.key.is_none() => match file.is_absolute() {
                true => Ok(FlagPlace::File(file)),
                false => Err("needs the whole path of its `file`"),
            },
            (_, None, Some(cluster), Some(name)) => Ok(FlagPlace::ConfigMap {
                cluster,
                name,
                key: self.key.as_deref(),
            }),
            _ => Err("names no one place; give it a `file`, or a `cluster` and a `config_map`"),
        }
    }
}
