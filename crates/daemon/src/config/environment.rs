//! The environment of the process.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

/// Variables and their values.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub values: BTreeMap<String, String>,
    /// Those whose values are no text: a fault only where one of them is ours.
    pub unreadable: BTreeSet<String>,
}

impl Environment {
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let mut all = Self::default();
        for (name, value) in variables {
            // None of ours has another name than text.
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => {
                    all.values.insert(name, value);
                }
                Err(_) => {
                    all.unreadable.insert(name);
                }
            }
        }
        all
    }

    /// A value that is set and not empty: compose files leave those that are not set empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }
}
