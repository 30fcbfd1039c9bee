//! The payloads of `deploy` and `rollback`.

use std::collections::BTreeMap;

use domain::{Error, Span};
use ports::Portion;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::freeze::Override;
use crate::group;
use crate::instruction::{self, DEPLOY_FORMS, ROLLBACK_FORMS, shown};
use crate::settings::Switch;
use crate::strategy::{self, StepParam, StrategyName, Wishes};

/// The payload of a `deploy` task. `version` and `environment` say what and where, or an `instruction` does; what is
/// written in a field of its own goes before the instruction. The rest comes from the environment's settings.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeployParams {
    /// An image, a digest or a tag.
    pub version: Option<String>,
    /// One of the repository's environments.
    pub environment: Option<String>,
    /// `deploy v1.4.2 to staging with canary`.
    pub instruction: Option<String>,
    /// Answers the plan, and touches nothing.
    pub dry_run: bool,
    /// Lets it through a freeze, and is shown: who answers for it (`name`), and why (`reason`).
    pub override_freeze: Option<Override>,
    /// What the version was made from: a tag, a branch or a commit, when it is not the version's own name.
    pub commit: Option<String>,
    /// The branch that the commit was on, for the forge's record.
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,
    /// A tag that the version was made from: it must be one, and of `commit` where that is said too.
    pub tag: Option<String>,
    /// `rolling`, `blue_green`, `canary` or `feature_flag`; or an object of its `name` and parameters; or `group`.
    pub strategy: Option<StrategyName>,
    /// group: each service's `version`, what it comes `after`, the `repo` that describes it, and everything else that a
    /// deployment of its own may say.
    pub services: Option<BTreeMap<String, Value>>,
    /// rolling: how many replicas may be missing, a number or a percentage.
    pub max_unavailable: Option<Portion>,
    /// rolling: how many there may be too many.
    pub max_surge: Option<Portion>,
    /// blue_green: `manual` or `automatic`.
    pub switch_traffic: Option<Switch>,
    /// blue_green: how long the old version stays ready.
    #[serde(deserialize_with = "span")]
    pub keep_warm: Option<Span>,
    /// canary, feature_flag: what the first step gives to the new version.
    pub initial_percentage: Option<i64>,
    /// canary, feature_flag: what each further step adds.
    pub increment: Option<i64>,
    /// canary, feature_flag: how long a step stays before it is judged.
    #[serde(deserialize_with = "span")]
    pub interval: Option<Span>,
    /// canary, feature_flag: explicit steps in place of the three above.
    pub steps: Option<Vec<StepParam>>,
}

/// The payload of a `rollback` task: an `environment` and perhaps a `version`, or an `instruction`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RollbackParams {
    pub environment: Option<String>,
    /// Where to; the last good version when absent.
    pub version: Option<String>,
    /// `rollback staging to v1.4.1`.
    pub instruction: Option<String>,
    /// Why: it is kept as the cause against the version that is rolled back.
    pub reason: Option<String>,
    /// The incident that it is because of, by its name elsewhere: it is laid to the deployment of the version that is rolled
    /// back, once, beside whatever else was.
    pub incident: Option<String>,
    /// Whether to open a merge request that takes the code back; the environment's `rollback.revert` decides when absent.
    pub revert: Option<bool>,
    /// Answers the plan, and touches nothing.
    pub dry_run: bool,
}

/// What a `deploy` task asks for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DeployRequest {
    pub(crate) version: String,
    pub(crate) environment: String,
    pub(crate) wishes: Wishes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RollbackRequest {
    pub(crate) environment: String,
    pub(crate) version: Option<String>,
}

fn span<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Span>, D::Error> {
    use serde::de::Error as _;
    match Value::deserialize(from)? {
        Value::Null => Ok(None),
        value => strategy::span(&value).map(Some).map_err(D::Error::custom),
    }
}

impl DeployParams {
    /// Reads a payload. `strategy` may be an object of its `name` (or `type`) and its parameters.
    pub(crate) fn read(payload: &Value) -> Result<Self, Error> {
        let mut payload = payload.clone();
        if let Some(map) = payload.as_object_mut() {
            unfold(map)?;
            as_group(map)?;
        }
        let params: Self = durable::from_payload(&payload)?;
        match params.services {
            Some(_) => params.as_group()?,
            None => params.request().map(|_| ())?,
        }
        if let Some(by) = &params.override_freeze {
            for (what, text) in [("name", &by.name), ("reason", &by.reason)] {
                if text.trim().is_empty() {
                    return Err(Error::invalid(format!("payload.override_freeze.{what} is empty"))
                        .next("Say who answers for it and why: both are shown in the ticket"));
                }
            }
        }
        Ok(params)
    }

