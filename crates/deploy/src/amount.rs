use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use ports::Portion;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// So many replicas, or so many of a hundred: `2`, `"25%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(pub Portion);

impl Amount {
    pub const fn percent(percent: u32) -> Self {
        Self(Portion::Percent(percent))
    }

    pub(crate) fn is_zero(self) -> bool {
        matches!(self.0, Portion::Replicas(0) | Portion::Percent(0))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Portion::Replicas(replicas) => write!(f, "{replicas}"),
            Portion::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong =
            || format!("{text:?} is not a number of replicas like 2 nor a percentage from 0% to 100%");
        match text.trim().strip_suffix('%') {
            Some(percent) => match percent.trim().parse() {
                Ok(percent @ 0..=100) => Ok(Self(Portion::Percent(percent))),
                _ => Err(wrong()),
            },
            None => match text.trim().parse() {
                Ok(replicas) => Ok(Self(Portion::Replicas(replicas))),
                Err(_) => Err(wrong()),
            },
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Portion::Replicas(replicas) => to.serialize_u32(replicas),
            Portion::Percent(_) => to.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(from)? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
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
        let read = |value: Value| serde_json::from_value::<Amount>(value).map_err(|error| error.to_string());
        assert_eq!(read(json!("25%")), Ok(Amount::percent(25)));
        assert_eq!(read(json!(2)), Ok(Amount(Portion::Replicas(2))));
        assert_eq!(read(json!("2")), Ok(Amount(Portion::Replicas(2))));
        for wrong in [json!("125%"), json!(-1), json!("some"), json!(2.5), json!(null)] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains("from 0% to 100%"), "{error}");
        }
        for text in ["25%", "3"] {
            assert_eq!(text.parse::<Amount>().unwrap().to_string(), text);
        }
    }
}
