use std::collections::BTreeMap;
use std::time::Duration;

use domain::Error;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `fix_build` may do by itself. A repository's `settings.fix_build` overrides any of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who mends code, and by which type of task.
    pub builder: String,
    pub builder_task: String,
    /// Retries within one pipeline, and within a day for the whole repository.
    pub retries_per_pipeline: u32,
    pub retries_per_day: u32,
    /// How sure (0 to 1) a diagnosis must be before a job is run again or code is handed to the builder.
    pub sure_enough: f64,
    /// How long to wait, in seconds, before a retry that a quota has to refill for.
    pub quota_wait_s: u64,
    /// How many failed jobs of a pipeline are read.
    pub jobs: usize,
    /// Ticket labels by diagnosed class.
    pub labels: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            builder: "builder".to_owned(),
            builder_task: "implement_fix".to_owned(),
            retries_per_pipeline: 3,
            retries_per_day: 30,
            sure_enough: 0.6,
            quota_wait_s: 600,
            jobs: 20,
            labels: BTreeMap::new(),
        }
    }
}

/// How long a failure that one pipeline's task acts on is left alone by the tasks of others.
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Config {
    /// This configuration with what the repository's settings say under `fix_build`.
    pub fn with_settings(&self, settings: &Value) -> Result<Self, Error> {
        let Some(own) = settings.get("fix_build").and_then(Value::as_object) else {
            return Ok(self.clone());
        };
        let broken = |error: &dyn std::error::Error| {
            Error::invalid("the repository's settings.fix_build does not fit")
                .because(error)
                .next("Mend it with `longshore repos`, or take it out to use the defaults")
        };
        let mut merged = serde_json::to_value(self).map_err(|error| broken(&error))?;
        if let Some(merged) = merged.as_object_mut() {
            merged.extend(own.clone());
        }
        serde_json::from_value(merged).map_err(|error| broken(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_repository_overrides_what_it_names_and_a_wrong_key_is_told() {
        let config = Config::default()
            .with_settings(&json!({"fix_build": {"retries_per_day": 1}}))
            .unwrap();
        assert_eq!((config.retries_per_day, config.builder.as_str()), (1, "builder"));
        let error = Config::default()
            .with_settings(&json!({"fix_build": {"retrys": 1}}))
            .unwrap_err();
        assert!(error.to_string().contains("unknown field `retrys`"), "{error}");
    }
}
