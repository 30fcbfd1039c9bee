//! The configuration: one file, over it the environment, over that the flags. Only this module and `main`
//! read files and the environment; every other crate is handed a struct of its own.

mod check;
mod environment;
mod flags;
mod keys;
mod layers;
mod outside;
mod print;
mod schema;
mod settings;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use domain::nearest;
pub use environment::Environment;
pub use flags::FlagPlace;
pub use layers::{Origin, variable};
pub use outside::{CheckCommand, MetricsStore, Registry, StoreKind};
pub use schema::schema;
pub use settings::{LogFormat, Settings};
pub use values::{DatabaseUrlError, Secret, Span, WebUrl};

use keys::Keys;
use layers::{Given, Written};

/// Where a file is looked for when none is named; the first that exists is read.
pub const PLACES: [&str; 3] = [
    "longshore.toml",
    "config/longshore.toml",
    "/etc/longshore/longshore.toml",
];

/// Names a file where no flag does.
pub const FILE_VARIABLE: &str = "LONGSHORE_CONFIG";

/// What a configuration is made of, read once by `main`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A file that must exist; [`PLACES`] are tried when absent.
    pub file: Option<PathBuf>,
    pub env: Environment,
    pub flags: Vec<Flag>,
}

/// A key set on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    pub name: &'static str,
    pub key: &'static str,
    pub value: String,
}

/// The effective configuration and where each part of it comes from.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub file: Option<PathBuf>,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    pub fn origin(&self, key: &str) -> Origin {
        let given = self.given(key);
        given
            .and_then(|given| self.origins.get(given))
            .cloned()
            .unwrap_or(Origin::Default)
    }

    /// The key that a value was given by: its own, or that of what it is a part of.
    fn given<'a>(&self, key: &'a str) -> Option<&'a str> {
        let parent = || Some(split(key).0).filter(|parent| !parent.is_empty());
        match self.origins.contains_key(key) {
            true => Some(key),
            false => self.given(parent()?),
        }
    }
}

/// One thing wrong with a configuration.
#[derive(Debug)]
pub struct Problem {
    pub origin: Origin,
    pub key: String,
    pub what: String,
}

/// All that is wrong with a configuration, so that it can be mended in one go.
#[derive(Debug)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the configuration is not usable")?;
        for Problem { origin, what, .. } in &self.0 {
            write!(f, "\n  {origin}: {what}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Reads all layers and puts them together. Every unknown key, unreadable value and contradiction is
/// reported, not only the first.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigError> {
    let bug = |error: serde_json::Error| {
        ConfigError(vec![Problem {
            origin: Origin::Default,
            key: String::new(),
            what: format!("the built-in defaults cannot be read (a bug): {error}"),
        }])
    };
    let defaults = Settings::default();
    let keys = Keys::of(&defaults).map_err(bug)?;
    let mut problems = Vec::new();

    let (file, text) = read_file(sources.file.as_deref())?;
    let mut given = match &file {
        Some(path) => layers::from_file(path, &text, &keys, &mut problems),
        None => Vec::new(),
    };
    given.extend(layers::from_env(&sources.env, &keys, &mut problems));
    given.extend(sources.flags.iter().map(|flag| Given {
        key: flag.key.to_owned(),
        value: Written::Text(flag.value.clone()),
        origin: Origin::Flag(flag.name),
    }));

    // Each value is tried alone on the defaults, so that what is wrong with it can be laid at its door.
    // What it displaces goes unread, as a deserialised secret would come back masked.
    let mut merged = Value::Object(serde_json::Map::new());
    let mut origins = BTreeMap::new();
    for Given { key, value, origin } in given {
        match reading(&key, &value) {
            Ok(reading) => {
                put(&mut merged, &key, reading);
                origins.insert(key, origin);
            }
            Err(what) => problems.push(Problem { origin, key, what }),
        }
    }
    let settings: Settings = serde_json::from_value(merged).map_err(bug)?;
    let loaded = Loaded {
        settings,
        file,
        origins,
    };
    problems.extend(check::contradictions(&loaded));
    problems.sort_by_key(|problem| match problem.origin {
        Origin::File { line, .. } => line,
        _ => usize::MAX,
    });
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(ConfigError(problems))
    }
}

fn read_file(named: Option<&Path>) -> Result<(Option<PathBuf>, String), ConfigError> {
    let found = match named {
        Some(path) => Some(path.to_owned()),
        None => PLACES.iter().map(PathBuf::from).find(|path| path.is_file()),
    };
    let Some(path) = found else {
        return Ok((None, String::new()));
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok((Some(path), text)),
        Err(error) => Err(ConfigError(vec![Problem {
            key: String::new(),
            what: format!("cannot be read: {error}"),
            origin: Origin::File { path, line: 1 },
        }])),
    }
}

