//! What `${{ … }}` stands for in scripts and variables, as a shell's variables.

use crate::facts::{self, FACTS};

#[derive(Default)]
pub(super) struct Asked {
    pub secrets: Vec<String>,
    /// Expressions without a counterpart.
    pub unknown: Vec<String>,
}

pub(super) enum Told {
    /// The system itself tells it under this name elsewhere.
    Nothing,
    Plain(String),
    Secret(String),
    Unknown(String),
}

/// One variable of an `env`.
pub(super) fn variable(name: &str, value: &str) -> Told {
    let whole = value
        .trim()
        .strip_prefix("${{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .map(str::trim);
    if let Some(inner) = whole.filter(|inner| !inner.contains("}}")) {
        if let Some(secret) = inner.strip_prefix("secrets.") {
            return Told::Secret(secret.to_owned());
        }
        return match known(inner) {
            Some(own) if own == name => Told::Nothing,
            Some(own) => Told::Plain(format!("${own}")),
            None => Told::Unknown(value.to_owned()),
        };
    }
    let stands_for = |fact: &facts::Fact| fact.name == name && super::literal(fact.github) == Some(value);
    if FACTS.iter().any(stands_for) {
        return Told::Nothing;
    }
    let (text, asked) = in_shell(value);
    match asked.unknown.into_iter().next() {
        Some(unknown) => Told::Unknown(unknown),
        None => Told::Plain(text),
    }
}

/// The shell's variable for an expression.
fn known(expression: &str) -> Option<String> {
    if let Some(fact) = FACTS.iter().find(|fact| fact.github == expression) {
        return Some(fact.name.to_owned());
    }
    let name = ["env.", "matrix.", "vars."]
        .iter()
        .find_map(|context| expression.strip_prefix(context))?;
    let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word.then(|| name.to_owned())
}

/// A script with its expressions and GitHub's own variables turned into the model's.
pub(super) fn in_shell(text: &str) -> (String, Asked) {
    let mut asked = Asked::default();
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${{") {
        let Some(end) = rest[start..].find("}}") else {
            break;
        };
        let inner = rest[start + 3..start + end].trim();
        out.push_str(&rest[..start]);
        match (inner.strip_prefix("secrets."), known(inner)) {
            (Some(secret), _) => {
                out.push_str(&format!("${{{secret}}}"));
                asked.secrets.push(secret.to_owned());
            }
            (None, Some(name)) => out.push_str(&format!("${{{name}}}")),
            (None, None) => {
                asked.unknown.push(format!("`{inner}`"));
                out.push_str(&rest[start..start + end + 2]);
            }
        }
        rest = &rest[start + end + 2..];
    }
    out.push_str(rest);
    for fact in FACTS.iter().filter(|fact| !fact.github_variable.is_empty()) {
        out = facts::renamed(&out, fact.github_variable, fact.name);
    }
    for file in [
        "GITHUB_ENV",
        "GITHUB_OUTPUT",
        "GITHUB_PATH",
        "GITHUB_STEP_SUMMARY",
    ] {
        if facts::names(&out, file) {
            asked.unknown.push(format!("`${file}`"));
        }
    }
    (out, asked)
}

/// The files of `hashFiles('a', 'b')`.
pub(super) fn hashed(key: &str) -> Vec<String> {
    let Some((_, rest)) = key.split_once("hashFiles(") else {
        return Vec::new();
    };
    let inner = rest.split(')').next().unwrap_or_default();
    inner
        .split(',')
        .map(|file| file.trim().trim_matches(['\'', '"']).to_owned())
        .collect()
}
