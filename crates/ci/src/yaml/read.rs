//! From bytes to nodes. What a file can make a reader do is bounded before it does it: bytes, depth, and what its
//! aliases stand for together (a "billion laughs" is small on disk).

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::{Fault, Node, Place, Span, Value};

/// GitLab reads at most 1 MiB of a file, GitHub 512 KiB of a workflow.
pub const MOST_BYTES: usize = 2 * 1024 * 1024;
/// Of lists and maps in each other, an alias counted as what it names.
pub const MOST_DEPTH: usize = 96;
/// Values of all documents, each alias counted as what it stands for.
pub const MOST_NODES: u64 = 200_000;

/// The text of a file, if it is one and not too large.
pub fn text(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > MOST_BYTES {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            format!(
                "the file has {} bytes, and {MOST_BYTES} are read at most",
                bytes.len()
            ),
            "Split it: no CI system reads a file of this size",
        ));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default();
        let line = good.matches('\n').count() + 1;
        let column = good.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Fault::new(
            Place { line, column },
            "not text in UTF-8",
            "Save the file as UTF-8",
        )
    })
}

/// The documents of a file, the last one last. An empty file has none.
pub fn parse(text: &str) -> Result<Vec<Arc<Node>>, Fault> {
    self::text(text.as_bytes())?;
    let base = if text.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    let mut builder = Builder {
        text,
        bytes: Offsets::of(&text[base..], base),
        open: Vec::new(),
        anchors: HashMap::new(),
        documents: Vec::new(),
        weight: 0,
    };
    for event in Parser::new_from_str(&text[base..]) {
        let (event, span) = event.map_err(|error| {
            let at = Place {
                line: error.marker().line().max(1),
                column: error.marker().col() + 1,
            };
            Fault::new(
                at,
                format!("not YAML: {}", error.info()),
                "Mend the line, or the one before it",
            )
        })?;
        let at = Place {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        };
        let span = Span {
            start: builder.bytes.at(span.start.index()),
            end: builder.bytes.at(span.end.index()),
        };
        builder.take(event, at, span)?;
    }
    Ok(builder.documents)
}

/// From the parser's places, in characters, to ours, in bytes.
enum Offsets {
    Ascii { base: usize, end: usize },
    Other(Vec<usize>),
}

impl Offsets {
    fn of(text: &str, base: usize) -> Self {
        if text.is_ascii() {
            return Self::Ascii {
                base,
                end: base + text.len(),
            };
        }
        let ends = std::iter::once(base + text.len());
        Self::Other(text.char_indices().map(|(at, _)| base + at).chain(ends).collect())
    }

    fn at(&self, index: usize) -> usize {
        match self {
            Self::Ascii { base, end } => (base + index).min(*end),
            Self::Other(offsets) => offsets[index.min(offsets.len() - 1)],
        }
    }
}

struct Builder<'t> {
    text: &'t str,
    bytes: Offsets,
    open: Vec<Open>,
    anchors: HashMap<usize, Arc<Node>>,
    documents: Vec<Arc<Node>>,
    weight: u64,
}