    /// What is said of a group is said of its services.
    fn as_group(&self) -> Result<(), Error> {
        group::members(self)?;
        let of_one = Self {
            version: None,
            environment: None,
            dry_run: false,
            override_freeze: None,
            services: None,
            ..self.clone()
        };
        match of_one == Self::default() {
            true => Ok(()),
            false => Err(Error::invalid(
                "the payload has parameters of one deployment beside its services",
            )
            .next("Beside `services` there may be `version`, `environment`, `dry_run` and `override_freeze`; write \
                   everything else into the service that it is meant for")),
        }
    }

    pub(crate) fn request(&self) -> Result<DeployRequest, Error> {
        let said = self.instruction.as_deref().map(instruction::deploy);
        let understood = said.clone().flatten();
        let version = named(&self.version).or_else(|| understood.as_ref().map(|said| said.version.clone()));
        let environment =
            named(&self.environment).or_else(|| understood.as_ref().map(|said| said.environment.clone()));
        let (Some(version), Some(environment)) = (version, environment) else {
            return Err(match (&self.instruction, said) {
                (Some(text), Some(None)) => Error::invalid(format!(
                    "payload.instruction {:?} is not understood",
                    shown(text)
                ))
                .next(format!("Which version goes where? Write it as {DEPLOY_FORMS}")),
                _ => Error::invalid(format!(
                    "the payload does not say {} to deploy",
                    if named(&self.version).is_none() { "which version" } else { "to which environment" }
                ))
                .next(format!(
                    "Send {{\"version\": \"v1.4.2\", \"environment\": \"staging\"}}, or an instruction: {DEPLOY_FORMS}"
                )),
            });
        };
        let strategy = match (self.strategy, understood.and_then(|said| said.strategy)) {
            (Some(strategy), _) => Some(strategy),
            (None, Some(text)) => Some(text.parse().map_err(|what: String| Error::invalid(what))?),
            (None, None) => None,
        };
        Ok(DeployRequest {
            version,
            environment,
            wishes: Wishes {
                strategy,
                max_unavailable: self.max_unavailable,
                max_surge: self.max_surge,
                switch_traffic: self.switch_traffic,
                keep_warm: self.keep_warm,
                initial_percentage: self.initial_percentage,
                increment: self.increment,
                interval: self.interval,
                steps: self.steps.clone(),
            },
        })
    }
}

