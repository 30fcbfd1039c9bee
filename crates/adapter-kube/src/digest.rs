//! Marks: short digests of JSON, the same however its fields are ordered.

use std::fmt::Write as _;

use ports::Mark;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) fn mark(of: &Value) -> Mark {
    let mut text = String::new();
    write(of, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    Mark(digest.iter().take(12).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

fn write(value: &Value, to: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            to.push('{');
            for (name, value) in fields {
                let _ = write!(to, "{name:?}:");
                write(value, to);
                to.push(',');
            }
            to.push('}');
        }
        Value::Array(items) => {
            to.push('[');
            for item in items {
                write(item, to);
                to.push(',');
            }
            to.push(']');
        }
        plain => {
            let _ = write!(to, "{plain}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_has_another_mark_and_what_does_not_has_not() {
        let one = json!({ "a": [1, "2"], "b": null });
        assert_eq!(mark(&one), mark(&json!({ "b": null, "a": [1, "2"] })));
        assert_eq!(mark(&one).0.len(), 24);
        for other in [
            json!({ "a": [1, 2], "b": null }),
            json!({ "a": ["2", 1], "b": null }),
            json!({ "a": [1, "2"] }),
            json!({ "a": [[1], "2"], "b": null }),
        ] {
            assert_ne!(mark(&one), mark(&other), "{other}");
        }
    }
}
