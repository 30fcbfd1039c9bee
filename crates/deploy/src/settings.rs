//! A repository's `settings.environments`: where each environment runs, how it is checked and who must agree.

use std::collections::BTreeMap;

use domain::{DeployFrom, Error, Span, nearest};
use ports::Portion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checks::CheckSettings;
use crate::freeze::Freeze;
use crate::judge::{self, Check, Criticality, Risk};
use crate::strategy::{StepParam, StrategyName};

/// The environments of a repository, by name: its row's `settings.environments`.
pub type Environments = BTreeMap<String, Environment>;

/// One environment of a repository: a workload at a target, a flag, or both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend(
    "anyOf" = [{"required": ["target", "workload"]}, {"required": ["flag"]}],
    "dependentRequired" = {"target": ["workload"], "workload": ["target"], "router": ["target"], "container": ["target"]}
))]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Which connection reaches it, by the name that it has in the worker's configuration. Not needed where there is a `flag` alone.
    #[serde(default)]
    pub target: Option<String>,
    /// The workload's name at the target, in the target's way of naming: `shop/checkout`. Not needed where there is a `flag` alone.
    #[serde(default)]
    pub workload: Option<String>,
    /// Which part of the workload carries the version, where it has several.
    #[serde(default)]
    pub container: Option<String>,
    /// What parts the traffic, by its name at the target. Without one a canary's share is a matter of replicas.
    #[serde(default)]
    pub router: Option<String>,
    /// The flag that the strategy `feature_flag` rolls out.
    #[serde(default)]
    pub flag: Option<FlagSettings>,
    /// How many replicas the first deployment makes. What stands keeps its number.
    #[serde(default = "one")]
    pub replicas: u32,
    /// What must answer well from outside after each change.
    #[serde(default)]
    pub health: Vec<CheckSettings>,
    /// What must answer well on the new version before users get any of it: its own address, beside the stable one.
    #[serde(default)]
    pub smoke: Vec<CheckSettings>,
    #[serde(default)]
    pub analysis: Analysis,
    #[serde(default)]
    pub gates: Gates,
    /// When no deployment may start; its `time_zone` is the repository's `settings.time_zone` where it has none.
    #[serde(default)]
    pub freeze: Freeze,
    #[serde(default)]
    pub approval: ApprovalSettings,
    /// Which pipelines deploy to it by themselves when they pass; only who asks for it does when absent.
    #[serde(default)]
    pub from: Option<DeployFrom>,
    /// How a version is brought out when the task does not say; a `flag` alone is always rolled out by `feature_flag`.
    #[serde(default)]
    pub strategy: StrategyName,
    #[serde(default)]
    pub rolling: RollingSettings,
    #[serde(default)]
    pub blue_green: BlueGreenSettings,
    #[serde(default)]
    pub canary: StepSettings,
    #[serde(default)]
    pub feature_flag: StepSettings,
    #[serde(default)]
    pub rollback: RollbackSettings,
    /// What an older deployment does when a newer one to the same environment arrives.
    #[serde(default)]
    pub when_newer: WhenNewer,
    /// How long replicas may take to become ready without any progress.
    #[serde(default = "ten_minutes")]
    pub progress_deadline: Span,
    /// How long a finished deployment is watched, and rolled back if its measurements go bad. Not at all when `0s`.
    #[serde(default = "nothing")]
    pub watch: Span,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlagSettings {
    /// Which store of flags, by the name that it has in the worker's configuration.
    pub store: String,
    pub key: String,
    /// The store's own name for this environment.
    #[serde(default)]
    pub scope: Option<String>,
}

/// How measurements decide (docs/judging.md). Without metrics a step is judged by readiness, restarts and health checks alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Analysis {
    /// Which store of measurements, by the name that it has in the worker's configuration.
    pub source: String,
    pub metrics: Vec<Metric>,
    /// The shortest time that is judged.
    pub at_least: Span,
    /// How often the store collects: a window is read two of them after its end.
    pub scrape_interval: Span,
    /// How far the points of a window are apart, and what each is of; four scrapes when absent.
    pub interval: Option<Span>,
    /// How many points of a window a mean is made of at least, where it is held against `min` and `max`.
    pub minimum_samples: u32,
    /// Intervals with a value on both sides that a comparison needs at least, over all windows so far.
    pub min_points: u32,
    /// How often a step that is not settled is given another window before a person is asked.
    pub extensions: u32,
    /// Weights of groups of metrics, in percent; groups that are not named share what is left.
    pub groups: BTreeMap<String, f64>,
    /// The score (0 to 100) from which a canary passes.
    pub pass: f64,
    /// The score below which it fails; between the two it is not settled.
    pub marginal: f64,
    pub risk: Risk,
}

