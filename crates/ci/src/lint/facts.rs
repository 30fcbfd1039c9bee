//! What the rules that hold everywhere need to know of a job, whatever the dialect.

use crate::yaml::{Edit, Node, Place};

/// A text and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub text: String,
    pub at: Place,
}

impl Spot {
    pub fn of(node: &Node) -> Option<Self> {
        Some(Self {
            text: node.as_str()?.to_owned(),
            at: node.at,
        })
    }

    pub fn all(node: Option<&Node>) -> Vec<Self> {
        let texts = node.map(Node::texts).unwrap_or_default();
        texts.into_iter().filter_map(|(_, node)| Self::of(node)).collect()
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct JobFacts {
    pub id: String,
    pub at: Place,
    pub needs: Vec<Spot>,
    pub images: Vec<Spot>,
    pub scripts: Vec<Spot>,
    /// Nothing where no timeout is wanted of it.
    pub timeout: Option<Timeout>,
    /// Caches that no file's content tells apart, with what is meant by their key.
    pub loose_caches: Vec<(Place, String)>,
    /// Where it says that its failure is none, and how to take that away.
    pub may_fail: Option<(Place, Edit)>,
    pub stage: String,
}

#[derive(Clone, Debug)]
pub(super) struct Timeout {
    pub is_set: bool,
    /// What sets it.
    pub edit: Option<Edit>,
}
