use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a caller may do. Each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look at tasks, events, figures and the page.
    Read,
    /// Make tasks, cancel them and retry them.
    Enqueue,
    /// Decide what a task asks a person.
    Approve,
    /// Everything, also what concerns other callers' tasks: resetting stale claims, pausing the queue.
    Admin,
}

impl Role {
    pub const ALL: [Role; 4] = [Self::Read, Self::Enqueue, Self::Approve, Self::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Enqueue => "enqueue",
            Self::Approve => "approve",
            Self::Admin => "admin",
        }
    }

    /// Whether who has this role may do what asks for `needed`.
    pub fn includes(self, needed: Role) -> bool {
        self >= needed
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("unknown role {0:?}; known are read, enqueue, approve, admin, each including those before it")]
pub struct ParseRoleError(String);

impl FromStr for Role {
    type Err = ParseRoleError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == s)
            .ok_or_else(|| ParseRoleError(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_includes_those_before_it_and_no_later_one() {
        for (place, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!(role.as_str().parse::<Role>().unwrap(), role);
            for (other, needed) in Role::ALL.into_iter().enumerate() {
                assert_eq!(role.includes(needed), other <= place, "{role} and {needed}");
            }
        }
        assert!("root".parse::<Role>().unwrap_err().to_string().contains("admin"));
    }
}
