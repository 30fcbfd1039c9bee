use domain::Error;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a payload as `P`. The error names the field that does not fit and shows which fields there are.
pub fn from_payload<P: DeserializeOwned + JsonSchema>(payload: &Value) -> Result<P, Error> {
    serde_path_to_error::deserialize(payload).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." {
            "payload".to_owned()
        } else {
            format!("payload.{path}")
        };
        Error::invalid(format!("{field} does not fit: {}", error.into_inner()))
            .next(format!("The payload's fields are {}", fields::<P>()))
    })
}

/// `pipeline (object), log (string), …`, required ones marked.
fn fields<P: JsonSchema>() -> String {
    let schema = schemars::schema_for!(P);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return "described in the documentation of its task type".to_owned();
    };
    let named: Vec<String> = properties
        .iter()
        .map(|(name, property)| {
            let kind = match property.get("type") {
                Some(Value::String(kind)) => kind.clone(),
                Some(Value::Array(kinds)) => kinds
                    .iter()
                    .filter_map(Value::as_str)
                    .filter(|kind| *kind != "null")
                    .collect::<Vec<_>>()
                    .join(" or "),
                _ => "object".to_owned(),
            };
            let must = if required.contains(&name.as_str()) {
                ", required"
            } else {
                ""
            };
            format!("{name} ({kind}{must})")
        })
        .collect();
    named.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Params {
        #[expect(dead_code)]
        pipeline: u64,
        #[expect(dead_code)]
        log: Option<String>,
    }

    #[test]
    fn a_payload_that_does_not_fit_names_the_field_and_shows_what_would_be_right() {
        let error = from_payload::<Params>(&json!({"pipeline": "seven"})).unwrap_err();
        assert_eq!(
            error.to_string(),
            "payload.pipeline does not fit: invalid type: string \"seven\", expected u64. \
             The payload's fields are log (string), pipeline (integer, required)"
        );
    }
}
