//! As much of Groovy as a declarative pipeline is written in: blocks, and statements of a name and its arguments.

use crate::yaml::{Fault, Place};

/// `name(arguments) { body }`, where either may be missing.
#[derive(Debug)]
pub(crate) struct Statement {
    pub name: String,
    /// As they are written, without the brackets around them.
    pub arguments: String,
    pub body: Option<Vec<Statement>>,
    pub line: usize,
    /// The text of the body, for blocks that hold no statements of ours.
    pub inner: String,
}

impl Statement {
    pub fn get(&self, name: &str) -> Option<&Statement> {
        self.body
            .as_deref()?
            .iter()
            .find(|statement| statement.name == name)
    }

    pub fn children(&self) -> &[Statement] {
        self.body.as_deref().unwrap_or_default()
    }
}

/// How deep blocks may stand in each other.
const DEEPEST: usize = 40;

pub(crate) fn parse(text: &str) -> Result<Vec<Statement>, Fault> {
    let mut parser = Parser { text, at: 0 };
    let statements = parser.statements(0)?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.fault("a `}` closes nothing"));
    }
    Ok(statements)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn fault(&self, what: &str) -> Fault {
        let before = &self.text[..self.at.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Fault::new(
            Place { line, column },
            what,
            "Only declarative pipelines are read: `pipeline { … }`",
        )
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn line(&self) -> usize {
        self.text[..self.at].matches('\n').count() + 1
    }

    fn blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', ';']);
            self.at += rest.len() - trimmed.len();
            let skip = if trimmed.starts_with("//") || trimmed.starts_with("#!") {
                trimmed.find('\n').unwrap_or(trimmed.len())
            } else if trimmed.starts_with("/*") {
                trimmed.find("*/").map_or(trimmed.len(), |end| end + 2)
            } else {
                return;
            };
            self.at += skip;
        }
    }

    fn statements(&mut self, depth: usize) -> Result<Vec<Statement>, Fault> {
        if depth > DEEPEST {
            return Err(self.fault("blocks stand too deep in each other"));
        }
        let mut found = Vec::new();
        loop {
            self.blanks();
            if self.rest().is_empty() || self.rest().starts_with('}') {
                return Ok(found);
            }
            found.push(self.statement(depth)?);
        }
    }

    fn statement(&mut self, depth: usize) -> Result<Statement, Fault> {
        let line = self.line();
        let start = self.at;
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
        let name_end = self.rest().find(|c| !word(c)).unwrap_or(self.rest().len());
        let name = self.rest()[..name_end].to_owned();
        self.at += name_end;
        let from = self.at;
        let body_start = self.over_arguments()?;
        let arguments = unbracketed(self.text[from..self.at].trim());
        if !body_start {
            if self.at == start {
                return Err(self.fault("nothing that a pipeline could say"));
            }
            return Ok(Statement {
                name,
                arguments,
                body: None,
                line,
                inner: String::new(),
            });
        }
        self.at += 1;
        let inner_from = self.at;
        let body = self.statements(depth + 1)?;
        let inner = self.text[inner_from..self.at].trim().to_owned();
        if !self.rest().starts_with('}') {
            return Err(self.fault("a `{` is not closed"));
        }
        self.at += 1;
        Ok(Statement {
            name,
            arguments,
            body: Some(body),
            line,
            inner,
        })
    }

    /// Moves over a statement's arguments, to the `{` of its body (true) or to its end.
    fn over_arguments(&mut self) -> Result<bool, Fault> {
        let mut depth = 0_usize;
        loop {
            let rest = self.rest();
            let Some(c) = rest.chars().next() else {
                return Ok(false);
            };
            match c {
                '\'' | '"' => {
                    self.text_end()?;
                    continue;
                }
                '(' | '[' => depth += 1,
                ')' | ']' => depth = depth.saturating_sub(1),
                // A closure among arguments belongs to them.
                '{' if depth > 0 => depth += 1,
                '}' if depth > 0 => depth -= 1,
                '{' => return Ok(true),
                '}' | ';' if depth == 0 => return Ok(false),
                '\n' if depth == 0 => {
                    let before = self.text[..self.at].trim_end();
                    let next = rest.trim_start();
                    let goes_on =
                        before.ends_with([',', '=']) || next.starts_with("&&") || next.starts_with("||");
                    if !goes_on {
                        return Ok(false);
                    }
                }
                '/' if depth == 0
                    && rest.starts_with("//")
                    && self.text[..self.at].ends_with([' ', '\t']) =>
                {
                    return Ok(false);
                }
                _ => {}
            }
            self.at += c.len_utf8();
        }
    }

    fn text_end(&mut self) -> Result<(), Fault> {
        let rest = self.rest();
        let mark = ["'''", "\"\"\"", "'", "\""]
            .into_iter()
            .find(|mark| rest.starts_with(mark))
            .unwrap_or("'");
        let mut at = mark.len();
        loop {
            let Some(c) = rest[at..].chars().next() else {
                return Err(self.fault("a text is not closed"));
            };
            if rest[at..].starts_with(mark) {
                self.at += at + mark.len();
                return Ok(());
            }
            if c == '\n' && mark.len() == 1 {
                return Err(self.fault("a text is not closed on its line"));
            }
            at += c.len_utf8();
            if c == '\\' {
                at += rest[at..].chars().next().map_or(0, char::len_utf8);
            }
        }
    }
}

fn unbracketed(text: &str) -> String {
    let inner = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    match inner {
        Some(inner) if !inner.starts_with(')') => inner.trim().to_owned(),
        _ => text.to_owned(),
    }
}

/// The texts among arguments, their escapes read.
pub(crate) fn texts(arguments: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = arguments;
    while let Some(start) = rest.find(['\'', '"']) {
        let from = &rest[start..];
        let Some(mark) = ["'''", "\"\"\"", "'", "\""]
            .into_iter()
            .find(|mark| from.starts_with(mark))
        else {
            break;
        };
        let mut text = String::new();
        let mut chars = from[mark.len()..].char_indices();
        let mut end = None;
        while let Some((at, c)) = chars.next() {
            if from[mark.len() + at..].starts_with(mark) {
                end = Some(mark.len() + at + mark.len());
                break;
            }
            match c {
                '\\' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, other)) => text.push(other),
                    None => {}
                },
                c => text.push(c),
            }
        }
        found.push(text);
        match end {
            Some(end) => rest = &from[end..],
            None => break,
        }
    }
    found
}

/// `name: value` among arguments, a text or a bare word.
pub(crate) fn named(arguments: &str, name: &str) -> Option<String> {
    let at = arguments.find(&format!("{name}:"))?;
    let rest = arguments[at + name.len() + 1..].trim_start();
    if rest.starts_with(['\'', '"']) {
        return texts(rest).into_iter().next();
    }
    Some(rest.split([',', ')']).next()?.trim().to_owned())
}
