//! `rules` and their language of expressions, both ways.

use crate::condition::{Condition, Expressions, Is};
use crate::model::{Branches, Job, Triggers, When};
use crate::yaml::{Yaml, map};

pub(super) struct Gitlab;

impl Expressions for Gitlab {
    fn leaf(&self, condition: &Condition, denied: bool) -> Option<String> {
        let is = if denied { "!=" } else { "==" };
        // A variable that is set is its name alone; one that is not is null.
        let set = |name: &str| {
            if denied {
                format!("${name} == null")
            } else {
                format!("${name}")
            }
        };
        Some(match condition {
            Condition::MergeRequest => format!("$CI_PIPELINE_SOURCE {is} \"merge_request_event\""),
            Condition::Schedule => format!("$CI_PIPELINE_SOURCE {is} \"schedule\""),
            Condition::Manual => format!("$CI_PIPELINE_SOURCE {is} \"web\""),
            Condition::Branch => set("CI_COMMIT_BRANCH"),
            Condition::Tag => set("CI_COMMIT_TAG"),
            Condition::DefaultBranch => format!("$CI_COMMIT_BRANCH {is} $CI_DEFAULT_BRANCH"),
            Condition::BranchNamed(name) => format!("$CI_COMMIT_BRANCH {is} {}", quoted(name)?),
            Condition::Variable { name, is: Is::Set } => set(name),
            Condition::Variable {
                name,
                is: Is::Equal(value),
            } => format!("${name} {is} {}", quoted(value)?),
            Condition::Variable {
                name,
                is: Is::Other(value),
            } => {
                let is = if denied { "==" } else { "!=" };
                format!("${name} {is} {}", quoted(value)?)
            }
            Condition::Not(_) | Condition::All(_) | Condition::Any(_) => return None,
        })
    }
}

/// A text has no escapes there: either quote will do that it does not hold.
fn quoted(text: &str) -> Option<String> {
    match (text.contains('"'), text.contains('\'')) {
        (false, _) => Some(format!("\"{text}\"")),
        (true, false) => Some(format!("'{text}'")),
        (true, true) => None,
    }
}

/// When there is a pipeline at all: without rules a branch with a merge request has two.
pub(super) fn workflow_rules(on: &Triggers) -> Vec<Yaml> {
    let rule = |condition: Condition| Gitlab.write(&condition).map(|text| map().with("if", text));
    let mut rules = Vec::new();
    if on.merge_requests {
        rules.extend(rule(Condition::MergeRequest));
    }
    match &on.push {
        Some(Branches::All) => {
            if on.merge_requests {
                let doubled = "$CI_COMMIT_BRANCH && $CI_OPEN_MERGE_REQUESTS";
                rules.push(map().with("if", doubled).with("when", "never"));
            }
            rules.extend(rule(Condition::Branch));
        }
        Some(Branches::Default) => rules.extend(rule(Condition::DefaultBranch)),
        Some(Branches::Named(names)) => {
            rules.extend(
                names
                    .iter()
                    .filter_map(|name| rule(Condition::BranchNamed(name.clone()))),
            );
        }
        None => {}
    }
    if on.tags {
        rules.extend(rule(Condition::Tag));
    }
    if !on.schedules.is_empty() {
        rules.extend(rule(Condition::Schedule));
    }
    if on.manual {
        rules.extend(rule(Condition::Manual));
    }
    rules
}

/// A job's rules, if it needs any.
pub(super) fn job_rules(job: &Job) -> Option<Yaml> {
    if job.run_if.is_none() && job.changes.is_empty() {
        return None;
    }
    let mut rule = map();
    let mut when = job.when;
    if let Some(condition) = &job.run_if {
        match Gitlab.write(condition) {
            Some(text) => rule.put("if", text),
            None => when = When::Manual,
        }
    }
    if !job.changes.is_empty() {
        rule.put("changes", crate::yaml::list(&job.changes));
    }
    let word = match when {
        When::Success => None,
        When::Failure => Some("on_failure"),
        When::Always => Some("always"),
        When::Manual => Some("manual"),
    };
    if let Some(word) = word {
        rule.put("when", word);
    }
    Some(Yaml::List(vec![rule]))
}

