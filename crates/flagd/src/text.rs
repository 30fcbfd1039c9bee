//! Where things stand in a text of JSON.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::value::RawValue;
use serde_json::{Error, from_str};

/// The fields of an object, each as it is written. Of two with one name the later one counts, as for flagd.
pub(crate) type Fields<'a> = BTreeMap<String, &'a RawValue>;

/// The object of a flag; none when there is no such flag.
pub(crate) fn flag<'a>(text: &'a str, key: &str) -> Result<Option<&'a RawValue>, Error> {
    let top: Fields = from_str(text)?;
    let Some(flags) = top.get("flags") else {
        return Ok(None);
    };
    if !flags.get().starts_with('[') {
        let flags: Fields = from_str(flags.get())?;
        return Ok(flags.get(key).copied());
    }
    // What flagd itself also takes: a list of flags that carry their keys.
    let all: Vec<&RawValue> = from_str(flags.get())?;
    Ok(all.into_iter().find(|flag| {
        let fields: Fields = fields(flag).unwrap_or_default();
        fields
            .get("key")
            .and_then(|key| from_str::<String>(key.get()).ok())
            .as_deref()
            == Some(key)
    }))
}

/// None where it is no object.
pub(crate) fn fields(value: &RawValue) -> Option<Fields<'_>> {
    from_str(value.get()).ok()
}

/// None where it is no list.
pub(crate) fn items(value: &RawValue) -> Option<Vec<&RawValue>> {
    from_str(value.get()).ok()
}

/// Values of a text in the place of others.
pub(crate) struct Edit<'a> {
    text: &'a str,
    changes: Vec<(Range<usize>, String)>,
}

impl<'a> Edit<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self {
            text,
            changes: Vec::new(),
        }
    }

    pub(crate) fn replace(&mut self, value: &RawValue, by: impl Into<String>) {
        self.changes.push((self.place(value), by.into()));
    }

    /// A further field after the last one, set off as the first is.
    pub(crate) fn add(&mut self, object: &RawValue, fields: &Fields<'_>, name: &str, value: &str) {
        let inside = object.get().trim_start_matches('{');
        let space = &inside[..inside.len() - inside.trim_start().len()];
        let last = fields.values().map(|value| self.place(value).end).max();
        let end = last.unwrap_or(self.place(object).start + 1);
        let comma = if last.is_some() { "," } else { "" };
        self.changes
            .push((end..end, format!("{comma}{space}\"{name}\": {value}")));
    }

    pub(crate) fn done(mut self) -> String {
        self.changes.sort_by_key(|(place, _)| place.start);
        let mut text = self.text.to_owned();
        for (place, by) in self.changes.iter().rev() {
            text.replace_range(place.clone(), by);
        }
        text
    }

    /// Raw values are parts of the text that they were read from.
    fn place(&self, value: &RawValue) -> Range<usize> {
        let start = value.get().as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + value.get().len()
    }
}
