//! The language of `if`, both ways, as far as the model has words for it.

use crate::condition::{Condition, Expressions, Is};
use crate::model::When;

pub(super) struct Github;

impl Expressions for Github {
    fn leaf(&self, condition: &Condition, denied: bool) -> Option<String> {
        let is = if denied { "!=" } else { "==" };
        let event = |name: &str| format!("github.event_name {is} '{name}'");
        Some(match condition {
            Condition::MergeRequest => event("pull_request"),
            Condition::Schedule => event("schedule"),
            Condition::Manual => event("workflow_dispatch"),
            // A merge request's ref is neither a branch nor a tag of the repository.
            Condition::Branch if denied => "!startsWith(github.ref, 'refs/heads/')".to_owned(),
            Condition::Branch => "startsWith(github.ref, 'refs/heads/')".to_owned(),
            Condition::Tag if denied => "!startsWith(github.ref, 'refs/tags/')".to_owned(),
            Condition::Tag => "startsWith(github.ref, 'refs/tags/')".to_owned(),
            Condition::DefaultBranch => {
                format!("github.ref {is} format('refs/heads/{{0}}', github.event.repository.default_branch)")
            }
            Condition::BranchNamed(name) => {
                format!("github.ref {is} 'refs/heads/{}'", name.replace('\'', "''"))
            }
            Condition::Variable { name, is: what } => {
                let variable = format!("vars.{name}");
                match what {
                    Is::Set if denied => format!("{variable} == ''"),
                    Is::Set => format!("{variable} != ''"),
                    Is::Equal(value) => format!("{variable} {is} '{}'", value.replace('\'', "''")),
                    Is::Other(value) => {
                        let is = if denied { "==" } else { "!=" };
                        format!("{variable} {is} '{}'", value.replace('\'', "''"))
                    }
                }
            }
            Condition::Not(_) | Condition::All(_) | Condition::Any(_) => return None,
        })
    }
}

/// What an `if` says: in which case at all, and under which condition.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub when: When,
    pub condition: Option<Condition>,
}

/// Nothing where it says what the model has no word for.
pub(super) fn parse(text: &str) -> Option<Said> {
    let text = text.trim();
    let text = text
        .strip_prefix("${{")
        .and_then(|rest| rest.strip_suffix("}}"))
        .unwrap_or(text);
    let tokens = tokens(text)?;
    let mut at = 0;
    let parsed = either(&tokens, &mut at)?;
    if at != tokens.len() {
        return None;
    }
    // The state of jobs may stand beside the condition, not inside of it.
    let parts = match parsed {
        Part::All(parts) => parts,
        one => vec![one],
    };
    let mut when = When::Success;
    let mut conditions = Vec::new();
    for part in parts {
        match part {
            Part::State(state) => when = state,
            // Says of which job what `failure()` says of any.
            Part::Result => {}
            part => conditions.push(part.condition()?),
        }
    }
    let condition = match conditions.len() {
        0 => None,
        1 => conditions.pop(),
        _ => Some(Condition::All(conditions)),
    };
    Some(Said { when, condition })
}

enum Part {
    State(When),
    Result,
    One(Condition),
    All(Vec<Part>),
    Any(Vec<Part>),
}