/// A list or a map whose end is still to come.
struct Open {
    at: Place,
    start: usize,
    tag: Option<String>,
    anchor: usize,
    is_map: bool,
    flow: bool,
    /// Keys and values in turn, for a map.
    children: Vec<Arc<Node>>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, at: Place, span: Span) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain);
                let own = self.of_scalar(span, &text, style, anchor != 0 || tag.is_some());
                let at = match style {
                    ScalarStyle::Literal | ScalarStyle::Folded => self.place_above(at, own.start, span.start),
                    _ => at,
                };
                let node = Node {
                    span: own,
                    value: Value::Scalar {
                        text: text.into_owned(),
                        plain,
                    },
                    at,
                    tag: tag.as_deref().map(written),
                    anchored: anchor != 0,
                    weight: 1,
                    height: 1,
                    flow: false,
                    index: OnceLock::new(),
                };
                self.done(node, anchor)
            }
            Event::SequenceStart(anchor, tag) => self.begin(at, span, anchor, tag.as_deref(), false),
            Event::MappingStart(anchor, tag) => self.begin(at, span, anchor, tag.as_deref(), true),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.close(open, span),
                None => Ok(()),
            },
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id) else {
                    return Err(Fault::new(
                        at,
                        "an alias stands inside of what it names",
                        "Write out what is meant there; no CI system follows such an alias",
                    ));
                };
                let node = Node {
                    value: Value::Alias(Arc::clone(target)),
                    at,
                    span,
                    tag: None,
                    anchored: false,
                    weight: target.weight,
                    height: target.height + 1,
                    flow: false,
                    index: OnceLock::new(),
                };
                self.done(node, 0)
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(
        &mut self,
        at: Place,
        span: Span,
        anchor: usize,
        tag: Option<&Tag>,
        is_map: bool,
    ) -> Result<(), Fault> {
        if self.open.len() >= MOST_DEPTH {
            return Err(too_deep(at));
        }
        let opening = if is_map { '{' } else { '[' };
        let start = self.content(span, anchor != 0 || tag.is_some());
        self.open.push(Open {
            at,
            start,
            tag: tag.map(written),
            anchor,
            is_map,
            // A block has no sign of its own: the parser tells it by an empty span.
            flow: span.end > start && self.text[start..].starts_with(opening),
            children: Vec::new(),
        });
        Ok(())
    }

    fn close(&mut self, open: Open, span: Span) -> Result<(), Fault> {
        let mut weight: u64 = 1;
        for child in &open.children {
            weight = weight.saturating_add(child.weight);
        }
        let height = open.children.iter().map(|child| child.height).max().unwrap_or(0) + 1;
        // A block's end is told where the next token stands, after comments that are not its own.
        let end = match open.children.last() {
            // A bracket's is told with the comment behind it.
            _ if open.flow => span.start + 1,
            Some(last) => last.span.end.max(open.start),
            None => open.start,
        };
        let value = if open.is_map {
            let mut children = open.children.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (children.next(), children.next()) {
                pairs.push((key, value));
            }
            Value::Map(pairs)
        } else {
            Value::List(open.children)
        };
        let node = Node {
            value,
            at: open.at,
            span: Span {
                start: open.start,
                end,
            },
            tag: open.tag,
            anchored: open.anchor != 0,
            weight,
            height,
            flow: open.flow,
            index: OnceLock::new(),
        };
        self.done(node, open.anchor)
    }

    fn done(&mut self, node: Node, anchor: usize) -> Result<(), Fault> {
        if node.weight > MOST_NODES {
            return Err(too_much(node.at));
        }
        if node.height > MOST_DEPTH {
            return Err(too_deep(node.at));
        }
        let node = Arc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Arc::clone(&node));
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(node),
            None => {
                self.weight = self.weight.saturating_add(node.weight);
                if self.weight > MOST_NODES {
                    return Err(too_much(node.at));
                }
                self.documents.push(node);
            }
        }
        Ok(())
    }

    /// Where a value itself begins: the parser counts its anchor and its tag in.
    fn content(&self, span: Span, has_properties: bool) -> usize {
        let mut at = span.start;
        if !has_properties {
            return at;
        }
        loop {
            let rest = &self.text[at..];
            let blank = rest.len() - rest.trim_start().len();
            let rest = &rest[blank..];
            let skip = match rest.chars().next() {
                Some('#') => rest.find('\n').unwrap_or(rest.len()),
                Some('&' | '!') => {
                    let ends = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']' | '{' | '}');
                    rest.find(ends).unwrap_or(rest.len())
                }
                _ => return at + blank,
            };
            at += blank + skip;
        }
    }

    /// Where the `|` or `>` stands above a block's text, at which the parser begins to tell of it.
    fn header(&self, text: usize) -> usize {
        let above = self.text[..text].trim_end();
        let line = above.rfind('\n').map_or(0, |at| at + 1);
        let signs = above[line..].match_indices(['|', '>']);
        signs
            .map(|(at, _)| line + at)
            .find(|at| is_header(&above[*at..]))
            .unwrap_or(text)
    }

    /// The place of a byte that stands lines above another one, whose place is known.
    fn place_above(&self, known: Place, at: usize, known_at: usize) -> Place {
        let line = self.text[..at].rfind('\n').map_or(0, |found| found + 1);
        Place {
            line: known.line - self.text[at..known_at].matches('\n').count().min(known.line - 1),
            column: self.text[line..at].chars().count() + 1,
        }
    }

    /// A scalar's own bytes: what the parser passed over on its way to the next token is not part of it.
    fn of_scalar(&self, span: Span, text: &str, style: ScalarStyle, has_properties: bool) -> Span {
        if matches!(style, ScalarStyle::Plain) && text.is_empty() {
            return Span {
                start: span.end,
                end: span.end,
            };
        }
        let start = match style {
            ScalarStyle::Literal | ScalarStyle::Folded => self.header(span.start),
            _ => self.content(span, has_properties).min(span.end),
        };
        let end = match style {
            ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => span.end,
            ScalarStyle::Plain | ScalarStyle::Literal | ScalarStyle::Folded => {
                start + self.text[start..span.end].trim_end().len()
            }
        };
        Span { start, end }
    }
}

/// Whether this is the sign of a block and nothing else but a comment: `|`, `>2-  # why`.
fn is_header(text: &str) -> bool {
    let rest = text.trim_start_matches(|c: char| matches!(c, '|' | '>' | '+' | '-') || c.is_ascii_digit());
    let behind = rest.trim_start();
    behind.is_empty() || behind.starts_with('#') && behind.len() < rest.len()
}

fn too_much(at: Place) -> Fault {
    Fault::new(
        at,
        format!("the file's aliases stand for more than {MOST_NODES} values"),
        "Name less by aliases: read out, the file would be too large for any CI system",
    )
}

fn too_deep(at: Place) -> Fault {
    Fault::new(
        at,
        format!("lists and maps stand more than {MOST_DEPTH} deep in each other"),
        "Write the file flatter",
    )
}

fn written(tag: &Tag) -> String {
    format!("{}{}", tag.handle, tag.suffix)
}
