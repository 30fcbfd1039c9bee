//! What a file means, apart from how it is written: by this an edit is checked.

use super::edit::{Edit, Step};
use super::write::block;
use super::{Node, Value, Yaml, parse};

/// What a file means, aliases and merges written out: two files that are read the same are equal here.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Scalar(String, Option<String>),
    List(Vec<Plain>, Option<String>),
    Map(Vec<(Plain, Plain)>, Option<String>),
}

impl Plain {
    pub(super) fn of(node: &Node) -> Self {
        let node = node.target();
        let tag = node.tag.clone();
        match &node.value {
            _ if node.is_null() => Self::Null,
            // A quoted `5` and a plain one differ.
            Value::Scalar { text, plain } if *plain && !super::plain(text) => {
                Self::Scalar(text.clone(), Some(format!("plain {}", tag.unwrap_or_default())))
            }
            Value::Scalar { text, .. } => Self::Scalar(text.clone(), tag),
            Value::List(items) => Self::List(items.iter().map(|item| Self::of(item)).collect(), tag),
            Value::Map(entries) => Self::Map(
                entries
                    .iter()
                    .map(|(key, value)| (Self::of(key), Self::of(value)))
                    .collect(),
                tag,
            ),
            Value::Alias(_) => Self::Null,
        }
    }

    /// A value as it will be read once it is written.
    fn of_new(value: &Yaml) -> Self {
        let text = block(value, 0);
        parse(&text)
            .ok()
            .and_then(|read| read.last().map(|root| Self::of(root)))
            .unwrap_or(Self::Null)
    }

    /// The same change, made to the meaning.
    pub(super) fn change(&mut self, edit: &Edit) -> bool {
        match edit {
            Edit::Set(path, value) => {
                let new = Self::of_new(value);
                self.at(path, true).is_some_and(|here| {
                    *here = new;
                    true
                })
            }
            Edit::Insert(path, index, value) => match self.at(path, false) {
                Some(Self::List(items, _)) if *index <= items.len() => {
                    items.insert(*index, Self::of_new(value));
                    true
                }
                _ => false,
            },
            Edit::Remove(path) => {
                let Some((last, above)) = path.split_last() else {
                    return false;
                };
                match (self.at(above, false), last) {
                    (Some(Self::List(items, _)), Step::Index(index)) if *index < items.len() => {
                        items.remove(*index);
                        true
                    }
                    (Some(Self::Map(entries, _)), step) => {
                        let found = entries.iter().rposition(|(key, _)| key.is(step));
                        found.map(|at| entries.remove(at)).is_some()
                    }
                    _ => false,
                }
            }
        }
    }

    fn is(&self, step: &Step) -> bool {
        match (self, step) {
            (Self::Scalar(text, _), Step::Key(key)) => text == key,
            (Self::Scalar(text, _), Step::Index(index)) => *text == index.to_string(),
            _ => false,
        }
    }

    fn at(&mut self, path: &[Step], make: bool) -> Option<&mut Self> {
        let Some((step, rest)) = path.split_first() else {
            return Some(self);
        };
        if make && *self == Self::Null {
            *self = Self::Map(Vec::new(), None);
        }
        match (self, step) {
            (Self::List(items, _), Step::Index(index)) => items.get_mut(*index)?.at(rest, make),
            (Self::Map(entries, _), step) => {
                let found = match entries.iter().rposition(|(key, _)| key.is(step)) {
                    Some(found) => found,
                    None if make => {
                        let Step::Key(key) = step else { return None };
                        entries.push((Self::of_new(&Yaml::from(key.as_str())), Self::Null));
                        entries.len() - 1
                    }
                    None => return None,
                };
                entries[found].1.at(rest, make)
            }
            _ => None,
        }
    }
}