/// What an expression means. Nothing where it says what the model cannot.
pub(super) fn parse(text: &str) -> Option<Condition> {
    let tokens = tokens(text)?;
    let mut at = 0;
    let condition = either(&tokens, &mut at)?;
    (at == tokens.len()).then_some(condition)
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Variable(String),
    Text(String),
    Null,
    Equal,
    Other,
    And,
    Or,
    Open,
    Close,
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let symbols = [
            ("==", Token::Equal),
            ("!=", Token::Other),
            ("&&", Token::And),
            ("||", Token::Or),
            ("(", Token::Open),
            (")", Token::Close),
        ];
        let symbol = symbols.into_iter().find(|(symbol, _)| rest.starts_with(symbol));
        let (token, length) = match symbol {
            Some((symbol, token)) => (token, symbol.len()),
            None if first == '$' => {
                let name: String = rest[1..]
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                let length = name.len() + 1;
                (Token::Variable(name), length)
            }
            None if matches!(first, '"' | '\'') => {
                let end = rest[1..].find(first)?;
                (Token::Text(rest[1..=end].to_owned()), end + 2)
            }
            None if rest.starts_with("null") => (Token::Null, 4),
            // Patterns, and whatever comes to the language yet.
            None => return None,
        };
        found.push(token);
        rest = rest[length..].trim_start();
    }
    Some(found)
}

fn either(tokens: &[Token], at: &mut usize) -> Option<Condition> {
    let mut parts = vec![both(tokens, at)?];
    while tokens.get(*at) == Some(&Token::Or) {
        *at += 1;
        parts.push(both(tokens, at)?);
    }
    if parts.len() == 1 {
        parts.pop()
    } else {
        Some(Condition::Any(parts))
    }
}

fn both(tokens: &[Token], at: &mut usize) -> Option<Condition> {
    let mut parts = vec![one(tokens, at)?];
    while tokens.get(*at) == Some(&Token::And) {
        *at += 1;
        parts.push(one(tokens, at)?);
    }
    if parts.len() == 1 {
        parts.pop()
    } else {
        Some(Condition::All(parts))
    }
}

fn one(tokens: &[Token], at: &mut usize) -> Option<Condition> {
    let token = tokens.get(*at)?;
    *at += 1;
    match token {
        Token::Open => {
            let inner = either(tokens, at)?;
            *at += 1;
            (tokens.get(*at - 1) == Some(&Token::Close)).then_some(inner)
        }
        Token::Variable(name) => {
            let operator = tokens
                .get(*at)
                .filter(|token| matches!(token, Token::Equal | Token::Other));
            let Some(operator) = operator else {
                return Some(set(name));
            };
            let value = tokens.get(*at + 1)?;
            *at += 2;
            compared(name, *operator == Token::Equal, value)
        }
        _ => None,
    }
}

fn set(name: &str) -> Condition {
    match name {
        "CI_COMMIT_BRANCH" => Condition::Branch,
        "CI_COMMIT_TAG" => Condition::Tag,
        _ => Condition::Variable {
            name: name.to_owned(),
            is: Is::Set,
        },
    }
}

fn compared(name: &str, equal: bool, value: &Token) -> Option<Condition> {
    let is = match value {
        Token::Null => {
            let set = set(name);
            return Some(if equal { set.negated() } else { set });
        }
        Token::Variable(other) if name == "CI_COMMIT_BRANCH" && other == "CI_DEFAULT_BRANCH" => {
            return Some(if equal {
                Condition::DefaultBranch
            } else {
                Condition::DefaultBranch.negated()
            });
        }
        Token::Text(text) => text,
        _ => return None,
    };
    let condition = match (name, is.as_str()) {
        ("CI_PIPELINE_SOURCE", "merge_request_event") => Condition::MergeRequest,
        ("CI_PIPELINE_SOURCE", "schedule") => Condition::Schedule,
        ("CI_PIPELINE_SOURCE", "web") => Condition::Manual,
        ("CI_PIPELINE_SOURCE", "push") => Condition::Branch.or(Condition::Tag),
        ("CI_PIPELINE_SOURCE", _) => return None,
        ("CI_COMMIT_BRANCH" | "CI_COMMIT_REF_NAME", name) => Condition::BranchNamed(name.to_owned()),
        (name, value) => {
            let value = value.to_owned();
            let is = if equal { Is::Equal(value) } else { Is::Other(value) };
            return Some(Condition::Variable {
                name: name.to_owned(),
                is,
            });
        }
    };
    Some(if equal { condition } else { condition.negated() })
}
