//! Which keys there are: read off the settings' own defaults, so that no second list can go stale.

use std::collections::BTreeMap;

use serde_json::Value;

use super::nearest;
use super::settings::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Table,
    /// A table whose keys its writer chooses, such as a time limit for each task type.
    OpenTable,
    Leaf,
    Unknown,
}

pub struct Keys(BTreeMap<String, Known>);

impl Keys {
    pub fn of(defaults: &Settings) -> serde_json::Result<Self> {
        let mut keys = BTreeMap::new();
        collect("", &serde_json::to_value(defaults)?, &mut keys);
        Ok(Self(keys))
    }

    pub fn known(&self, key: &str) -> Known {
        if let Some(known) = self.0.get(key) {
            return *known;
        }
        match self.0.get(super::split(key).0) {
            Some(Known::OpenTable) => Known::Leaf,
            _ => Known::Unknown,
        }
    }

    /// All keys that take a value, in order.
    pub fn leaves(&self) -> impl Iterator<Item = &str> {
        self.of_kind(Known::Leaf)
    }

    pub fn open_tables(&self) -> impl Iterator<Item = &str> {
        self.of_kind(Known::OpenTable)
    }

    fn of_kind(&self, kind: Known) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(_, known)| **known == kind)
            .map(|(key, _)| key.as_str())
    }

    /// The right key that was probably meant. The last part counts most: `slots` at the top level is
    /// meant for `worker.slots`.
    pub fn nearest(&self, key: &str) -> Option<&str> {
        let last = key.rsplit('.').next().unwrap_or(key);
        let same_name = self.leaves().find(|known| known.rsplit('.').next() == Some(last));
        nearest(key, self.0.keys().map(String::as_str)).or(same_name)
    }
}

fn collect(prefix: &str, value: &Value, into: &mut BTreeMap<String, Known>) {
    let kind = match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let key = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                collect(&key, field, into);
            }
            Known::Table
        }
        Value::Object(_) => Known::OpenTable,
        _ => Known::Leaf,
    };
    if !prefix.is_empty() {
        into.insert(prefix.to_owned(), kind);
    }
}
