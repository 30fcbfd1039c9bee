//! What a payload may be. The API, the command line and the store judge by these rules; the table's own limit is the same.

use domain::{Error, Result};
use serde_json::Value;

/// Longest payload, in bytes of JSON as Postgres writes it.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// Deepest nesting of objects and arrays; the payload itself is level 1.
pub const MAX_PAYLOAD_DEPTH: usize = 64;

/// Why a payload is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayloadFault {
    /// The part that is wrong, as a path: `payload.jobs[0].name`.
    pub field: String,
    pub too_large: bool,
    pub error: Error,
}

impl From<PayloadFault> for Error {
    fn from(fault: PayloadFault) -> Self {
        fault.error
    }
}

/// Whether a payload can be stored and worked on: an object, not too deep or large, without NUL characters.
pub fn check_payload(payload: &Value) -> Result<(), PayloadFault> {
    let fault = |field: &str, error: Error| {
        Err(PayloadFault {
            field: field.to_owned(),
            too_large: false,
            error,
        })
    };
    if !payload.is_object() {
        return fault(
            "payload",
            Error::invalid("`payload` is not a JSON object")
                .next("Send an object, such as {\"instruction\": \"deploy v1.4.2 to staging\"}"),
        );
    }
    // First, since what follows goes down by recursion.
    if let Some(path) = too_deep(payload) {
        return fault(
            "payload",
            Error::invalid(format!(
                "`payload` is nested deeper than {MAX_PAYLOAD_DEPTH} levels, at {path}…"
            ))
            .next("Send the inner part as text, or a link to it"),
        );
    }
    if let Some(path) = nul_in(payload, "payload") {
        let what = format!("`{path}` holds a NUL character (\\u0000), which Postgres cannot store");
        return fault(
            &path,
            Error::invalid(what).next("Take it out, for example with `tr -d '\\000'`"),
        );
    }
    match stored_bytes(payload) {
        bytes if bytes > MAX_PAYLOAD_BYTES => Err(PayloadFault {
            field: "payload".to_owned(),
            too_large: true,
            error: too_large(Some(bytes)),
        }),
        _ => Ok(()),
    }
}

pub(super) fn too_large(bytes: Option<usize>) -> Error {
    let size = bytes.map_or_else(String::new, |bytes| format!("{bytes} bytes of JSON; "));
    Error::invalid(format!(
        "`payload` is too large: {size}at most {MAX_PAYLOAD_BYTES} (1 MiB) are taken"
    ))
    .next("Send a link to what is large, or the end of the log")
}

/// The path to the first value below the deepest level that is taken. Without recursion: depth is the question.
fn too_deep(payload: &Value) -> Option<String> {
    let mut open: Vec<(&Value, usize, String)> = vec![(payload, 1, "payload".to_owned())];
    while let Some((value, level, path)) = open.pop() {
        if level > MAX_PAYLOAD_DEPTH {
            return Some(path.chars().take(100).collect());
        }
        let inner = |value: &Value| value.is_object() || value.is_array();
        match value {
            Value::Object(fields) => open.extend(
                fields
                    .iter()
                    .filter(|(_, value)| inner(value))
                    .map(|(name, value)| (value, level + 1, format!("{path}.{name}"))),
            ),
            Value::Array(items) => open.extend(
                items
                    .iter()
                    .enumerate()
                    .filter(|(_, value)| inner(value))
                    .map(|(at, value)| (value, level + 1, format!("{path}[{at}]"))),
            ),
            _ => {}
        }
    }
    None
}

/// The place of the first string, or of the object with the first key, that has a NUL in it.
fn nul_in(value: &Value, path: &str) -> Option<String> {
    let below = nul_below(value)?;
    Some(below.iter().rev().fold(path.to_owned(), |path, step| path + step))
}

/// The steps from the innermost value outwards: nothing is put together where there is nothing to tell.
fn nul_below(value: &Value) -> Option<Vec<String>> {
    let step = |mut below: Vec<String>, step: String| {
        below.push(step);
        Some(below)
    };
    match value {
        Value::String(text) => text.contains('\0').then(Vec::new),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, value)| step(nul_below(value)?, format!("[{at}]"))),
        Value::Object(fields) => fields.iter().find_map(|(name, value)| match name.contains('\0') {
            true => Some(Vec::new()),
            false => step(nul_below(value)?, format!(".{name}")),
        }),
        _ => None,
    }
}

