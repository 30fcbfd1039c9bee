//! What is said of a task that cannot be run as it was put into the table.

use domain::{Error, Repo};
use serde_json::Value;

use crate::json::{Stored, Unreadable};

pub(super) fn unknown_repo(id: String) -> Error {
    Error::invalid(format!("repo_id {id:?} is not in the table repos"))
        .next("Register it with `longshore repos add`, or name a registered one (`longshore repos list`)")
}

/// Settings that other programs wrote by hand and that no handler could read.
pub(super) fn settings(repo: &Repo) -> Option<Error> {
    let wrong = match &repo.settings {
        Value::Null | Value::Object(_) => return None,
        Value::String(text) => format!("a string ({})", text.chars().take(200).collect::<String>()),
        other => kind_of(other).to_owned(),
    };
    Some(
        Error::invalid(format!(
            "settings of repo {:?} is {wrong} where an object is needed",
            repo.id
        ))
        .next("Mend them, for example with `longshore repos add`, and send the task again"),
    )
}

pub(super) fn payload(payload: &Stored, max_depth: usize) -> Option<Error> {
    let payload = match payload {
        Ok(payload) => payload.as_ref().unwrap_or(&Value::Null),
        Err(Unreadable::TooDeep) => return Some(too_deep(max_depth)),
        Err(Unreadable::Other(why)) => {
            return Some(
                Error::invalid(format!("payload cannot be read: {why}"))
                    .next("Send numbers that a 64-bit float can hold; put larger ones into strings"),
            );
        }
    };
    match payload {
        Value::Object(_) => {
            let mut level: Vec<&Value> = vec![payload];
            for _ in 0..max_depth {
                level = level.into_iter().flat_map(children).collect();
                if level.is_empty() {
                    return None;
                }
            }
            Some(too_deep(max_depth))
        }
        other => Some(
            Error::invalid(format!("payload is {} where an object is needed", kind_of(other)))
                .next(r#"Send an object such as {"instruction": "fix pipeline 4711"}"#),
        ),
    }
}

fn too_deep(max_depth: usize) -> Error {
    Error::invalid(format!("payload is nested deeper than {max_depth} levels"))
        .next("Flatten it, or put the deep part into a string")
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
