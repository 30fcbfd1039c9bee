//! When a job runs, without a dialect.

use serde::Serialize;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    MergeRequest,
    /// A push to a branch, or a run of one.
    Branch,
    Tag,
    Schedule,
    /// Started by a person.
    Manual,
    DefaultBranch,
    BranchNamed(String),
    Variable {
        name: String,
        is: Is,
    },
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Is {
    Set,
    Equal(String),
    Other(String),
}

impl Condition {
    pub fn and(self, other: Condition) -> Self {
        let mut parts = Vec::new();
        for part in [self, other] {
            match part {
                Self::All(inner) => parts.extend(inner),
                part => parts.push(part),
            }
        }
        Self::All(parts)
    }

    pub fn or(self, other: Condition) -> Self {
        let mut parts = Vec::new();
        for part in [self, other] {
            match part {
                Self::Any(inner) => parts.extend(inner),
                part => parts.push(part),
            }
        }
        Self::Any(parts)
    }

    pub fn negated(self) -> Self {
        match self {
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// Whether every way to meet it is a push to the default branch.
    pub fn only_default_branch(&self) -> bool {
        match self {
            Self::DefaultBranch => true,
            Self::All(parts) => parts.iter().any(Self::only_default_branch),
            Self::Any(parts) => !parts.is_empty() && parts.iter().all(Self::only_default_branch),
            _ => false,
        }
    }
}

/// How a dialect writes conditions in a language of expressions. Negations are pushed down to what they deny: not
/// every dialect has a `!`.
pub trait Expressions {
    const AND: &'static str = " && ";
    const OR: &'static str = " || ";

    fn leaf(&self, condition: &Condition, denied: bool) -> Option<String>;

    /// Nothing where a part of it cannot be said.
    fn write(&self, condition: &Condition) -> Option<String> {
        self.nested(condition, false, false)
    }

    fn nested(&self, condition: &Condition, denied: bool, inside: bool) -> Option<String> {
        let (parts, with) = match condition {
            Condition::All(parts) => (parts, if denied { Self::OR } else { Self::AND }),
            Condition::Any(parts) => (parts, if denied { Self::AND } else { Self::OR }),
            Condition::Not(inner) => return self.nested(inner, !denied, inside),
            leaf => return self.leaf(leaf, denied),
        };
        let nest = parts.len() > 1;
        let parts: Option<Vec<_>> = parts.iter().map(|part| self.nested(part, denied, nest)).collect();
        let text = parts?.join(with);
        Some(if inside && nest { format!("({text})") } else { text })
    }
}
