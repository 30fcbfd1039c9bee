use serde_json::{Map, Value};

use super::{Redactor, named};

pub(super) fn redact(redactor: &Redactor, value: &mut Value) {
    walk(redactor, value, None);
}

/// `under` is the kind of secret that the nearest key promises.
fn walk(redactor: &Redactor, value: &mut Value, under: Option<&'static str>) {
    match value {
        Value::String(text) => redact_string(redactor, text, under),
        Value::Number(_) if under == Some(named::PASSWORD) => *value = Value::String(mark(named::PASSWORD)),
        Value::Array(items) => items.iter_mut().for_each(|item| walk(redactor, item, under)),
        Value::Object(fields) => walk_object(redactor, fields),
        _ => {}
    }
}

fn walk_object(redactor: &Redactor, fields: &mut Map<String, Value>) {
    let all_secret = fields.get("kind").and_then(Value::as_str) == Some("Secret");
    let named_by = ["name", "key", "label"]
        .into_iter()
        .find_map(|field| fields.get(field).and_then(Value::as_str).and_then(named::telling));
    for (key, value) in fields.iter_mut() {
        let under = match key.as_str() {
            "value" => named_by,
            "data" | "stringData" if all_secret => {
                if let Some(entries) = value.as_object_mut() {
                    entries
                        .values_mut()
                        .for_each(|entry| walk(redactor, entry, Some(named::SECRET)));
                }
                continue;
            }
            _ => named::telling(key),
        };
        walk(redactor, value, under);
    }
    if fields.keys().any(|key| redactor.redact(key) != key.as_str()) {
        let old = std::mem::take(fields);
        fields.extend(
            old.into_iter()
                .map(|(key, value)| (redactor.redact(&key).into_owned(), value)),
        );
    }
}

fn redact_string(redactor: &Redactor, text: &mut String, under: Option<&'static str>) {
    match under {
        Some(kind) if !named::is_placeholder(text) => *text = mark(kind),
        _ => {
            if let std::borrow::Cow::Owned(clean) = redactor.redact(text) {
                *text = clean;
            }
        }
    }
}

fn mark(kind: &str) -> String {
    format!("[redacted: {kind}]")
}
