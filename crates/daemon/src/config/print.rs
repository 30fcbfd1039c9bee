//! `config print`: the effective configuration, secrets masked, each line with where it comes from.

use serde::Serialize;
use serde_json::Value;

use super::{Loaded, Origin, join, split, variable};

/// One key of the effective configuration.
#[derive(Debug, Serialize)]
pub struct Line {
    pub key: String,
    /// Null where nothing is set and there is no default.
    pub value: Value,
    pub from: String,
    /// The environment variable that would set it. A name in quotes has none.
    pub env: Option<String>,
}

impl Loaded {
    /// Every key with its value, in the order of the file's sections.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        // Serialising masks secrets; they are never turned into text here.
        if let Ok(tree) = serde_json::to_value(&self.settings) {
            self.collect("", &tree, &mut lines);
        }
        // A table's own keys before its sub-tables', as TOML wants them.
        lines.sort_by(|a, b| split(&a.key).cmp(&split(&b.key)));
        lines
    }

    fn collect(&self, prefix: &str, value: &Value, into: &mut Vec<Line>) {
        if let Value::Object(fields) = value {
            for (name, field) in fields {
                self.collect(&join(prefix, name), field, into);
            }
            return;
        }
        let origin = self.origin(prefix);
        let settable = self.given(prefix).unwrap_or(prefix);
        into.push(Line {
            key: prefix.to_owned(),
            value: value.clone(),
            from: match (&origin, value) {
                (Origin::Default, Value::Null) => "not set".to_owned(),
                _ => origin.to_string(),
            },
            env: (!settable.ends_with('"')).then(|| variable(settable)),
        });
    }

    /// As TOML with a comment on each line; what is not set is commented out.
    pub fn to_toml(&self) -> String {
        let lines = self.lines();
        let mut text = String::new();
        let mut section = "";
        for line in &lines {
            let (table, name) = split(&line.key);
            let name = join("", &name);
            if table != section {
                text.push_str(&format!("{}[{table}]\n", if text.is_empty() { "" } else { "\n" }));
                section = table;
            }
            let assignment = match &line.value {
                Value::Null => format!("# {name} ="),
                // JSON's strings, numbers, booleans and arrays of them are TOML's too, but for one letter.
                value => format!("{name} = {}", value.to_string().replace('\u{7f}', "\\u007f")),
            };
            text.push_str(&format!("{assignment:<40} # {}\n", line.from));
        }
        text
    }
}
