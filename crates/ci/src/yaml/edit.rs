//! Changes to a person's file that leave every byte outside of the change as it is: comments, order, quotes, line
//! ends. Each change is one splice; the result is read again, and given out only if it means what was asked for and
//! nothing else, so an anchor that others name cannot be changed under them.

use std::ops::Range;

use serde::Serialize;

use super::meaning::Plain;
use super::write::{after_key, block, inline, item_text, key_text};
use super::{Fault, Node, Value, Yaml, parse};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Step {
    Key(String),
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// One change to a file's last document.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Replaces what stands there; a key that is missing is put at the end of its map, with the maps above it.
    Set(Vec<Step>, Yaml),
    /// Puts an item before the one at this place of a list, or at its end.
    Insert(Vec<Step>, usize, Yaml),
    Remove(Vec<Step>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error(transparent)]
    Unreadable(#[from] Fault),
    #[error("{0} is not in the file")]
    NotThere(String),
    #[error("{0} comes from an anchor that others name too; change it where it is written")]
    Shared(String),
    #[error("{0} cannot be changed without changing something else; edit the file by hand")]
    Entangled(String),
}

/// The way to a value as people write it: `jobs/test/steps/0/run`. What is a number counts items where there are any.
pub fn path(text: &str) -> Vec<Step> {
    text.split('/')
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().map_or_else(|_| Step::from(part), Step::Index))
        .collect()
}

pub fn set(text: &str, path: &[Step], value: Yaml) -> Result<String, EditError> {
    apply(text, &Edit::Set(path.to_vec(), value))
}

pub fn insert(text: &str, path: &[Step], index: usize, value: Yaml) -> Result<String, EditError> {
    apply(text, &Edit::Insert(path.to_vec(), index, value))
}

pub fn remove(text: &str, path: &[Step]) -> Result<String, EditError> {
    apply(text, &Edit::Remove(path.to_vec()))
}

pub fn apply(text: &str, edit: &Edit) -> Result<String, EditError> {
    let documents = parse(text)?;
    let root = documents.last().map(|root| &**root);
    let place = match edit {
        Edit::Set(path, _) | Edit::Insert(path, ..) | Edit::Remove(path) => shown(path),
    };
    let splice = match (root, edit) {
        (None, Edit::Set(path, value)) if !path.is_empty() => {
            let nested = nest(path, value.clone()).ok_or_else(|| EditError::NotThere(place.clone()))?;
            let gap = if text.is_empty() || text.ends_with('\n') {
                ""
            } else {
                "\n"
            };
            Splice::at(text.len(), format!("{gap}{}", block(&nested, 0)))
        }
        (None, _) => return Err(EditError::NotThere(place)),
        (Some(root), edit) => splice(text, root, edit)?,
    };
    let result = splice.on(text);
    let wanted = documents
        .last()
        .map_or_else(|| Some(Plain::Null), |root| Some(Plain::of(root)));
    let wanted = wanted.and_then(|mut tree| tree.change(edit).then_some(tree));
    let again = parse(&result).map_err(|_| EditError::Entangled(place.clone()))?;
    let same_others = again.len() >= documents.len()
        && documents
            .iter()
            .zip(&again)
            .take(documents.len().saturating_sub(1))
            .all(|(before, after)| Plain::of(before) == Plain::of(after));
    match again.last() {
        Some(root) if same_others && wanted == Some(Plain::of(root)) => Ok(result),
        _ => Err(EditError::Entangled(place)),
    }
}

fn shown(path: &[Step]) -> String {
    let parts: Vec<_> = path
        .iter()
        .map(|step| match step {
            Step::Key(key) => key.clone(),
            Step::Index(index) => index.to_string(),
        })
        .collect();
    format!("`{}`", parts.join("/"))
}

/// A part of the text and what stands in its place.
struct Splice {
    range: Range<usize>,
    with: String,
}

impl Splice {
    fn at(at: usize, with: String) -> Self {
        Self { range: at..at, with }
    }

    fn new(range: Range<usize>, with: impl Into<String>) -> Self {
        Self {
            range,
            with: with.into(),
        }
    }

