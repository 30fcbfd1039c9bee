//! JSON as it was meant: what serde would read as something else is refused. Of two fields of one name the last would win, and
//! a whole number of more than 64 bits would become another number.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::{ApiError, ApiResult};

/// What no 64-bit integer reaches; as a float, which it would become.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;
/// Deeper is no JSON that anybody writes; serde_json stops there.
const DEEPEST: usize = 127;

/// What was met on the way.
#[derive(Debug, Default)]
pub struct Met {
    /// Where the reading is, or where it stopped: `payload`, `.jobs`, `[0]`.
    steps: Vec<Step>,
    /// A field that stands twice in one object.
    twice: Option<String>,
    /// The places of numbers that were read as floats and are larger than any integer, in order.
    large: Vec<String>,
}

#[derive(Debug)]
enum Step {
    Field(String),
    Item(usize),
}

impl Met {
    fn path(&self) -> String {
        let mut path = String::new();
        for step in &self.steps {
            match step {
                Step::Field(name) if path.is_empty() => path.push_str(name),
                Step::Field(name) => path.extend([".", name]),
                Step::Item(at) => path.extend(["[", &at.to_string(), "]"]),
            }
        }
        path
    }

    /// What a reading that stopped came to.
    pub fn fault(&self, error: &serde_json::Error, next: &str) -> ApiError {
        if let Some(field) = &self.twice {
            return ApiError {
                field: Some(field.clone()),
                ..ApiError::unreadable(format!("`{field}` stands twice in one object")).next("Send it once")
            };
        }
        if error.to_string().contains("recursion limit") {
            let top = match self.steps.first() {
                Some(Step::Field(name)) => name.clone(),
                _ => {
                    return ApiError::unreadable(format!("the body is nested deeper than {DEEPEST} levels"))
                        .next(next);
                }
            };
            let most = match top.as_str() {
                "payload" => crate::PAYLOAD_DEPTH,
                _ => DEEPEST,
            };
            return ApiError::field(&top, format!("`{top}` is nested deeper than {most} levels"))
                .next("Send the inner part as text, or a link to it");
        }
        ApiError::unreadable(format!("the body is not JSON: {error}")).next(next)
    }

    /// The places of numbers that may have been changed by the reading.
    pub fn large(self) -> Vec<String> {
        self.large
    }
}

/// Reads a value, and tells what was met.
pub struct Strict<'a>(pub &'a mut Met);

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        if value.abs() >= BEYOND {
            let path = self.0.path();
            self.0.large.push(path);
        }
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            self.0.steps.push(Step::Item(list.len()));
            // After an error the place stays where it is.
            let item = items.next_element_seed(Strict(&mut *self.0))?;
            self.0.steps.pop();
            match item {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = fields.next_key::<String>()? {
            self.0.steps.push(Step::Field(name.clone()));
            if map.contains_key(&name) {
                self.0.twice = Some(self.0.path());
                return Err(A::Error::custom("twice"));
            }
            let value = fields.next_value_seed(Strict(&mut *self.0))?;
            self.0.steps.pop();
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
}

/// Reads a whole body; `next` is what to send where it is no JSON.
pub fn read(body: &[u8], next: &str) -> ApiResult<Value> {
    let mut met = Met::default();
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Strict(&mut met)
        .deserialize(&mut json)
        .and_then(|value| json.end().map(|()| value));
    match read {
        Ok(value) => kept(body, &met.large).map(|()| value),
        Err(error) => Err(met.fault(&error, next)),
    }
}

/// Whether all whole numbers of a body were kept as they were written; `large` are the places of those that may not be.
pub fn kept(body: &[u8], large: &[String]) -> ApiResult<()> {
    if large.is_empty() {
        return Ok(());
    }
    let numbers = numbers(body).into_iter().filter(|text| {
        let is_kept = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        !is_kept && text.parse::<f64>().is_ok_and(|number| number.abs() >= BEYOND)
    });
    for (text, path) in numbers.zip(large) {
        if !text.contains(['.', 'e', 'E']) {
            let shown: String = text.chars().take(40).collect();
            return Err(ApiError::field(
                path,
                format!("`{path}` is {shown}, a whole number of more than 64 bits, which would be rounded"),
            )
            .next("Send it as text"));
        }
    }
    Ok(())
}

/// The numbers of a body that is JSON, as they are written.
fn numbers(body: &[u8]) -> Vec<&str> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => at += string(&body[at..]),
            b'-' | b'0'..=b'9' => {
                let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
                let length = body[at..].iter().take_while(|byte| is_part(byte)).count();
                found.extend(std::str::from_utf8(&body[at..at + length]));
                at += length;
            }
            _ => at += 1,
        }
    }
    found
}

/// How long the string is that begins here, its quotes included.
fn string(body: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = body.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    body.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(body: &str) -> (u16, String, String) {
        let error = read(body.as_bytes(), "Send JSON").expect_err(body);
        let field = error.field.unwrap_or_default();
        (error.status.as_u16(), field, error.error.what)
    }

    #[test]
    fn what_can_be_kept_is_read_as_it_is() {
        let body = r#" {"a": [1, -2, 18446744073709551615, -9223372036854775808, 1e30, 9223372036854775808.5, 2.5, true, null],
            "b\"99999999999999999999": {"a": "99999999999999999999 \\", "c": ""}} "#;
        assert_eq!(
            read(body.as_bytes(), "").expect("JSON"),
            serde_json::from_str::<Value>(body).expect("JSON")
        );
        assert_eq!(
            read(b"[{\"a\":1},{\"a\":2}]", "").expect("JSON"),
            json!([{"a": 1}, {"a": 2}])
        );
    }

    #[test]
    fn a_whole_number_that_would_be_rounded_is_named_by_its_place() {
        for (body, place) in [
            (
                r#"{"payload": {"a": 1e30, "b": [0, 18446744073709551616]}}"#,
                "payload.b[1]",
            ),
            (r#"{"payload": {"id": -9223372036854775809}}"#, "payload.id"),
        ] {
            let (status, field, what) = refused(body);
            assert_eq!((status, field.as_str()), (422, place));
            assert!(what.contains("rounded"), "{what}");
        }
    }

    #[test]
    fn a_field_that_stands_twice_is_named() {
        let (status, field, what) = refused(r#"{"a": {"type": 1}, "b": [{"c": 1, "c": 2}]}"#);
        assert_eq!((status, field.as_str()), (400, "b[0].c"));
        assert!(what.contains("twice"), "{what}");
    }

    #[test]
    fn what_is_nested_too_deep_is_named_by_its_field_where_there_is_one() {
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        let (status, field, what) = refused(&deep);
        assert_eq!((status, field.as_str()), (400, ""));
        assert!(what.contains("127") && !what.contains("payload"), "{what}");
        let (status, field, what) = refused(&format!(r#"{{"payload": {{"a": {deep}}}}}"#));
        assert_eq!((status, field.as_str()), (422, "payload"));
        assert!(what.contains("64 levels"), "{what}");
        let (status, field, _) = refused(&format!(r#"{{"status": {deep}}}"#));
        assert_eq!((status, field.as_str()), (422, "status"));
    }
}