impl Part {
    fn condition(self) -> Option<Condition> {
        let all = |parts: Vec<Part>| parts.into_iter().map(Part::condition).collect::<Option<Vec<_>>>();
        match self {
            Self::One(condition) => Some(condition),
            Self::All(parts) => Some(Condition::All(all(parts)?)),
            Self::Any(parts) => Some(Condition::Any(all(parts)?)),
            Self::State(_) | Self::Result => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Symbol(&'static str),
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let symbols = ["==", "!=", "&&", "||", "!", "(", ")", ","];
        let length = if let Some(symbol) = symbols.into_iter().find(|symbol| rest.starts_with(symbol)) {
            found.push(Token::Symbol(symbol));
            symbol.len()
        } else if first == '\'' {
            let mut end = 1;
            // A quote in a text is written twice.
            loop {
                let next = rest[end..].find('\'')? + end;
                if rest[next + 1..].starts_with('\'') {
                    end = next + 2;
                    continue;
                }
                end = next;
                break;
            }
            found.push(Token::Text(rest[1..end].replace("''", "'")));
            end + 1
        } else {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '[' | ']' | '*');
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            found.push(Token::Word(rest[..end].to_owned()));
            end
        };
        rest = rest[length..].trim_start();
    }
    Some(found)
}

fn either(tokens: &[Token], at: &mut usize) -> Option<Part> {
    let mut parts = vec![both(tokens, at)?];
    while tokens.get(*at) == Some(&Token::Symbol("||")) {
        *at += 1;
        parts.push(both(tokens, at)?);
    }
    if parts.iter().all(|part| matches!(part, Part::Result)) {
        return Some(Part::Result);
    }
    if parts.len() == 1 {
        parts.pop()
    } else {
        Some(Part::Any(parts))
    }
}

fn both(tokens: &[Token], at: &mut usize) -> Option<Part> {
    let mut parts = vec![one(tokens, at)?];
    while tokens.get(*at) == Some(&Token::Symbol("&&")) {
        *at += 1;
        parts.push(one(tokens, at)?);
    }
    if parts.len() == 1 {
        parts.pop()
    } else {
        Some(Part::All(parts))
    }
}

fn one(tokens: &[Token], at: &mut usize) -> Option<Part> {
    let token = tokens.get(*at)?;
    *at += 1;
    match token {
        Token::Symbol("(") => {
            let inner = either(tokens, at)?;
            *at += 1;
            (tokens.get(*at - 1) == Some(&Token::Symbol(")"))).then_some(inner)
        }
        Token::Symbol("!") => match one(tokens, at)? {
            // `!cancelled()` is as near to always as a job that was stopped can be.
            Part::State(When::Always) => Some(Part::State(When::Always)),
            Part::One(condition) => Some(Part::One(condition.negated())),
            part => Some(Part::One(part.condition()?.negated())),
        },
        Token::Word(word) if tokens.get(*at) == Some(&Token::Symbol("(")) => {
            let arguments = arguments(tokens, at)?;
            call(word, &arguments)
        }
        Token::Word(word) => {
            let equal = match tokens.get(*at) {
                Some(Token::Symbol("==")) => true,
                Some(Token::Symbol("!=")) => false,
                _ => return None,
            };
            *at += 1;
            let value = tokens.get(*at)?.clone();
            *at += 1;
            match value {
                Token::Text(text) => compared(word, &text, equal),
                Token::Word(call) if word == "github.ref" && call == "format" => {
                    let arguments = arguments(tokens, at)?;
                    let default = ["refs/heads/{0}", "github.event.repository.default_branch"];
                    let said: Vec<_> = arguments.iter().map(String::as_str).collect();
                    (said == default).then(|| given(Condition::DefaultBranch, equal))
                }
                Token::Word(other)
                    if word == "github.ref_name" && other == "github.event.repository.default_branch" =>
                {
                    Some(given(Condition::DefaultBranch, equal))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn arguments(tokens: &[Token], at: &mut usize) -> Option<Vec<String>> {
    let mut found = Vec::new();
    *at += 1;
    loop {
        match tokens.get(*at)? {
            Token::Symbol(")") => {
                *at += 1;
                return Some(found);
            }
            Token::Symbol(",") => {}
            Token::Text(text) | Token::Word(text) => found.push(text.clone()),
            Token::Symbol(_) => return None,
        }
        *at += 1;
    }
}

fn call(name: &str, arguments: &[String]) -> Option<Part> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Some(match (name, arguments.as_slice()) {
        ("success", []) => Part::State(When::Success),
        ("failure", []) => Part::State(When::Failure),
        ("always" | "cancelled", []) => Part::State(When::Always),
        ("startsWith", ["github.ref", "refs/tags/" | "refs/tags"]) => Part::One(Condition::Tag),
        ("startsWith", ["github.ref", "refs/heads/" | "refs/heads"]) => Part::One(Condition::Branch),
        _ => return None,
    })
}

fn given(condition: Condition, equal: bool) -> Part {
    Part::One(if equal { condition } else { condition.negated() })
}

fn compared(word: &str, text: &str, equal: bool) -> Option<Part> {
    if word.starts_with("needs.") || word.starts_with("needs[") {
        return (text == "failure" && equal).then_some(Part::Result);
    }
    let condition = match (word, text) {
        ("github.event_name", "pull_request") => Condition::MergeRequest,
        ("github.event_name", "schedule") => Condition::Schedule,
        ("github.event_name", "workflow_dispatch") => Condition::Manual,
        ("github.event_name", "push") => Condition::Branch.or(Condition::Tag),
        ("github.ref", text) => Condition::BranchNamed(text.strip_prefix("refs/heads/")?.to_owned()),
        ("github.ref_name" | "github.head_ref" | "github.base_ref", name) if word == "github.ref_name" => {
            Condition::BranchNamed(name.to_owned())
        }
        ("github.ref_type", "tag") => Condition::Tag,
        ("github.ref_type", "branch") => Condition::Branch,
        (variable, value) => {
            let name = variable.strip_prefix("vars.")?.to_owned();
            let is = match (value.is_empty(), equal) {
                (true, _) => return Some(given(Condition::Variable { name, is: Is::Set }, !equal)),
                (false, true) => Is::Equal(value.to_owned()),
                (false, false) => Is::Other(value.to_owned()),
            };
            return Some(Part::One(Condition::Variable { name, is }));
        }
    };
    Some(given(condition, equal))
}