    fn on(&self, text: &str) -> String {
        let crlf = text
            .split_once('\n')
            .is_some_and(|(first, _)| first.ends_with('\r'));
        let with = if crlf {
            self.with.replace('\n', "\r\n")
        } else {
            self.with.clone()
        };
        format!("{}{with}{}", &text[..self.range.start], &text[self.range.end..])
    }
}

/// A value's place: the node and what holds it.
struct Found<'n> {
    node: &'n Node,
    holder: Holder<'n>,
    in_flow: bool,
}

#[derive(Clone, Copy)]
enum Holder<'n> {
    Document,
    Map { map: &'n Node, entry: usize },
    List { list: &'n Node, index: usize },
}

/// Follows the path as far as it leads; what is left of it is returned too.
fn find<'n, 'p>(root: &'n Node, path: &'p [Step]) -> Result<(Found<'n>, &'p [Step]), EditError> {
    let mut found = Found {
        node: root,
        holder: Holder::Document,
        in_flow: root.flow,
    };
    for (depth, step) in path.iter().enumerate() {
        let here = || shown(&path[..=depth]);
        let node = found.node;
        let next = match (&node.value, step) {
            (Value::Alias(_), _) => return Err(EditError::Shared(here())),
            (Value::Map(entries), step) => {
                let key = match step {
                    Step::Key(key) => key.clone(),
                    Step::Index(index) => index.to_string(),
                };
                match entries
                    .iter()
                    .rposition(|(own, _)| own.as_str() == Some(key.as_str()))
                {
                    Some(entry) => Some((&*entries[entry].1, Holder::Map { map: node, entry })),
                    None if node.get(&key).is_some() => return Err(EditError::Shared(here())),
                    None => None,
                }
            }
            (Value::List(items), Step::Index(index)) => items.get(*index).map(|item| {
                (
                    &**item,
                    Holder::List {
                        list: node,
                        index: *index,
                    },
                )
            }),
            _ => None,
        };
        match next {
            Some((node, holder)) => {
                found = Found {
                    in_flow: found.in_flow
                        || node.flow && matches!(node.value, Value::Map(_) | Value::List(_)),
                    node,
                    holder,
                };
            }
            None => return Ok((found, &path[depth..])),
        }
    }
    Ok((found, &[]))
}

fn splice(text: &str, root: &Node, edit: &Edit) -> Result<Splice, EditError> {
    match edit {
        Edit::Set(path, value) => {
            let (found, left) = find(root, path)?;
            if left.is_empty() {
                return replace(text, &found, value, path);
            }
            let value = nest(&left[1..], value.clone()).ok_or_else(|| EditError::NotThere(shown(path)))?;
            let Step::Key(key) = &left[0] else {
                return Err(EditError::NotThere(shown(path)));
            };
            match &found.node.value {
                Value::Map(_) => put(text, &found, key, &value),
                _ if found.node.is_null() => {
                    replace(text, &found, &super::map().with(key.clone(), value), path)
                }
                _ => Err(EditError::NotThere(shown(path))),
            }
        }
        Edit::Insert(path, index, value) => {
            let (found, left) = find(root, path)?;
            match &found.node.value {
                Value::List(items) if left.is_empty() && *index <= items.len() => {
                    Ok(put_item(text, &found, *index, value))
                }
                Value::Alias(_) => Err(EditError::Shared(shown(path))),
                _ => Err(EditError::NotThere(shown(path))),
            }
        }
        Edit::Remove(path) => {
            let (found, left) = find(root, path)?;
            if !left.is_empty() {
                return Err(EditError::NotThere(shown(path)));
            }
            take_away(text, &found).ok_or_else(|| EditError::Entangled(shown(path)))
        }
    }
}

/// The maps that a path needs above its value.
fn nest(path: &[Step], value: Yaml) -> Option<Yaml> {
    path.iter().rev().try_fold(value, |value, step| match step {
        Step::Key(key) => Some(super::map().with(key.clone(), value)),
        Step::Index(_) => None,
    })
}

fn replace(text: &str, found: &Found, value: &Yaml, path: &[Step]) -> Result<Splice, EditError> {
    let node = found.node;
    let start = start_with_tag(text, node);
    match found.holder {
        Holder::Document => Ok(Splice::new(
            start..node.span.end,
            block(value, 0).trim_end().to_owned(),
        )),
        _ if found.in_flow && !in_block(found) => Ok(Splice::new(start..node.span.end, inline(value))),
        Holder::Map { map, entry } => {
            let Value::Map(entries) = &map.value else {
                return Err(EditError::NotThere(shown(path)));
            };
            let key = &entries[entry].0;
            let colon = colon_after(text, key.span.end).ok_or_else(|| EditError::Entangled(shown(path)))?;
            let indent = column(text, key.span.start);
            let empty = node.span.start >= node.span.end;
            let old_start = if empty { colon } else { start };
            let same_line = !text[colon..old_start].contains('\n');
            if !same_line && value_is_block(value) {
                let at = column(text, start);
                let new = block(value, at);
                return Ok(Splice::new(
                    start..node.span.end,
                    new.trim_start_matches(' ').trim_end_matches('\n'),
                ));
            }
            let mut new = String::new();
            after_key(value, indent, &mut new);
            let new = new[1..].trim_end_matches('\n');
            let end = if empty { colon } else { node.span.end };
            let first_line = line_end(text, colon);
            // A comment beside the key stays beside it.
            if same_line && value_is_block(value) {
                let beside = text[end..line_end(text, end)].trim_end();
                return Ok(Splice::new(colon..line_end(text, end), format!("{beside}{new}")));
            }
            if !same_line {
                let beside = text[colon..first_line].trim_end();
                return Ok(Splice::new(colon..end, format!("{new}{beside}")));
            }
            Ok(Splice::new(colon..end, new))
        }
        Holder::List { .. } => {
            let indent = column(text, start).saturating_sub(2);
            let mut new = String::new();
            item_text(value, indent, &mut new);
            let end = node.span.end.max(start);
            Ok(Splice::new(start..end, new[2..].trim_end_matches('\n')))
        }
    }
}

/// A flow collection that itself is a block's value: it may be replaced by a block.
fn in_block(found: &Found) -> bool {
    match found.holder {
        Holder::Document => true,
        Holder::Map { map, .. } => !map.flow,
        Holder::List { list, .. } => !list.flow,
    }
}

fn value_is_block(value: &Yaml) -> bool {
    match value {
        Yaml::Map(entries) => !entries.is_empty(),
        Yaml::List(items) => !items.is_empty(),
        Yaml::Noted(value, _) => value_is_block(value),
        _ => false,
    }
}

fn put(text: &str, found: &Found, key: &str, value: &Yaml) -> Result<Splice, EditError> {
    let Value::Map(entries) = &found.node.value else {
        return Err(EditError::NotThere(format!("`{key}`")));
    };
    if found.node.flow {
        let pair = format!("{}: {}", inline(&Yaml::from(key)), inline(value));
        return Ok(match entries.last() {
            Some((key, value)) => Splice::at(value.span.end.max(key.span.end), format!(", {pair}")),
            None => Splice::at(found.node.span.start + 1, pair),
        });
    }
    let Some((last_key, last)) = entries.last() else {
        return Err(EditError::Entangled(format!("`{key}`")));
    };
    let indent = column(text, entries[0].0.span.start);
    let mut line = format!("{}{}", " ".repeat(indent), key_text(key));
    after_key(value, indent, &mut line);
    let end = line_end(text, last.span.end.max(last_key.span.end));
    Ok(Splice::at(end, format!("\n{}", line.trim_end_matches('\n'))))
}

fn put_item(text: &str, found: &Found, index: usize, value: &Yaml) -> Splice {
    let node = found.node;
    let Value::List(items) = &node.value else {
        return Splice::at(node.span.end, String::new());
    };
    if node.flow || items.is_empty() {
        return match (
            index.checked_sub(1).and_then(|before| items.get(before)),
            items.first(),
        ) {
            (Some(before), _) => Splice::at(before.span.end, format!(", {}", inline(value))),
            (None, Some(first)) => Splice::at(start_with_tag(text, first), format!("{}, ", inline(value))),
            (None, None) => Splice::at(node.span.start + 1, inline(value)),
        };
    }
    let first = dash_before(text, &items[0]);
    let indent = column(text, first);
    let mut item = String::new();
    item_text(value, indent, &mut item);
    match index.checked_sub(1) {
        // What stands above an item, as a comment, stays above it.
        Some(before) => {
            let end = line_end(
                text,
                items[before].span.end.max(dash_before(text, &items[before]) + 1),
            );
            Splice::at(
                end,
                format!("\n{}{}", " ".repeat(indent), item.trim_end_matches('\n')),
            )
        }
        None => Splice::at(first, format!("{item}{}", " ".repeat(indent))),
    }
}

fn take_away(text: &str, found: &Found) -> Option<Splice> {
    let (starts, ends, this, holder): (Vec<usize>, Vec<usize>, usize, &Node) = match found.holder {
        Holder::Document => return None,
        Holder::Map { map, entry } => {
            let Value::Map(entries) = &map.value else {
                return None;
            };
            let starts = entries.iter().map(|(key, _)| key.span.start).collect();
            let ends = entries
                .iter()
                .map(|(key, value)| {
                    value
                        .span
                        .end
                        .max(colon_after(text, key.span.end).unwrap_or(key.span.end))
                })
                .collect();
            (starts, ends, entry, map)
        }
        Holder::List { list, index } => {
            let Value::List(items) = &list.value else {
                return None;
            };
            let start = |item: &Node| {
                if list.flow {
                    start_with_tag(text, item)
                } else {
                    dash_before(text, item)
                }
            };
            let starts: Vec<_> = items.iter().map(|item| start(item)).collect();
            let ends = items
                .iter()
                .zip(&starts)
                .map(|(item, start)| item.span.end.max(start + 1))
                .collect();
            (starts, ends, index, list)
        }
    };
    let (start, end) = (*starts.get(this)?, *ends.get(this)?);
    if starts.len() == 1 {
        let empty = if holder.is_map() { "{}" } else { "[]" };
        let at = holder.span.start.min(start);
        return Some(Splice::new(at..holder.span.end.max(end), empty));
    }
    if holder.flow {
        return Some(match starts.get(this + 1) {
            Some(next) => Splice::new(start..*next, ""),
            None => Splice::new(ends[this - 1]..end, ""),
        });
    }
    let line = text[..start].rfind('\n').map_or(0, |at| at + 1);
    if !text[line..start].trim().is_empty() {
        // It begins beside the dash of an item, where the next entry takes its place.
        return Some(Splice::new(start..*starts.get(this + 1)?, ""));
    }
    let end = line_end(text, end);
    Some(match text[end..].find('\n') {
        Some(0) => Splice::new(line..end + 1, ""),
        Some(1) => Splice::new(line..end + 2, ""),
        // The file ends without a line's end, and still does.
        _ => Splice::new(text[..line].trim_end_matches(['\n', '\r']).len()..end, ""),
    })
}

/// Behind the colon that follows a key.
fn colon_after(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let blank = rest.len() - rest.trim_start_matches([' ', '\t']).len();
    rest[blank..].starts_with(':').then_some(at + blank + 1)
}

/// The end of the line that this byte stands in, before its `\n` or `\r\n`.
fn line_end(text: &str, at: usize) -> usize {
    let end = text[at..].find('\n').map_or(text.len(), |found| at + found);
    if text[at..end].ends_with('\r') {
        end - 1
    } else {
        end
    }
}

/// How many characters stand before this byte in its line.
fn column(text: &str, at: usize) -> usize {
    let line = text[..at].rfind('\n').map_or(0, |found| found + 1);
    text[line..at].chars().count()
}

/// Where a value begins, its tag included; an anchor stays, as others may name it.
fn start_with_tag(text: &str, node: &Node) -> usize {
    let start = node.span.start;
    match &node.tag {
        Some(tag) => {
            let before = text[..start].trim_end();
            if before.ends_with(tag.as_str()) {
                before.len() - tag.len()
            } else {
                start
            }
        }
        None => start,
    }
}

/// The dash of a block list's item.
fn dash_before(text: &str, item: &Node) -> usize {
    let start = start_with_tag(text, item).min(text.len());
    let before = text[..start].trim_end();
    if before.ends_with('-') {
        return before.len() - 1;
    }
    if text[start..].starts_with('-') {
        return start;
    }
    before.rfind('-').unwrap_or(start)
}
