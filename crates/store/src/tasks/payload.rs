use domain::{Error, Result};
use serde_json::Value;

/// The most that a payload may have, as JSON text in UTF-8.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// How deep objects and arrays may stand in one another.
pub const MAX_PAYLOAD_DEPTH: usize = 64;

/// Whether a payload can be stored and worked on; an error names the place and says what would be right.
pub fn check_payload(payload: &Value) -> Result<()> {
    if !payload.is_object() {
        return Err(Error::invalid("`payload` is not a JSON object")
            .next("Send an object, such as {\"instruction\": \"deploy v1.4.2 to staging\"}"));
    }
    if let Some(path) = nul_in(payload) {
        return Err(Error::invalid(format!(
            "`{path}` holds a NUL character, which Postgres cannot store"
        ))
        .next("Remove it, or send the data encoded as base64"));
    }
    if depth(payload) > MAX_PAYLOAD_DEPTH {
        return Err(Error::invalid(format!(
            "`payload` is nested deeper than {MAX_PAYLOAD_DEPTH} levels"
        ))
        .next("Send the inner part as text, or a link to it"));
    }
    let bytes = serde_json::to_vec(payload).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_PAYLOAD_BYTES {
        Err(too_large(Some(bytes)))
    } else {
        Ok(())
    }
}

pub(super) fn too_large(bytes: Option<usize>) -> Error {
    let size = bytes.map_or_else(String::new, |bytes| format!(" ({bytes} bytes)"));
    Error::invalid(format!("`payload` is larger than 1 MiB of JSON{size}"))
        .next("Send a link to what is large, or the end of the log")
}

fn depth(value: &Value) -> usize {
    let mut deepest = 0;
    let mut todo = vec![(value, 1)];
    while let Some((value, level)) = todo.pop() {
        match value {
            Value::Array(items) => todo.extend(items.iter().map(|item| (item, level + 1))),
            Value::Object(map) => todo.extend(map.values().map(|item| (item, level + 1))),
            _ => continue,
        }
        deepest = deepest.max(level);
    }
    deepest
}

/// The place of the first string or key with a NUL in it.
fn nul_in(payload: &Value) -> Option<String> {
    let mut todo = vec![(payload, "payload".to_owned())];
    while let Some((value, path)) = todo.pop() {
        match value {
            Value::String(text) if text.contains('\0') => return Some(path),
            Value::Array(items) => {
                todo.extend(
                    items
                        .iter()
                        .enumerate()
                        .map(|(i, item)| (item, format!("{path}[{i}]"))),
                );
            }
            Value::Object(map) => {
                for (key, item) in map {
                    let place = format!("{path}.{}", key.replace('\0', "\\0"));
                    if key.contains('\0') {
                        return Some(place);
                    }
                    todo.push((item, place));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{MAX_PAYLOAD_BYTES, check_payload};

    fn nested(levels: usize) -> Value {
        (1..levels).fold(json!({}), |inner, _| json!({ "in": inner }))
    }

    #[test]
    fn sixty_four_levels_are_taken_and_one_more_is_not() {
        assert!(check_payload(&nested(64)).is_ok());
        let error = check_payload(&nested(65)).unwrap_err().to_string();
        assert!(error.contains("64 levels"), "{error}");
    }

    #[test]
    fn one_mebibyte_is_taken_and_one_byte_more_is_not() {
        let frame = json!({ "log": "" }).to_string().len();
        assert!(check_payload(&json!({ "log": "x".repeat(MAX_PAYLOAD_BYTES - frame) })).is_ok());
        let error = check_payload(&json!({ "log": "x".repeat(MAX_PAYLOAD_BYTES - frame + 1) })).unwrap_err();
        assert!(error.to_string().contains("1 MiB"), "{error}");
    }

    #[test]
    fn a_nul_is_named_with_its_place() {
        let error = check_payload(&json!({ "a": [{ "b": "x\0y" }] }))
            .unwrap_err()
            .to_string();
        assert!(error.contains("`payload.a[0].b`"), "{error}");
        assert!(check_payload(&json!({ "k\0": 1 })).is_err());
    }

    #[test]
    fn only_an_object_is_a_payload() {
        for wrong in [json!(null), json!([]), json!("deploy")] {
            assert!(check_payload(&wrong).is_err(), "{wrong}");
        }
    }
}