/// The first reading of a written value that fits the key's type.
fn reading(key: &str, written: &Written) -> Result<Value, String> {
    let mut wrong: Option<(String, String)> = None;
    for reading in written.readings() {
        let mut alone = Value::Object(serde_json::Map::new());
        put(&mut alone, key, reading.clone());
        match serde_path_to_error::deserialize::<_, Settings>(alone) {
            Ok(_) => return Ok(reading),
            // A variable's text that is a number is told as one that does not fit, not as text; one that is a table is
            // likewise told by what is in it.
            Err(error) => {
                let place = error.path().to_string();
                let place = if place.starts_with(&format!("{key}.")) {
                    place
                } else {
                    key.to_owned()
                };
                let fits_better = reading.is_number() || reading.is_object();
                let error = (place, error.into_inner().to_string());
                wrong = wrong.filter(|_| !fits_better).or(Some(error));
            }
        }
    }
    let (place, error) = wrong.unwrap_or_else(|| (key.to_owned(), "no value".to_owned()));
    let mut what = format!("`{place}` {}", words(key, &error));
    if let Some(near) = nearest_word(&error) {
        what.push_str(&format!("; did you mean \"{near}\"?"));
    }
    Err(what)
}

/// Serde's words for people. What was written stays out of a type error: it may be a secret without its quotes.
fn words(key: &str, error: &str) -> String {
    if let Some(example) = example(key).filter(|_| !error.starts_with("invalid type: ")) {
        return format!("cannot be used; write it like {example}");
    }
    let (is_value, rest) = match (
        error.strip_prefix("invalid type: "),
        error.strip_prefix("invalid value: "),
    ) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return format!("cannot be used: {error}"),
    };
    let Some((found, expected)) = rest.rsplit_once(", expected ") else {
        return format!("cannot be used: {error}");
    };
    let kind = found.split([' ', '`']).next().unwrap_or(found);
    let expected = match expected {
        "a string" => "text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list such as [\"a\", \"b\"]".to_owned(),
        "u16" => whole_number(u16::MAX.into()),
        "u32" => whole_number(u32::MAX.into()),
        "u64" | "usize" => "a whole number, 0 or more".to_owned(),
        "f64" => "a number such as 0.6".to_owned(),
        other => other.to_owned(),
    };
    // A number that does not fit is no secret, and says most about itself.
    if let Some(number) = found.strip_prefix("integer ").filter(|_| is_value) {
        return format!("takes {expected}, not {}", number.trim_matches('`'));
    }
    let found = match kind {
        "string" => "text",
        "sequence" => "a list",
        "map" => "a table",
        "integer" => "a number",
        "floating" => "a number with a point",
        "boolean" => "true or false",
        other => other,
    };
    format!("takes {expected}; what is written there is {found}")
}

fn whole_number(most: u64) -> String {
    format!("a whole number from 0 to {most}")
}

/// How values look whose own readers would say little.
fn example(key: &str) -> Option<&'static str> {
    match key {
        "gitlab.url" => Some("\"https://gitlab.example.com\""),
        "github.url" => Some("\"https://github.example.com/api/v3\""),
        "api.bind" => Some("\"127.0.0.1:8844\" or \"[::1]:8844\": an address and a port, no name"),
        _ => None,
    }
}

/// From serde's "unknown variant `jsn`, expected one of `auto`, `human`, `json`", and the same of fields.
fn nearest_word(error: &str) -> Option<&str> {
    let mut quoted = error
        .strip_prefix("unknown variant ")
        .or_else(|| error.strip_prefix("unknown field "))?
        .split('`')
        .skip(1)
        .step_by(2);
    let written = quoted.next()?;
    nearest(written, quoted)
}

fn put(tree: &mut Value, key: &str, value: Value) {
    let mut place = tree;
    for part in parts(key) {
        if !place.is_object() {
            *place = Value::Object(serde_json::Map::new());
        }
        place = &mut place[part.as_ref()];
    }
    *place = value;
}

/// A table's key, as TOML writes it: in quotes where it is not bare, such as a task type with a dot.
fn join(table: &str, name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let bare = !name.is_empty() && name.chars().all(is_bare);
    // JSON's quotes and escapes are among those of TOML.
    let name = match bare {
        true => Cow::Borrowed(name),
        false => Cow::Owned(Value::from(name).to_string()),
    };
    match table {
        "" => name.into_owned(),
        table => format!("{table}.{name}"),
    }
}

/// The table of a key and its last part as [`join`] was given them.
fn split(key: &str) -> (&str, Cow<'_, str>) {
    if let Some(end) = key.strip_suffix('"') {
        // The quote that opens it: those within stand behind a backslash.
        let mut from = end.len();
        while let Some(at) = end[..from].rfind('"') {
            let begins = at == 0 || end.as_bytes()[at - 1] == b'.';
            if begins && let Ok(Value::String(name)) = serde_json::from_str(&key[at..]) {
                return (key[..at].strip_suffix('.').unwrap_or(""), Cow::Owned(name));
            }
            from = at;
        }
    }
    match key.rsplit_once('.') {
        Some((table, name)) => (table, Cow::Borrowed(name)),
        None => ("", Cow::Borrowed(key)),
    }
}

fn parts(key: &str) -> Vec<Cow<'_, str>> {
    let (table, name) = split(key);
    let mut all = match table {
        "" => Vec::new(),
        table => parts(table),
    };
    all.push(name);
    all
}

#[cfg(test)]
mod tests;
