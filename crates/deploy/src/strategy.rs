//! How a version is brought out: the strategies' names, their parameters, and what follows from both.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use domain::{Error, Span, nearest};
use ports::{Pace, Portion};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use crate::settings::{Environment, StepSettings, Switch};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StrategyName {
    #[default]
    Rolling,
    BlueGreen,
    Canary,
    FeatureFlag,
}

impl StrategyName {
    pub const ALL: [Self; 4] = [Self::Rolling, Self::BlueGreen, Self::Canary, Self::FeatureFlag];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "blue_green",
            Self::Canary => "canary",
            Self::FeatureFlag => "feature_flag",
        }
    }
}

impl fmt::Display for StrategyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for StrategyName {
    type Err = String;

    /// Hyphens and spaces are as good as underscores.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.trim().to_lowercase().replace(['-', ' '], "_");
        match plain.as_str() {
            "rolling" | "rolling_update" => return Ok(Self::Rolling),
            "blue_green" | "bluegreen" => return Ok(Self::BlueGreen),
            "canary" => return Ok(Self::Canary),
            "feature_flag" | "flag" => return Ok(Self::FeatureFlag),
            _ => {}
        }
        let names = Self::ALL.map(Self::as_str);
        let near = nearest(&plain, names).map_or_else(
            || format!("there are {}", names.join(", ")),
            |near| format!("did you mean {near}? There are {}", names.join(", ")),
        );
        Err(format!("there is no strategy {text:?}; {near}"))
    }
}

impl Serialize for StrategyName {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for StrategyName {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for StrategyName {
    fn schema_name() -> Cow<'static, str> {
        "StrategyName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(Self::as_str) })
    }
}

/// One explicit step, as it is written: `{"set_weight": 20}`, `{"pause": "10m"}`, `{"pause": {}}` until a person says
/// to go on, `{"analyse": {}}`, `{"set_scale": 3}`.
#[derive(Clone, Debug, PartialEq)]
pub enum StepParam {
    SetWeight(i64),
    Pause(Option<Span>),
    Analyse,
    SetScale(u32),
}

impl Serialize for StepParam {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let written = match self {
            Self::SetWeight(weight) => json!({ "set_weight": weight }),
            Self::Pause(Some(span)) => json!({ "pause": span }),
            Self::Pause(None) => json!({ "pause": {} }),
            Self::Analyse => json!({ "analyse": {} }),
            Self::SetScale(replicas) => json!({ "set_scale": replicas }),
        };
        written.serialize(to)
    }
}

impl<'de> Deserialize<'de> for StepParam {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let written = Value::deserialize(from)?;
        read_step(&written).map_err(D::Error::custom)
    }
}

fn read_step(written: &Value) -> Result<StepParam, String> {
    const FORMS: &str = "a step is one of {\"set_weight\": 20}, {\"pause\": \"10m\"}, {\"pause\": {}}, \
                         {\"analyse\": {}} and {\"set_scale\": 3}";
    let one = match written {
        Value::String(name) => Some((name.as_str(), &Value::Null)),
        Value::Object(map) if map.len() == 1 => map.iter().next().map(|(name, value)| (name.as_str(), value)),
        _ => None,
    };
    let wrong = || format!("{written} is no step; {FORMS}");
    let (name, value) = one.ok_or_else(wrong)?;
    let is_empty = value.is_null() || value.as_object().is_some_and(|map| map.is_empty());
    match name {
        "set_weight" => value.as_i64().map(StepParam::SetWeight).ok_or_else(wrong),
        "pause" if is_empty => Ok(StepParam::Pause(None)),
        "pause" => {
            let span = span(value.get("duration").unwrap_or(value))?;
            Ok(StepParam::Pause(Some(span)))
        }
        "analyse" | "analyze" | "analysis" if is_empty => Ok(StepParam::Analyse),
        "set_scale" => value
            .as_u64()
            .and_then(|replicas| u32::try_from(replicas).ok())
            .filter(|replicas| *replicas > 0)
            .map(StepParam::SetScale)
            .ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// A length of time in its usual form, or a number of seconds.
pub(crate) fn span(value: &Value) -> Result<Span, String> {
    match value {
        Value::Number(seconds) if seconds.is_u64() => Ok(Span::seconds(seconds.as_u64().unwrap_or_default())),
        Value::String(text) => text
            .parse()
            .map_err(|error: domain::ParseSpanError| error.to_string()),
        other => Err(format!(
            "{other} is not a length of time; write it like \"15s\", \"5m\" or \"1h30m\""
        )),
    }
}

impl JsonSchema for StepParam {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let span = generator.subschema_for::<Span>();
        json_schema!({
            "description": "One step: what the candidate gets, how long to wait (until a person says so when empty), \
                            a judgement, or the candidate's number of replicas",
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": false,
            "properties": {
                "set_weight": { "type": "integer", "minimum": 0, "maximum": 100 },
                "pause": { "anyOf": [span, { "type": "object", "maxProperties": 0 }, { "type": "null" }] },
                "analyse": { "type": ["object", "null"], "maxProperties": 0 },
                "set_scale": { "type": "integer", "minimum": 1 },
            },
        })
    }
}

/// What a task says of its strategy. Everything that it leaves out comes from the environment's settings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    pub strategy: Option<StrategyName>,
    pub max_unavailable: Option<Portion>,
    pub max_surge: Option<Portion>,
    pub switch_traffic: Option<Switch>,
    pub keep_warm: Option<Span>,
    pub initial_percentage: Option<i64>,
    pub increment: Option<i64>,
    pub interval: Option<Span>,
    pub steps: Option<Vec<StepParam>>,
}

