use domain::{Error, Result};

/// Longest name of a task type, in characters.
const NAME_CHARS: usize = 200;

/// Which tasks a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    All,
    /// A task type, whether anybody serves it or not.
    Type(String),
    /// The id of a row of `repos`.
    Repo(String),
}

impl Scope {
    /// `all`, `type` or `repo`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Type(_) => "type",
            Self::Repo(_) => "repo",
        }
    }

    /// Empty for everything.
    pub fn name(&self) -> &str {
        match self {
            Self::All => "",
            Self::Type(name) | Self::Repo(name) => name,
        }
    }

    pub(super) fn read(kind: &str, name: String) -> Self {
        match kind {
            "type" => Self::Type(name),
            "repo" => Self::Repo(name),
            _ => Self::All,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let name = self.name();
        let wrong = |why: &str| {
            Err(Error::invalid(format!("`{}` {why}", self.kind()))
                .next("Name a task type such as deploy, or a repository"))
        };
        match self {
            Self::All => Ok(()),
            _ if name.trim().is_empty() => wrong("is blank"),
            _ if name.chars().any(char::is_control) => wrong("holds control characters"),
            _ if name.chars().count() > NAME_CHARS => {
                wrong(&format!("is longer than {NAME_CHARS} characters"))
            }
            _ => Ok(()),
        }
    }
}

/// As a sentence names it: `tasks of the type deploy`.
impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all tasks"),
            Self::Type(name) => write!(f, "tasks of the type {name}"),
            Self::Repo(id) => write!(f, "tasks of the repository {id}"),
        }
    }
}
