//! The language of `condition`, both ways, as far as the model has words for it.

use crate::condition::{Condition, Expressions, Is};
use crate::model::When;

pub(super) struct Azure;

impl Expressions for Azure {
    // Written as calls: see `nested` below.
    fn leaf(&self, condition: &Condition, denied: bool) -> Option<String> {
        let equal = |variable: &str, value: &str| {
            let call = if denied { "ne" } else { "eq" };
            format!("{call}(variables['{variable}'], '{}')", value.replace('\'', "''"))
        };
        let begins = |prefix: &str| {
            let call = format!("startsWith(variables['Build.SourceBranch'], '{prefix}')");
            if denied { format!("not({call})") } else { call }
        };
        Some(match condition {
            Condition::MergeRequest => equal("Build.Reason", "PullRequest"),
            Condition::Schedule => equal("Build.Reason", "Schedule"),
            Condition::Manual => equal("Build.Reason", "Manual"),
            Condition::Branch => begins("refs/heads/"),
            Condition::Tag => begins("refs/tags/"),
            Condition::DefaultBranch => {
                let call = "in(variables['Build.SourceBranch'], 'refs/heads/main', 'refs/heads/master')";
                if denied {
                    format!("not({call})")
                } else {
                    call.to_owned()
                }
            }
            Condition::BranchNamed(name) => equal("Build.SourceBranch", &format!("refs/heads/{name}")),
            Condition::Variable { name, is: Is::Set } => {
                let call = if denied { "eq" } else { "ne" };
                format!("{call}(variables['{name}'], '')")
            }
            Condition::Variable {
                name,
                is: Is::Equal(value),
            } => equal(name, value),
            Condition::Variable {
                name,
                is: Is::Other(value),
            } => {
                let call = if denied { "eq" } else { "ne" };
                format!("{call}(variables['{name}'], '{}')", value.replace('\'', "''"))
            }
            Condition::Not(_) | Condition::All(_) | Condition::Any(_) => return None,
        })
    }

    fn nested(&self, condition: &Condition, denied: bool, _: bool) -> Option<String> {
        let (parts, call) = match condition {
            Condition::All(parts) => (parts, if denied { "or" } else { "and" }),
            Condition::Any(parts) => (parts, if denied { "and" } else { "or" }),
            Condition::Not(inner) => return self.nested(inner, !denied, false),
            leaf => return self.leaf(leaf, denied),
        };
        let parts: Option<Vec<_>> = parts
            .iter()
            .map(|part| self.nested(part, denied, false))
            .collect();
        let parts = parts?;
        match parts.as_slice() {
            [one] => Some(one.clone()),
            _ => Some(format!("{call}({})", parts.join(", "))),
        }
    }
}

/// `and(succeeded(), eq(variables['Build.SourceBranch'], 'refs/heads/main'))`.
pub(super) fn parse(text: &str) -> Option<(When, Option<Condition>)> {
    let (name, arguments) = call(text)?;
    let state = |name: &str| match name {
        "succeeded" => Some(When::Success),
        "always" | "succeededOrFailed" => Some(When::Always),
        "failed" => Some(When::Failure),
        _ => None,
    };
    if let Some(when) = state(name) {
        return Some((when, None));
    }
    if name == "and" {
        let mut when = When::Success;
        let mut parts = Vec::new();
        for argument in &arguments {
            match call(argument).and_then(|(name, _)| state(name)) {
                Some(said) => when = said,
                None => parts.push(one(argument)?),
            }
        }
        let own = if parts.len() > 1 {
            Some(Condition::All(parts))
        } else {
            parts.pop()
        };
        return Some((when, own));
    }
    Some((When::Success, Some(one(text)?)))
}

fn one(text: &str) -> Option<Condition> {
    let (name, arguments) = call(text)?;
    let all = || {
        arguments
            .iter()
            .map(|argument| one(argument))
            .collect::<Option<Vec<_>>>()
    };
    let first = arguments
        .first()
        .map(|text| text.trim_matches(['\'', ' ']))
        .unwrap_or_default();
    let second = arguments
        .get(1)
        .map(|text| text.trim().trim_matches('\''))
        .unwrap_or_default();
    let variable = first
        .strip_prefix("variables['")
        .and_then(|rest| rest.strip_suffix("']"))
        .or_else(|| first.strip_prefix("variables[")?.strip_suffix(']')?.get(1..));
    Some(match name {
        "and" => Condition::All(all()?),
        "or" => Condition::Any(all()?),
        "not" => one(arguments.first()?)?.negated(),
        "eq" | "ne" => {
            let own = match (variable?.trim_matches('\''), second) {
                ("Build.Reason", "PullRequest") => Condition::MergeRequest,
                ("Build.Reason", "Schedule") => Condition::Schedule,
                ("Build.Reason", "Manual") => Condition::Manual,
                ("Build.SourceBranch", branch) => {
                    Condition::BranchNamed(branch.strip_prefix("refs/heads/")?.to_owned())
                }
                ("Build.SourceBranchName", branch) => Condition::BranchNamed(branch.to_owned()),
                (name, value) => {
                    let name = name.to_owned();
                    let own = if value.is_empty() {
                        Condition::Variable { name, is: Is::Set }.negated()
                    } else {
                        Condition::Variable {
                            name,
                            is: Is::Equal(value.to_owned()),
                        }
                    };
                    return Some(if name_is(text, "ne") { own.negated() } else { own });
                }
            };
            if name == "ne" { own.negated() } else { own }
        }
        "startsWith" if text.contains("Build.SourceBranch") => match second {
            "refs/tags/" => Condition::Tag,
            "refs/heads/" => Condition::Branch,
            _ => return None,
        },
        "in" if second == "refs/heads/main" => Condition::DefaultBranch,
        _ => return None,
    })
}

fn name_is(text: &str, name: &str) -> bool {
    text.trim_start().starts_with(&format!("{name}("))
}

/// A call's name and arguments, brackets in brackets kept together.
fn call(text: &str) -> Option<(&str, Vec<&str>)> {
    let text = text.trim();
    let (name, rest) = text.split_once('(')?;
    let inner = rest.strip_suffix(')')?;
    let mut arguments = Vec::new();
    let (mut depth, mut start, mut quoted) = (0_i32, 0, false);
    for (at, c) in inner.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                arguments.push(inner[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() {
        arguments.push(inner[start..].trim());
    }
    name.chars()
        .all(char::is_alphanumeric)
        .then_some((name, arguments))
}