/// A strategy with all its parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "strategy", rename_all = "snake_case")]
pub enum Strategy {
    Rolling { pace: Pace },
    BlueGreen { switch: Switch, keep_warm: Span },
    Canary { steps: Vec<Step> },
    FeatureFlag { steps: Vec<Step> },
}

/// One step of a canary or a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// So many of a hundred get the new version.
    SetWeight(u32),
    Pause(Span),
    /// Until a person says to go on.
    Ask,
    /// Judges the time since the last change of weight.
    Analyse,
    SetScale(u32),
}

impl Strategy {
    pub fn name(&self) -> StrategyName {
        match self {
            Self::Rolling { .. } => StrategyName::Rolling,
            Self::BlueGreen { .. } => StrategyName::BlueGreen,
            Self::Canary { .. } => StrategyName::Canary,
            Self::FeatureFlag { .. } => StrategyName::FeatureFlag,
        }
    }

    /// What the task wishes, with the environment's settings for the rest.
    pub(crate) fn of(environment: &Environment, wishes: &Wishes) -> Result<Self, Error> {
        let name = wishes.strategy.unwrap_or(environment.strategy);
        wishes.fit(name)?;
        match name {
            StrategyName::Rolling => {
                let settings = &environment.rolling;
                let max_unavailable = wishes.max_unavailable.unwrap_or(settings.max_unavailable);
                let max_surge = wishes.max_surge.unwrap_or(settings.max_surge);
                if max_unavailable.is_zero() && max_surge.is_zero() {
                    return Err(Error::invalid(
                        "max_unavailable and max_surge are both nothing, so no replica could ever be replaced",
                    )
                    .next("Give one of them at least 1"));
                }
                Ok(Self::Rolling {
                    pace: Pace {
                        max_unavailable,
                        max_surge,
                    },
                })
            }
            StrategyName::BlueGreen => Ok(Self::BlueGreen {
                switch: wishes
                    .switch_traffic
                    .unwrap_or(environment.blue_green.switch_traffic),
                keep_warm: wishes.keep_warm.unwrap_or(environment.blue_green.keep_warm),
            }),
            StrategyName::Canary => Ok(Self::Canary {
                steps: wishes.steps(&environment.canary)?,
            }),
            StrategyName::FeatureFlag => {
                let steps = wishes.steps(&environment.feature_flag)?;
                if steps.iter().any(|step| matches!(step, Step::SetScale(_))) {
                    return Err(Error::invalid(
                        "a step sets the scale, but a feature flag has no replicas",
                    ));
                }
                Ok(Self::FeatureFlag { steps })
            }
        }
    }
}

