//! `config schema`: the configuration file as JSON Schema, made from the settings' own types and defaults, with the
//! explanations of `config/longshore.toml`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Settings;

const FILE: &str = include_str!("../../../../config/longshore.toml");

/// JSON Schema 2020-12 of the file.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Settings).to_value();
    schema["title"] = "longshore.toml".into();
    schema["description"] =
        "The configuration of longshore; docs/configuration.md says how its parts work together".into();
    let said = explanations(FILE);
    let sections: Vec<(String, String)> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(section, at)| {
            Some((
                section.clone(),
                at["$ref"].as_str()?.rsplit('/').next()?.to_owned(),
            ))
        })
        .collect();
    for (section, definition) in sections {
        let Some(keys) = schema["$defs"][&definition]["properties"].as_object_mut() else {
            continue;
        };
        for (key, of) in keys {
            if let Some(text) = said.get(&format!("{section}.{key}")) {
                of["description"] = text.clone().into();
            }
        }
    }
    schema
}

/// The comment above each key, and above each table.
fn explanations(file: &str) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    let (mut section, mut comment) = (String::new(), Vec::new());
    for line in file.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
        } else if let Some(table) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = table.to_owned();
            if !comment.is_empty() {
                said.insert(section.clone(), comment.join(" "));
            }
            comment.clear();
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") {
            if !comment.is_empty() {
                said.insert(format!("{section}.{key}"), comment.join(" "));
            }
            comment.clear();
        } else if line.is_empty() {
            comment.clear();
        }
    }
    said
}
