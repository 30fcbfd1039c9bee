//! One value of a file, with its place. Aliases are followed and `<<` is merged by whoever looks, not copied: a node
//! that is named by many aliases exists once.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::{Place, Span};

#[derive(Debug)]
pub struct Node {
    pub value: Value,
    pub at: Place,
    /// Without tag, anchor and comments; of a block, from its first key to the end of its last value.
    pub span: Span,
    /// As it was written, with its `!`: `!reference`.
    pub tag: Option<String>,
    pub anchored: bool,
    /// How many values it stands for when every alias is followed.
    pub(super) weight: u64,
    /// How deep it goes when every alias is followed; whoever walks down recurses at most so far.
    pub(super) height: usize,
    pub(super) flow: bool,
    /// Of a map with many keys, made when one is first asked for.
    pub(super) index: OnceLock<Index>,
}

/// Where the keys of a map stand: the last of each, as parsers take it, and all that merge others in.
#[derive(Debug)]
pub(super) struct Index {
    last: HashMap<String, usize>,
    merges: Vec<usize>,
}

/// Maps of so few keys are looked through.
const FEW_KEYS: usize = 16;

#[derive(Debug)]
pub enum Value {
    Scalar {
        text: String,
        /// Neither quoted nor a block: such a text may mean a number, a truth or nothing.
        plain: bool,
    },
    List(Vec<Arc<Node>>),
    Map(Vec<(Arc<Node>, Arc<Node>)>),
    Alias(Arc<Node>),
}

impl Node {
    /// What an alias stands for; anything else is itself.
    pub fn target(&self) -> &Node {
        let mut node = self;
        while let Value::Alias(to) = &node.value {
            node = to;
        }
        node
    }

    pub fn as_str(&self) -> Option<&str> {
        match &self.target().value {
            Value::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        match &self.target().value {
            Value::Scalar { text, plain: true } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// As YAML 1.1 has it, which the five systems' parsers still do.
    pub fn as_bool(&self) -> Option<bool> {
        match &self.target().value {
            Value::Scalar { text, plain: true } => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Some(true),
                "false" | "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<u64> {
        self.as_str()?.parse().ok()
    }

    pub fn is_list(&self) -> bool {
        matches!(self.target().value, Value::List(_))
    }

    pub fn is_map(&self) -> bool {
        matches!(self.target().value, Value::Map(_))
    }

    /// A list's items; nothing of what is no list.
    pub fn items(&self) -> impl Iterator<Item = &Node> {
        let items: &[Arc<Node>] = match &self.target().value {
            Value::List(items) => items,
            _ => &[],
        };
        items.iter().map(|item| item.target())
    }

    /// The items of a list, or the one value that stands where a list may.
    pub fn one_or_more(&self) -> Vec<&Node> {
        match &self.target().value {
            Value::List(_) => self.items().collect(),
            _ if self.is_null() => Vec::new(),
            _ => vec![self.target()],
        }
    }

    /// All the texts in it, however deep lists stand in lists: GitLab and anchors make scripts of scripts.
    pub fn texts(&self) -> Vec<(&str, &Node)> {
        let mut found = Vec::new();
        self.collect_texts(&mut found);
        found
    }

    fn collect_texts<'n>(&'n self, found: &mut Vec<(&'n str, &'n Node)>) {
        let node = self.target();
        match &node.value {
            Value::Scalar { text, .. } if !node.is_null() => found.push((text, node)),
            Value::List(items) => items.iter().for_each(|item| item.collect_texts(found)),
            _ => {}
        }
    }

    /// A map's entries: its own, and then what `<<` brings that it has not itself.
    pub fn entries(&self) -> Vec<(&Node, &Node)> {
        let mut found: Vec<(&Node, &Node)> = Vec::new();
        let Value::Map(own) = &self.target().value else {
            return found;
        };
        let mut merged = Vec::new();
        for (key, value) in own {
            if is_merge(key) {
                merged.push(value);
            } else {
                found.push((key, value.target()));
            }
        }
        for source in merged.into_iter().flat_map(|value| value.one_or_more()) {
            for (key, value) in source.entries() {
                if !found.iter().any(|(own, _)| own.as_str() == key.as_str()) {
                    found.push((key, value));
                }
            }
        }
        found
    }

    /// A value by its key: the last of them where it is written twice, as parsers take it; else what `<<` brings.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let node = self.target();
        let Value::Map(own) = &node.value else {
            return None;
        };
        if own.len() > FEW_KEYS {
            let index = node.index.get_or_init(|| Index::of(own));
            return match index.last.get(key) {
                Some(at) => Some(own[*at].1.target()),
                None => merged(index.merges.iter().map(|at| &own[*at].1), key),
            };
        }
        let direct = own.iter().rev().find(|(own, _)| own.as_str() == Some(key));
        match direct {
            Some((_, value)) => Some(value.target()),
            None => {
                let merges = own.iter().filter(|(own, _)| is_merge(own));
                merged(merges.map(|(_, value)| value), key)
            }
        }
    }

    /// The key's own node, for its place.
    pub fn key(&self, key: &str) -> Option<&Node> {
        let entries = self.entries();
        entries
            .iter()
            .rev()
            .find(|(own, _)| own.as_str() == Some(key))
            .map(|(own, _)| *own)
    }

    pub fn str(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// Keys that stand in one map twice: the first of them counts for nothing.
    pub fn doubled_keys(&self) -> Vec<&Node> {
        let mut found = Vec::new();
        match &self.value {
            Value::Map(own) => {
                let mut seen = std::collections::HashSet::new();
                for (key, value) in own {
                    if let Some(text) = key.as_str()
                        && !is_merge(key)
                        && !seen.insert(text)
                    {
                        found.push(&**key);
                    }
                    found.extend(value.doubled_keys());
                }
            }
            Value::List(items) => found.extend(items.iter().flat_map(|item| item.doubled_keys())),
            Value::Scalar { .. } | Value::Alias(_) => {}
        }
        found
    }
}

impl Index {
    fn of(own: &[(Arc<Node>, Arc<Node>)]) -> Self {
        let places = || own.iter().enumerate();
        Self {
            last: places()
                .filter_map(|(at, (key, _))| Some((key.as_str()?.to_owned(), at)))
                .collect(),
            merges: places()
                .filter(|(_, (key, _))| is_merge(key))
                .map(|(at, _)| at)
                .collect(),
        }
    }
}

fn merged<'n>(mut sources: impl Iterator<Item = &'n Arc<Node>>, key: &str) -> Option<&'n Node> {
    sources.find_map(|value| value.one_or_more().into_iter().find_map(|source| source.get(key)))
}

fn is_merge(key: &Node) -> bool {
    matches!(&key.value, Value::Scalar { text, plain: true } if text == "<<")
}