/// A measurement and what is well. In `query` and `requests`, `${side}` stands for `stable` or `candidate`, `${version}`
/// for the side's version, `${workload}` for the workload's name and `${interval}` for the seconds that a point is of:
/// `60s`. Each is answered with one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    pub name: String,
    /// Which store of measurements answers it, where that is not the analysis's `source`: one of logs, say.
    #[serde(default)]
    pub source: Option<String>,
    pub query: String,
    /// How many requests are behind each point, where the store knows: rates are judged by them.
    #[serde(default)]
    pub requests: Option<String>,
    /// How the candidate is held against the stable side. `error_rate` and `latency_pNN` have the usual comparison without
    /// it, any other is held against its limits.
    #[serde(default)]
    pub check: Option<Check>,
    /// Where there is nothing to compare with, a window's mean may not be above this.
    #[serde(default)]
    pub max: Option<f64>,
    /// Likewise, not below this.
    #[serde(default)]
    pub min: Option<f64>,
    /// The groups that it counts in; one of its own name when there is none.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Whether it fails a rollout by itself, counts in the score, or is only shown.
    #[serde(default = "critical")]
    pub criticality: Criticality,
}

/// What must be so before anything is touched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gates {
    /// The newest pipeline of the version's commit has passed.
    pub pipeline: bool,
    /// These environments run the version already: `["staging"]`.
    pub after: Vec<String>,
    /// These jobs of the commit's pipelines have passed, and none of them failed: `["sast", "container_scanning"]`.
    pub security_scan: Vec<String>,
    /// There is a version to go back to that the target still has.
    pub rollback_plan: Option<RollbackPlan>,
    /// The measurements that will judge it answer now.
    pub monitoring: bool,
    /// How many deployments there may be within 24 hours.
    pub deployments_per_day: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RollbackPlan {
    /// Always: the first deployment is not let through.
    Required,
    /// A first deployment, which has nothing to go back to, is let through.
    UnlessFirst,
}

