use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// So many replicas, or so many of a hundred: `2`, `"25%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    Replicas(u32),
    Percent(u32),
}

impl Portion {
    pub fn is_zero(self) -> bool {
        matches!(self, Self::Replicas(0) | Self::Percent(0))
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replicas(replicas) => write!(f, "{replicas}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("{text:?} is not a number of replicas like 2 nor a percentage from 0% to 100%");
        match text.trim().strip_suffix('%') {
            Some(percent) => match percent.trim().parse() {
                Ok(percent @ 0..=100) => Ok(Self::Percent(percent)),
                _ => Err(wrong()),
            },
            None => match text.trim().parse() {
                Ok(replicas) => Ok(Self::Replicas(replicas)),
                Err(_) => Err(wrong()),
            },
        }
    }
}

impl Serialize for Portion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Replicas(replicas) => to.serialize_u32(*replicas),
            Self::Percent(_) => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Portion {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(from)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Portion {
    fn schema_name() -> Cow<'static, str> {
        "Portion".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of replicas, or a percentage of them: 2, \"25%\"",
            "type": ["integer", "string"],
            "minimum": 0,
            "pattern": "^\\s*[0-9]+\\s*%?\\s*$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_percentages_are_read_and_the_rest_is_told() {
        let read = |value: Value| serde_json::from_value::<Portion>(value).map_err(|error| error.to_string());
        assert_eq!(read(json!("25%")), Ok(Portion::Percent(25)));
        assert_eq!(read(json!(2)), Ok(Portion::Replicas(2)));
        assert_eq!(read(json!("2")), Ok(Portion::Replicas(2)));
        for wrong in [json!("125%"), json!(-1), json!("some"), json!(2.5), json!(null)] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("from 0% to 100%"), "{error}");
        }
        for text in ["25%", "3"] {
            assert_eq!(text.parse::<Portion>().unwrap().to_string(), text);
        }
    }
}