impl Wishes {
    /// Parameters of another strategy than the chosen one would be silently without effect.
    fn fit(&self, name: StrategyName) -> Result<(), Error> {
        let stepped = "canary or feature_flag";
        let given = [
            ("max_unavailable", self.max_unavailable.is_some(), "rolling"),
            ("max_surge", self.max_surge.is_some(), "rolling"),
            ("switch_traffic", self.switch_traffic.is_some(), "blue_green"),
            ("keep_warm", self.keep_warm.is_some(), "blue_green"),
            ("initial_percentage", self.initial_percentage.is_some(), stepped),
            ("increment", self.increment.is_some(), stepped),
            ("interval", self.interval.is_some(), stepped),
            ("steps", self.steps.is_some(), stepped),
        ];
        for (parameter, is_given, of) in given {
            if is_given && !of.split(" or ").any(|of| of == name.as_str()) {
                return Err(Error::invalid(format!(
                    "{parameter} belongs to the strategy {of}, but this deployment's is {name}"
                ))
                .next(format!("Leave {parameter} out, or set \"strategy\" to {of}")));
            }
        }
        let by_numbers = [
            ("initial_percentage", self.initial_percentage.is_some()),
            ("increment", self.increment.is_some()),
            ("interval", self.interval.is_some()),
        ];
        if self.steps.is_some()
            && let Some((parameter, _)) = by_numbers.iter().find(|(_, is_given)| *is_given)
        {
            return Err(Error::invalid(format!(
                "steps and {parameter} are both given, and each says what the steps are"
            ))
            .next(format!("Leave out {parameter}, or the explicit steps")));
        }
        Ok(())
    }

    fn steps(&self, settings: &StepSettings) -> Result<Vec<Step>, Error> {
        let by_numbers =
            self.initial_percentage.is_some() || self.increment.is_some() || self.interval.is_some();
        match (&self.steps, &settings.steps) {
            (Some(steps), _) => explicit(steps),
            (None, Some(steps)) if !by_numbers => explicit(steps),
            _ => {
                let first = percentage(
                    "initial_percentage",
                    self.initial_percentage.unwrap_or(settings.initial_percentage),
                )?;
                let increment = percentage("increment", self.increment.unwrap_or(settings.increment))?;
                let interval = self.interval.unwrap_or(settings.interval);
                if first == 0 || increment == 0 {
                    return Err(Error::invalid(
                        "initial_percentage and increment must be at least 1: with 0 it would never get on",
                    ));
                }
                let weights = (first..100).step_by(usize::try_from(increment).unwrap_or(1));
                let weights = weights.chain((first == 100).then_some(100));
                Ok(weights
                    .flat_map(|weight| [Step::SetWeight(weight), Step::Pause(interval), Step::Analyse])
                    .collect())
            }
        }
    }
}

fn percentage(name: &str, value: i64) -> Result<u32, Error> {
    match u32::try_from(value) {
        Ok(percent @ 0..=100) => Ok(percent),
        _ => Err(Error::invalid(format!(
            "{name} is {value}, which is no percentage: it goes from 0 to 100"
        ))),
    }
}

fn explicit(written: &[StepParam]) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::with_capacity(written.len());
    let mut weight = 0;
    for (place, step) in written.iter().enumerate() {
        let step = match step {
            StepParam::SetWeight(percent) => {
                let next = percentage(&format!("steps[{place}].set_weight"), *percent)?;
                if next < weight {
                    return Err(Error::invalid(format!(
                        "steps[{place}] sets the weight to {next} after {weight}: steps go up only"
                    ))
                    .next("Going back is a rollback: it happens by itself when a judgement fails"));
                }
                weight = next;
                Step::SetWeight(next)
            }
            StepParam::Pause(Some(span)) => Step::Pause(*span),
            StepParam::Pause(None) => Step::Ask,
            StepParam::Analyse if weight == 0 => {
                return Err(Error::invalid(format!(
                    "steps[{place}] analyses before any weight is set, when there is nothing to judge"
                )));
            }
            StepParam::Analyse => Step::Analyse,
            StepParam::SetScale(replicas) => Step::SetScale(*replicas),
        };
        steps.push(step);
    }
    if weight == 0 {
        return Err(
            Error::invalid("no step sets a weight above 0, so nothing would be tried")
                .next("Begin with {\"set_weight\": 10}"),
        );
    }
    Ok(steps)
}

#[cfg(test)]
#[path = "strategy_tests.rs"]
mod tests;