/// What a rollback does beside bringing the good version back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackSettings {
    pub revert: Revert,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Revert {
    /// The code is left to people.
    #[default]
    None,
    /// Opens a merge request that takes back the commit that the bad version was made of.
    MergeRequest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalSettings {
    /// Whether a person must approve the plan; the repository's `autonomy_mode` decides when absent.
    pub required: Option<bool>,
    /// Who may; anybody who may approve at all when empty.
    pub approvers: Vec<String>,
    /// How long to wait for an answer before nothing is done.
    pub within: Span,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RollingSettings {
    /// How many replicas may be missing meanwhile: a number or a percentage.
    pub max_unavailable: Portion,
    /// How many there may be too many.
    pub max_surge: Portion,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BlueGreenSettings {
    /// Whether a person says when traffic is switched.
    pub switch_traffic: Switch,
    /// How long the old version stays ready behind the new one, to switch back at once.
    pub keep_warm: Span,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    Manual,
    #[default]
    Automatic,
}

/// The steps of a canary or of a flag: by `initial_percentage`, `increment` and `interval`, or one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StepSettings {
    pub initial_percentage: i64,
    pub increment: i64,
    pub interval: Span,
    /// Explicit steps, in place of the three above.
    pub steps: Option<Vec<StepParam>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenNewer {
    /// It goes on, and the newer one waits.
    #[default]
    Queue,
    /// It is undone, or not begun, and the newer one takes its place.
    Supersede,
}

fn one() -> u32 {
    1
}
fn ten_minutes() -> Span {
    Span::seconds(600)
}
fn nothing() -> Span {
    Span::seconds(0)
}
fn critical() -> Criticality {
    Criticality::Critical
}

impl Default for Analysis {
    fn default() -> Self {
        let judge::Analysis {
            groups,
            pass,
            marginal,
            risk,
            min_points,
            max_extensions,
            ..
        } = judge::Analysis::default();
        Self {
            source: "default".to_owned(),
            metrics: Vec::new(),
            at_least: Span::seconds(60),
            scrape_interval: Span::seconds(15),
            interval: None,
            minimum_samples: 4,
            min_points,
            extensions: max_extensions,
            groups,
            pass,
            marginal,
            risk,
        }
    }
}

impl Default for ApprovalSettings {
    fn default() -> Self {
        Self {
            required: None,
            approvers: Vec::new(),
            within: Span::seconds(24 * 60 * 60),
        }
    }
}

impl Default for RollingSettings {
    fn default() -> Self {
        Self {
            max_unavailable: Portion::Percent(25),
            max_surge: Portion::Percent(25),
        }
    }
}

impl Default for BlueGreenSettings {
    fn default() -> Self {
        Self {
            switch_traffic: Switch::Automatic,
            keep_warm: ten_minutes(),
        }
    }
}

impl Default for StepSettings {
    fn default() -> Self {
        Self {
            initial_percentage: 10,
            increment: 20,
            interval: Span::seconds(300),
            steps: None,
        }
    }
}

/// The JSON schema of `settings.environments`, for editors and for who writes settings by program.
pub fn settings_schema() -> Value {
    let mut schema = schemars::schema_for!(Environments).to_value();
    schema["title"] = "settings.environments of a repository".into();
    schema
}

/// All environments of a repository; the error says what does not fit in the first that cannot be used.
pub fn environments(settings: &Value, repo: &str) -> Result<Environments, Error> {
    let Some(all) = settings.get("environments") else {
        return Ok(Environments::new());
    };
    let Some(all) = all.as_object() else {
        return Err(
            Error::invalid(format!("settings.environments of {repo} is not a JSON object"))
                .next("Write it as {\"NAME\": {\"target\": …, \"workload\": …}}"),
        );
    };
    all.keys()
        .map(|name| Ok((name.clone(), environment(settings, repo, name)?)))
        .collect()
}

/// The settings of one environment of a repository.
pub(crate) fn environment(settings: &Value, repo: &str, name: &str) -> Result<Environment, Error> {
    let place = |of: &str| format!("settings.environments{of} of {repo}");
    let Some(all) = settings.get("environments").and_then(Value::as_object) else {
        return Err(Error::invalid(format!(
            "{} is not there, so nothing says where {name:?} runs",
            place("")
        ))
        .next("Describe the environment there; `longshore config schema` has the fields"));
    };
    let Some(own) = all.get(name) else {
        let names: Vec<&str> = all.keys().map(String::as_str).collect();
        let near = nearest(name, names.iter().copied());
        let near = near.map_or_else(|| ".".to_owned(), |near| format!("; did you mean {near:?}?"));
        return Err(Error::invalid(format!(
            "{repo} has no environment {name:?}{near} It has {}",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        ))
        .next("Name one of these, or describe the new one in the repository's settings"));
    };
    let mut read: Environment = Environment::deserialize(own).map_err(|error| {
        Error::invalid(format!("{} does not fit", place(&format!(".{name}"))))
            .because(&error)
            .next("Mend it in the repository's settings; `longshore config schema` has the fields")
    })?;
    if let Some(zone) = settings.get("time_zone").and_then(Value::as_str)
        && own.pointer("/freeze/time_zone").is_none()
    {
        zone.clone_into(&mut read.freeze.time_zone);
    }
    if read.is_flag_alone() && own.get("strategy").is_none() {
        read.strategy = StrategyName::FeatureFlag;
    }
    read.check().map_err(|what| {
        Error::invalid(format!("{} does not fit: {what}", place(&format!(".{name}"))))
            .next("Mend it in the repository's settings")
    })?;
    Ok(read)
}

impl Environment {
    /// What is brought out here, as people and the log call it: the workload, or else the flag.
    pub(crate) fn subject(&self) -> &str {
        let flag = self.flag.as_ref().map(|flag| flag.key.as_str());
        self.workload.as_deref().or(flag).unwrap_or_default()
    }

    /// Nothing runs here that a version could be brought to.
    pub(crate) fn is_flag_alone(&self) -> bool {
        self.target.is_none() && self.workload.is_none() && self.flag.is_some()
    }

    /// What is missing of where it runs, or is of no use without that.
    fn whereabouts(&self) -> Result<(), String> {
        let without =
            |what: &str| format!("{what} needs a `target` and a `workload`, and there is a `flag` alone");
        match (&self.target, &self.workload, &self.flag) {
            (None, None, None) => Err(
                "`target` and `workload` are missing, and there is no `flag` to roll out instead".to_owned(),
            ),
            (Some(_), None, _) => Err("`workload` is missing: what runs at the target".to_owned()),
            (None, Some(_), _) => Err("`target` is missing: where the workload runs".to_owned()),
            (None, None, Some(_)) => match (&self.router, &self.container, self.strategy) {
                (Some(_), _, _) => Err(without("`router`")),
                (_, Some(_), _) => Err(without("`container`")),
                (_, _, StrategyName::FeatureFlag) => Ok(()),
                (_, _, other) => Err(without(&format!("the strategy {other}"))),
            },
            (Some(_), Some(_), _) => Ok(()),
        }
    }

    /// What a type cannot say.
    fn check(&self) -> Result<(), String> {
        self.whereabouts()?;
        if let Some(problem) = self.check_problem() {
            return Err(problem);
        }
        if let Some(problem) = self.from.as_ref().and_then(DeployFrom::problem) {
            return Err(problem);
        }
        if let Some(problem) = self.analysis.problems().into_iter().next() {
            return Err(problem);
        }
        if let Some(problem) = self.never_judged() {
            return Err(problem);
        }
        self.freeze
            .calendar()
            .map_err(|error| format!("freeze: {error}"))?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
