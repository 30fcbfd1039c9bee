//! A handler that does what its payload says, and a world outside that remembers what was done to it: the
//! stuff that crash matrices and random tests are made of.

mod draw;
mod generate;
mod handler;
mod outside;

pub use draw::Rng;
pub use generate::{Generator, faults, smaller};
pub use handler::Scripted;
pub use outside::Outside;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a task is to do, and what besides undoing when it is unwound.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Program {
    pub run: Vec<Node>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unwind: Vec<Node>,
}

/// One thing to do. Keys are unique in a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// Declares a wanted state outside; fails transiently `flaky` times first.
    Step {
        key: String,
        flaky: u32,
    },
    /// Adds something outside, which must not happen twice. Each of `flaky` tries is refused transiently; with
    /// `cut`, the first accepted one loses its answer.
    Effect {
        key: String,
        flaky: u32,
        cut: bool,
    },
    /// Fails for good; the handler goes on when it is `caught`.
    Fail {
        key: String,
        caught: bool,
    },
    /// Never works, and always might.
    GiveUp {
        key: String,
    },
    Panic {
        key: String,
    },
    Sleep {
        key: String,
        seconds: u64,
    },
    /// Waits for a signal; with a limit it is one that never comes.
    Wait {
        key: String,
        limit: Option<u64>,
    },
    Lock {
        resource: String,
    },
    Spawn {
        key: String,
        child: Program,
        awaited: bool,
    },
    Branches {
        name: String,
        of: Vec<Vec<Node>>,
    },
    Tell {
        key: String,
    },
    /// A step that records something in a memory port.
    Remember {
        key: String,
    },
}

impl Node {
    /// Whether nothing after it is done.
    pub fn ends_run(&self) -> bool {
        matches!(
            self,
            Node::Fail { caught: false, .. } | Node::GiveUp { .. } | Node::Panic { .. }
        )
    }
}

impl Program {
    /// How it ends when nothing from outside disturbs it.
    pub fn fails(&self) -> bool {
        self.run.iter().any(Node::ends_run)
    }

    /// Whether its unwinding fails, so that it is held for a person.
    pub fn unwinding_fails(&self) -> bool {
        self.unwind.iter().any(Node::ends_run)
    }

    /// What stands outside after it completed.
    pub fn leaves(&self) -> Vec<String> {
        fn walk(nodes: &[Node], keys: &mut Vec<String>) {
            for node in nodes {
                match node {
                    Node::Step { key, .. } | Node::Effect { key, .. } => keys.push(key.clone()),
                    Node::Branches { of, .. } => of.iter().for_each(|branch| walk(branch, keys)),
                    _ => {}
                }
            }
        }
        let mut keys = Vec::new();
        walk(&self.run, &mut keys);
        keys
    }

    /// The signals that it, or a child of it, waits for without a limit.
    pub fn signals(&self) -> Vec<String> {
        fn walk(nodes: &[Node], names: &mut Vec<String>) {
            for node in nodes {
                match node {
                    Node::Wait { key, limit: None } => names.push(key.clone()),
                    Node::Branches { of, .. } => of.iter().for_each(|branch| walk(branch, names)),
                    Node::Spawn { child, .. } => names.extend(child.signals()),
                    _ => {}
                }
            }
        }
        let mut names = Vec::new();
        walk(&self.run, &mut names);
        walk(&self.unwind, &mut names);
        names
    }
}
