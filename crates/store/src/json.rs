//! JSON that other programs wrote: Postgres stores what no reader of ours can hold.

use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgRow;
use sqlx::{ColumnIndex, Row};

/// A JSON column's value, or why it cannot be read.
pub(crate) type Stored = Result<Option<Value>, Unreadable>;

#[derive(Clone, Debug)]
pub(crate) enum Unreadable {
    TooDeep,
    /// A number past the range of a 64-bit float.
    Other(String),
}

/// The column's value; that one row's is unreadable must not keep others from being read.
pub(crate) fn read(row: &PgRow, column: impl ColumnIndex<PgRow>) -> Result<Stored, sqlx::Error> {
    match row.try_get::<Option<Value>, _>(column) {
        Ok(value) => Ok(Ok(value)),
        Err(sqlx::Error::ColumnDecode { source, .. }) => {
            let why = source.to_string();
            Ok(Err(if why.contains("recursion limit") {
                Unreadable::TooDeep
            } else {
                Unreadable::Other(why)
            }))
        }
        Err(error) => Err(error),
    }
}

/// The column's value for people to look at; in place of an unreadable one stands a text that says so.
pub(crate) fn shown(row: &PgRow, column: &str) -> Result<Option<Value>, sqlx::Error> {
    Ok(read(row, column)?.unwrap_or_else(|error| {
        let why = match error {
            Unreadable::TooDeep => "it is nested too deep".to_owned(),
            Unreadable::Other(why) => why,
        };
        Some(Value::String(format!("this JSON cannot be read: {why}")))
    }))
}

/// The JSON of what was made from data that others sent.
pub(crate) fn storable(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    // A backslash that was sent stands before it as well: then it is looked through in vain.
    if !text.contains("\\u0000") {
        return text;
    }
    let mut value = serde_json::to_value(value).unwrap_or_default();
    replace_nul(&mut value);
    value.to_string()
}

/// Postgres cannot store NUL: in data that others sent it becomes the replacement character.
pub(crate) fn replace_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(map) => {
            if map.keys().any(|key| key.contains('\0')) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(key, item)| (key.replace('\0', "\u{fffd}"), item))
                    .collect();
            }
            map.values_mut().for_each(replace_nul);
        }
        _ => {}
    }
}
