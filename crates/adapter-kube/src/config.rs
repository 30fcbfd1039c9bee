use std::path::PathBuf;

use domain::{Error, Result, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A cluster, and as whom it is reached. Each environment that has a cluster or a user of its own is a target of its
/// own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KubeConfig {
    /// A kubeconfig file. What it names (certificates, tokens, programs that fetch credentials) is found from there.
    pub kubeconfig: Option<PathBuf>,
    /// One of its contexts; its current one when left out.
    pub context: Option<String>,
    /// In place of a kubeconfig: this runs in a pod of that very cluster, as the pod's service account.
    pub in_cluster: bool,
    /// Where names without a namespace are; the context's when left out, and `default` when that has none.
    pub namespace: Option<String>,
    /// As whom changes are recorded in `metadata.managedFields`.
    pub field_manager: String,
    /// The label of pods that tells the two sides apart, with the values `stable` and `candidate`.
    pub side_label: String,
    pub connect_timeout: Span,
    /// Longest time for one request and its answer.
    pub timeout: Span,
}

impl Default for KubeConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            in_cluster: false,
            namespace: None,
            field_manager: "longshore".to_owned(),
            side_label: "longshore/side".to_owned(),
            connect_timeout: Span::seconds(5),
            timeout: Span::seconds(30),
        }
    }
}

impl KubeConfig {
    /// What cannot work, without a look at anything outside.
    pub fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::invalid(what));
        match (&self.kubeconfig, self.in_cluster) {
            (None, false) => {
                return wrong("neither `kubeconfig` nor `in_cluster` says how the cluster is reached");
            }
            (Some(_), true) => return wrong("`kubeconfig` and `in_cluster` are two ways to one cluster"),
            _ => {}
        }
        if self.in_cluster && self.context.is_some() {
            return wrong("`context` belongs to a kubeconfig, and `in_cluster` has none");
        }
        if self.field_manager.is_empty() || self.field_manager.len() > 128 {
            return wrong("`field_manager` has from 1 to 128 characters");
        }
        let name = self
            .side_label
            .rsplit_once('/')
            .map_or(self.side_label.as_str(), |(_, name)| name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if name.is_empty() || name.len() > 63 || !self.side_label.chars().all(plain) {
            return wrong("`side_label` is no name of a label");
        }
        if self.timeout.0.is_zero() || self.connect_timeout.0.is_zero() {
            return wrong("`timeout` and `connect_timeout` must be longer than nothing");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: serde_json::Value) -> std::result::Result<KubeConfig, serde_json::Error> {
        serde_json::from_value(text)
    }

    #[test]
    fn a_configuration_is_read_as_it_is_written() {
        let config = read(serde_json::json!({
            "kubeconfig": "/etc/longshore/kubeconfig", "context": "production", "timeout": "2500ms",
        }));
        let config = config.expect("reads");
        assert_eq!(
            (config.context.as_deref(), config.timeout.0.as_millis()),
            (Some("production"), 2500)
        );
        assert_eq!(config.field_manager, "longshore");
        assert!(config.check().is_ok());
        let unknown = read(serde_json::json!({ "kubeconf": "/etc" })).expect_err("is unknown");
        assert!(unknown.to_string().contains("kubeconf"), "{unknown}");
    }

    #[test]
    fn its_schema_has_every_key() {
        let schema = serde_json::json!(schemars::schema_for!(KubeConfig));
        let written = serde_json::json!(KubeConfig::default());
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .collect()
        };
        assert_eq!(keys(&schema["properties"]), keys(&written));
        assert_eq!(schema["additionalProperties"], false);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let wrong = |change: fn(&mut KubeConfig)| {
            let mut config = KubeConfig {
                in_cluster: true,
                ..KubeConfig::default()
            };
            change(&mut config);
            config.check().expect_err("is refused").to_string()
        };
        let told = [
            wrong(|config| config.in_cluster = false),
            wrong(|config| config.kubeconfig = Some("/a".into())),
            wrong(|config| config.context = Some("a".to_owned())),
            wrong(|config| config.side_label = "a b".to_owned()),
            wrong(|config| config.field_manager = String::new()),
        ];
        assert_eq!(
            told,
            [
                "neither `kubeconfig` nor `in_cluster` says how the cluster is reached",
                "`kubeconfig` and `in_cluster` are two ways to one cluster",
                "`context` belongs to a kubeconfig, and `in_cluster` has none",
                "`side_label` is no name of a label",
                "`field_manager` has from 1 to 128 characters",
            ]
        );
    }
}