/// `group` is no way of bringing one version out, so it is taken out of `strategy` where there are services.
fn as_group(payload: &mut Map<String, Value>) -> Result<(), Error> {
    let strategy = payload.get("strategy").and_then(Value::as_str).map(str::trim);
    let is_group = strategy.is_some_and(|strategy| strategy.eq_ignore_ascii_case("group"));
    let has_services = payload
        .get("services")
        .is_some_and(|services| !services.is_null());
    match (is_group, has_services, strategy) {
        (true, false, _) => Err(Error::invalid(
            "payload.strategy is group, and there are no payload.services",
        )
        .next(group::AN_EXAMPLE)),
        (false, true, Some(other)) => Err(Error::invalid(format!(
            "payload.services belong to the strategy group, not to {other}"
        ))
        .next("Write `strategy` into each service that is not to be brought out as its environment says")),
        (true, true, _) => {
            payload.remove("strategy");
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Moves the parameters of a strategy that is written as an object to where they stand otherwise.
fn unfold(payload: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(Value::Object(strategy)) = payload.get("strategy").cloned() else {
        return Ok(());
    };
    payload.remove("strategy");
    for (key, value) in strategy {
        let key = match key.as_str() {
            "name" | "type" | "kind" => "strategy".to_owned(),
            _ => key,
        };
        if payload.get(&key).is_some_and(|given| *given != value) {
            return Err(Error::invalid(format!(
                "payload.{key} and payload.strategy.{key} say different things"
            ))
            .next("Write it in one place"));
        }
        payload.insert(key, value);
    }
    Ok(())
}

impl RollbackParams {
    pub(crate) fn read(payload: &Value) -> Result<Self, Error> {
        let params: Self = durable::from_payload(payload)?;
        params.request()?;
        Ok(params)
    }

    pub(crate) fn request(&self) -> Result<RollbackRequest, Error> {
        let understood = self.instruction.as_deref().map(instruction::rollback);
        let said = understood.clone().flatten();
        let environment =
            named(&self.environment).or_else(|| said.as_ref().map(|said| said.environment.clone()));
        let Some(environment) = environment else {
            return Err(match (&self.instruction, understood) {
                (Some(text), Some(None)) => {
                    Error::invalid(format!("payload.instruction {:?} is not understood", shown(text)))
                        .next(format!("What is to be rolled back? Write it as {ROLLBACK_FORMS}"))
                }
                _ => Error::invalid("the payload does not say which environment to roll back").next(format!(
                    "Send {{\"environment\": \"staging\"}}, or an instruction: {ROLLBACK_FORMS}"
                )),
            });
        };
        Ok(RollbackRequest {
            environment,
            version: named(&self.version).or_else(|| said.and_then(|said| said.version)),
        })
    }
}

fn named(text: &Option<String>) -> Option<String> {
    let text = text.as_deref()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn deploy(payload: Value) -> Result<DeployRequest, String> {
        let read = DeployParams::read(&payload).and_then(|params| params.request());
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_structured_goes_before_the_instruction() {
        let request =
            deploy(json!({"version": "v2", "instruction": "deploy v1 to staging with canary"})).unwrap();
        assert_eq!(
            (request.version.as_str(), request.environment.as_str()),
            ("v2", "staging")
        );
        assert_eq!(request.wishes.strategy, Some(StrategyName::Canary));
        let request = deploy(json!({
            "version": "v2", "environment": "qa", "strategy": "rolling", "instruction": "do what is right"}));
        assert_eq!(request.unwrap().wishes.strategy, Some(StrategyName::Rolling));
    }

    #[test]
    fn a_strategy_may_be_an_object_of_its_parameters() {
        let request = deploy(json!({"version": "v2", "environment": "qa",
            "strategy": {"type": "canary", "initial_percentage": 5, "interval": 90}}));
        let wishes = request.unwrap().wishes;
        assert_eq!(wishes.strategy, Some(StrategyName::Canary));
        assert_eq!(
            (wishes.initial_percentage, wishes.interval),
            (Some(5), Some(Span::seconds(90)))
        );
        let error = deploy(json!({"version": "v2", "environment": "qa", "increment": 9,
            "strategy": {"name": "canary", "increment": 5}}));
        assert!(error.unwrap_err().contains("say different things"));
    }

    #[test]
    fn what_is_not_understood_is_asked_for() {
        for (payload, words) in [
            (json!({}), "which version"),
            (json!({"version": "v1"}), "to which environment"),
            (json!({"version": " ", "environment": "qa"}), "which version"),
            (json!({"instruction": "ship it"}), "\"ship it\" is not understood"),
            (
                json!({"instruction": "deploy v1 to qa with magic"}),
                "there is no strategy \"magic\"; there are rolling",
            ),
            (
                json!({"version": "v1", "environment": "qa", "override_freeze": {"name": "ada", "reason": " "}}),
                "payload.override_freeze.reason is empty",
            ),
            (
                json!({"version": "v1", "environment": "qa", "strategy": "canari"}),
                "payload.strategy does not fit: there is no strategy \"canari\"; did you mean canary?",
            ),
            (
                json!({"version": "v1", "environment": "qa", "interval": "soon"}),
                "\"soon\" is not a length of time",
            ),
            (
                json!({"version": "v1", "environment": "qa", "max_surge": "150%"}),
                "payload.max_surge does not fit: \"150%\" is not a number of replicas",
            ),
        ] {
            let error = deploy(payload).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_rollback_names_its_environment_and_perhaps_a_version() {
        let read = |payload: Value| {
            RollbackParams::read(&payload)
                .and_then(|params| params.request())
                .map(|request| (request.environment, request.version))
                .map_err(|error| error.to_string())
        };
        let staging = |version: Option<&str>| Ok(("staging".to_owned(), version.map(str::to_owned)));
        assert_eq!(read(json!({"environment": "staging"})), staging(None));
        assert_eq!(
            read(json!({"instruction": "rollback staging to v1"})),
            staging(Some("v1"))
        );
        for both in [
            json!({"environment": "staging", "instruction": "rollback staging to v1"}),
            json!({"environment": "staging", "version": "v1", "instruction": "rollback prod to v0"}),
        ] {
            assert_eq!(read(both), staging(Some("v1")), "field by field");
        }
        assert_eq!(
            read(json!({"environment": "staging", "instruction": "undo it"})),
            staging(None)
        );
        assert!(read(json!({})).unwrap_err().contains("which environment"));
        assert!(
            read(json!({"instruction": "undo it"}))
                .unwrap_err()
                .contains("`rollback ENV`")
        );
    }
}
