use serde_json::Value;

/// Postgres cannot store NUL: in data that others sent it becomes the replacement character.
pub(crate) fn replace(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(items) => items.iter_mut().for_each(replace),
        Value::Object(map) => {
            if map.keys().any(|key| key.contains('\0')) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(key, item)| (key.replace('\0', "\u{fffd}"), item))
                    .collect();
            }
            map.values_mut().for_each(replace);
        }
        _ => {}
    }
}