/// The length of the JSON as Postgres writes it: as ours, with a space after each `:` and `,`.
fn stored_bytes(value: &Value) -> usize {
    match value {
        Value::Array(items) => {
            2 + 2 * items.len().saturating_sub(1) + items.iter().map(stored_bytes).sum::<usize>()
        }
        Value::Object(fields) => {
            let separators = 2 * fields.len() + 2 * fields.len().saturating_sub(1);
            let inner: usize = fields
                .iter()
                .map(|(name, value)| text_bytes(name) + stored_bytes(value))
                .sum();
            2 + separators + inner
        }
        Value::String(text) => text_bytes(text),
        Value::Number(number) => number_bytes(&number.to_string()),
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
    }
}

/// Postgres writes all digits of a number where we write an exponent.
fn number_bytes(ours: &str) -> usize {
    let Some((mantissa, exponent)) = ours.split_once('e') else {
        return ours.len();
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    match exponent.parse::<isize>().map(isize::unsigned_abs) {
        Ok(zeros) if exponent.starts_with('-') => whole.len() + 1 + zeros + fraction.len(),
        Ok(zeros) if zeros >= fraction.len() => whole.len() + zeros,
        _ => ours.len(),
    }
}

fn text_bytes(text: &str) -> usize {
    let escaped = text.bytes().map(|byte| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
        0..0x20 => 6,
        _ => 1,
    });
    2 + escaped.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn nested(levels: usize) -> Value {
        (1..levels).fold(json!({}), |inner, _| json!({ "in": inner }))
    }

    #[test]
    fn sixty_four_levels_are_taken_and_one_more_is_not() {
        assert!(check_payload(&nested(64)).is_ok());
        let error = check_payload(&nested(65)).unwrap_err().error.to_string();
        assert!(error.contains("64 levels"), "{error}");
    }

    #[test]
    fn one_mebibyte_is_taken_and_one_byte_more_is_not() {
        let frame = stored_bytes(&json!({ "log": "" }));
        assert!(check_payload(&json!({ "log": "x".repeat(MAX_PAYLOAD_BYTES - frame) })).is_ok());
        let fault = check_payload(&json!({ "log": "x".repeat(MAX_PAYLOAD_BYTES - frame + 1) })).unwrap_err();
        assert!(
            fault.too_large && fault.error.to_string().contains("1 MiB"),
            "{fault:?}"
        );
    }

    #[test]
    fn the_length_is_counted_as_postgres_writes() {
        // select octet_length('{"a":[1,2,{}],"b":"x\n\u0001\"é"}'::jsonb::text) is 39.
        assert_eq!(stored_bytes(&json!({"a": [1, 2, {}], "b": "x\n\u{1}\"é"})), 39);
    }

    #[test]
    fn of_a_number_postgres_writes_all_digits() {
        // select octet_length('{"a": [1e16, 1.5e-7, -1e300, 1.7976931348623157e308, 2.5, 1e-10]}'::jsonb::text) is 672.
        let numbers = json!({"a": [1e16, 1.5e-7, -1e300, 1.797_693_134_862_315_7e308, 2.5, 1e-10]});
        assert_eq!(stored_bytes(&numbers), 672);
    }

    #[test]
    fn a_nul_is_named_with_its_place() {
        let fault = check_payload(&json!({ "a": [{ "b": "x\0y" }] })).unwrap_err();
        assert_eq!(fault.field, "payload.a[0].b");
        assert!(fault.error.to_string().contains("`payload.a[0].b`"), "{fault:?}");
        assert_eq!(check_payload(&json!({ "k\0": 1 })).unwrap_err().field, "payload");
    }

    #[test]
    fn only_an_object_is_a_payload() {
        for wrong in [json!(null), json!([]), json!("deploy")] {
            assert!(check_payload(&wrong).is_err(), "{wrong}");
        }
    }
}
