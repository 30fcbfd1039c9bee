//! A job as GitLab sees it: with what it extends, what `default` gives it, and `!reference` followed.

use super::words::pairs;
use crate::yaml::{Node, Value};

/// Of GitLab: so many templates may extend each other.
const DEEPEST: usize = 11;
/// Keys of `default`, or of the top level in old files, that every job has.
const INHERITED: &[&str] = &[
    "image",
    "services",
    "before_script",
    "after_script",
    "cache",
    "artifacts",
    "retry",
    "tags",
    "timeout",
    "interruptible",
];

pub(crate) struct View<'n> {
    /// The job itself first, then what it extends, the nearest first.
    layers: Vec<&'n Node>,
    defaults: Vec<&'n Node>,
    /// What it extends that is not there.
    pub missing: Vec<String>,
}

impl<'n> View<'n> {
    pub fn of(job: &'n Node, root: &'n Node, default: Option<&'n Node>) -> Self {
        let mut view = Self {
            layers: Vec::new(),
            defaults: default.into_iter().chain([root]).collect(),
            missing: Vec::new(),
        };
        view.add(job, root, 0);
        view
    }

    fn add(&mut self, job: &'n Node, root: &'n Node, depth: usize) {
        self.layers.push(job);
        if depth >= DEEPEST {
            return;
        }
        let Some(extends) = job.get("extends") else { return };
        // The last one named wins over those before it.
        for name in extends.one_or_more().into_iter().rev().filter_map(Node::as_str) {
            match root.get(name).filter(|node| node.is_map()) {
                Some(parent) => self.add(parent, root, depth + 1),
                None => self.missing.push(name.to_owned()),
            }
        }
    }

    pub fn get(&self, key: &str) -> Option<&'n Node> {
        let own = self.layers.iter().find_map(|layer| layer.get(key));
        own.or_else(|| {
            INHERITED
                .contains(&key)
                .then(|| self.defaults.iter().find_map(|layer| layer.get(key)))
                .flatten()
        })
    }

    pub fn str(&self, key: &str) -> Option<&'n str> {
        self.get(key)?.as_str()
    }

    pub fn line(&self) -> usize {
        self.layers.first().map_or(1, |job| job.at.line)
    }

    /// Its own keys and those that it extends, each once.
    pub fn keys(&self) -> Vec<(&'n str, &'n Node)> {
        let mut found: Vec<(&str, &Node)> = Vec::new();
        for (key, node) in self.layers.iter().flat_map(|layer| layer.entries()) {
            if let Some(key) = key.as_str()
                && !found.iter().any(|(own, _)| *own == key)
            {
                found.push((key, node));
            }
        }
        found
    }

    /// Variables are put together from all that it extends; its own win.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut found: Vec<(String, String)> = Vec::new();
        for layer in &self.layers {
            for (name, value) in layer.get("variables").map(pairs).unwrap_or_default() {
                if !found.iter().any(|(own, _)| *own == name) {
                    found.push((name, value));
                }
            }
        }
        found
    }
}

/// A script's lines, lists in lists and `!reference` written out. What leads nowhere goes to `missing`.
pub(crate) fn resolve(node: &Node, root: &Node, missing: &mut Vec<(usize, String)>) -> Vec<String> {
    let mut lines = Vec::new();
    follow(node, root, 0, &mut lines, missing);
    lines
}

fn follow(
    node: &Node,
    root: &Node,
    depth: usize,
    lines: &mut Vec<String>,
    missing: &mut Vec<(usize, String)>,
) {
    let node = node.target();
    if node.tag.as_deref() == Some("!reference") {
        let path: Vec<&str> = node.texts().into_iter().map(|(text, _)| text).collect();
        let found = path.iter().try_fold(root, |node, key| node.get(key));
        match found {
            Some(found) if depth < DEEPEST && !path.is_empty() => {
                follow(found, root, depth + 1, lines, missing)
            }
            _ => missing.push((node.at.line, format!("[{}]", path.join(", ")))),
        }
        return;
    }
    match &node.value {
        Value::Scalar { text, .. } if !node.is_null() => lines.push(text.clone()),
        Value::List(items) => items
            .iter()
            .for_each(|item| follow(item, root, depth, lines, missing)),
        _ => {}
    }
}
