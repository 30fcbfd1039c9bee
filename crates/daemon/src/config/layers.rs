//! The layers of a configuration and what each of them gives: file ← environment ← flags.
//!
//! Written by hand rather than over the `config` crate, whose coercions take `slots = true` for 1 and `3.7`
//! for 4, and whose errors do not name the line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Keys, Known};
use super::{Environment, FILE_VARIABLE, Problem, nearest};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Env(String),
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// One key that a layer sets.
#[derive(Clone, Debug)]
pub struct Given {
    pub key: String,
    pub value: Written,
    pub origin: Origin,
}

/// A file's value has a type of its own; an environment variable or a flag is text that may mean one.
#[derive(Clone, Debug)]
pub enum Written {
    Typed(Value),
    Text(String),
}

impl Written {
    /// What it may stand for, the likeliest first.
    pub fn readings(&self) -> Vec<Value> {
        match self {
            Self::Typed(value) => vec![value.clone()],
            Self::Text(text) => {
                let mut readings = vec![Value::String(text.clone())];
                readings.extend(serde_json::from_str(text).ok());
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                readings.push(parts.map(|part| Value::String(part.to_owned())).collect());
                readings
            }
        }
    }
}

/// Environment variables with a name of their own, because other tools use them too.
const SHARED_NAMES: [(&str, &str); 4] = [
    ("DATABASE_URL", "database.url"),
    ("GITLAB_TOKEN", "gitlab.token"),
    ("GITLAB_URL", "gitlab.url"),
    ("GITHUB_TOKEN", "github.token"),
];

const PREFIX: &str = "LONGSHORE_";

/// `LONGSHORE_…` names that are not keys.
const NOT_KEYS: [&str; 2] = [FILE_VARIABLE, "LONGSHORE_SHARED"];
/// … nor are names that begin so: they tell tests where their peers are.
const NOT_KEYS_PREFIX: &str = "LONGSHORE_TEST_";

/// The variable that sets a key: `worker.slots` is `LONGSHORE_WORKER_SLOTS`.
pub fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// What the environment sets. An empty variable counts as unset, as compose files leave them.
pub fn from_env(env: &Environment, keys: &Keys, problems: &mut Vec<Problem>) -> Vec<Given> {
    let set = |name: &str| env.get(name);
    let is_no_key = |name: &str| NOT_KEYS.contains(&name) || name.starts_with(NOT_KEYS_PREFIX);
    for name in &env.unreadable {
        let shared = SHARED_NAMES.iter().any(|(shared, _)| shared == name);
        if shared || name.starts_with(PREFIX) && !is_no_key(name) {
            problems.push(Problem {
                origin: Origin::Env(name.clone()),
                key: name.clone(),
                what: "its value is not text in UTF-8".to_owned(),
            });
        }
    }
    let given = |key: &str, name: &str, text: &str| Given {
        key: key.to_owned(),
        value: Written::Text(text.to_owned()),
        origin: Origin::Env(name.to_owned()),
    };
    let mut all: Vec<Given> = SHARED_NAMES
        .iter()
        .filter_map(|(name, key)| set(name).map(|text| given(key, name, text)))
        .collect();
    let variables: BTreeMap<String, &str> = keys.leaves().map(|key| (variable(key), key)).collect();
    for name in env.values.keys().filter(|name| name.starts_with(PREFIX)) {
        let Some(text) = set(name).filter(|_| !is_no_key(name)) else {
            continue;
        };
        // `LONGSHORE_WORKER__SLOTS` is how other programs write the same.
        let plain = name.replace("__", "_");
        if let Some(key) = variables.get(&plain) {
            all.push(given(key, name, text));
        } else if let Some((table, entry)) = keys.open_tables().find_map(|table| {
            let entry = plain.strip_prefix(&variable(table))?.strip_prefix('_')?;
            Some((table, entry.to_lowercase()))
        }) {
            all.push(given(&super::join(table, &entry), name, text));
        } else {
            let near = nearest(&plain, variables.keys().map(String::as_str));
            problems.push(Problem {
                origin: Origin::Env(name.clone()),
                key: name.clone(),
                what: unknown(name, near),
            });
        }
    }
    all
}

/// What a file sets.
pub fn from_file(path: &Path, text: &str, keys: &Keys, problems: &mut Vec<Problem>) -> Vec<Given> {
    let file = FileLayer { path, text, keys };
    let mut given = Vec::new();
    match DeTable::parse(text) {
        Ok(table) => file.walk("", table.get_ref(), &mut given, problems),
        Err(error) => problems.push(Problem {
            origin: file.at(error.span().map_or(0, |span| span.start)),
            key: String::new(),
            what: format!("not readable as TOML: {}", error.message()),
        }),
    }
    given
}

struct FileLayer<'a> {
    path: &'a Path,
    text: &'a str,
    keys: &'a Keys,
}

impl FileLayer<'_> {
    fn at(&self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        Origin::File {
            path: self.path.to_owned(),
            line: before.matches('\n').count() + 1,
        }
    }

    fn walk(&self, prefix: &str, table: &DeTable<'_>, given: &mut Vec<Given>, problems: &mut Vec<Problem>) {
        for (name, value) in table {
            let key = super::join(prefix, name.get_ref());
            let origin = self.at(name.span().start);
            match (self.keys.known(&key), value.get_ref()) {
                (Known::Table | Known::OpenTable, DeValue::Table(inner)) => {
                    self.walk(&key, inner, given, problems);
                }
                (Known::Table | Known::OpenTable, _) => problems.push(Problem {
                    what: format!("`{key}` is a table: write it as [{key}] with its keys below"),
                    origin,
                    key,
                }),
                (Known::Leaf, _) => given.push(Given {
                    value: Written::Typed(plain(value)),
                    origin,
                    key,
                }),
                (Known::Unknown, _) => problems.push(Problem {
                    what: unknown(&key, self.keys.nearest(&key)),
                    origin,
                    key,
                }),
            }
        }
    }
}

fn plain(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.as_str().to_owned()), Value::from),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => items.iter().map(plain).collect(),
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(name, value)| (name.get_ref().to_string(), plain(value)))
                .collect(),
        ),
    }
}

fn unknown(key: &str, near: Option<&str>) -> String {
    match near {
        Some(near) => format!("unknown key `{key}`; did you mean `{near}`?"),
        None => format!("unknown key `{key}`; `longshore config print` lists all keys"),
    }
}
