//! YAML as a person would write it: blocks, plain words where they mean no number, literal blocks for scripts.

/// A value to write.
#[derive(Clone, Debug, PartialEq)]
pub enum Yaml {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<Yaml>),
    /// A list on one line.
    Inline(Vec<Yaml>),
    Map(Vec<Entry>),
    /// With a comment at the end of its line.
    Noted(Box<Yaml>, String),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Pair(String, Yaml),
    Comment(String),
    Blank,
}

impl From<&str> for Yaml {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Yaml {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&String> for Yaml {
    fn from(text: &String) -> Self {
        Self::Text(text.clone())
    }
}

impl From<bool> for Yaml {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u32> for Yaml {
    fn from(value: u32) -> Self {
        Self::Int(i64::from(value))
    }
}

pub fn map() -> Yaml {
    Yaml::Map(Vec::new())
}

pub fn list(items: impl IntoIterator<Item = impl Into<Yaml>>) -> Yaml {
    Yaml::List(items.into_iter().map(Into::into).collect())
}

impl Yaml {
    /// This map with one entry more.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<Yaml>) -> Self {
        self.put(key, value);
        self
    }

    pub fn put(&mut self, key: impl Into<String>, value: impl Into<Yaml>) {
        if let Self::Map(entries) = self {
            entries.push(Entry::Pair(key.into(), value.into()));
        }
    }

    pub fn comment(&mut self, text: impl Into<String>) {
        if let Self::Map(entries) = self {
            entries.push(Entry::Comment(text.into()));
        }
    }

    pub fn blank(&mut self) {
        if let Self::Map(entries) = self {
            entries.push(Entry::Blank);
        }
    }

    pub fn noted(self, comment: impl Into<String>) -> Self {
        Self::Noted(Box::new(self), comment.into())
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::Map(entries) => entries.is_empty(),
            Self::List(items) | Self::Inline(items) => items.is_empty(),
            _ => false,
        }
    }

    fn is_block(&self) -> bool {
        match self {
            Self::Map(entries) => entries.iter().any(|entry| matches!(entry, Entry::Pair(..))),
            Self::List(items) => !items.is_empty(),
            Self::Noted(value, _) => value.is_block(),
            _ => false,
        }
    }
}

/// A whole file, or a block to stand below a key: every line indented by so much, with a line's end at its end.
pub fn block(value: &Yaml, indent: usize) -> String {
    let mut out = String::new();
    write_block(value, indent, &mut out);
    out
}

/// On one line, as it stands in a flow collection or after a key.
pub fn inline(value: &Yaml) -> String {
    match value {
        Yaml::Bool(value) => value.to_string(),
        Yaml::Int(value) => value.to_string(),
        Yaml::Text(text) if is_plain(text) && !text.contains([',', '[', ']', '{', '}']) => text.clone(),
        Yaml::Text(text) => quoted(text),
        Yaml::List(items) | Yaml::Inline(items) => {
            let items: Vec<_> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Yaml::Map(entries) => {
            let pairs: Vec<_> = entries
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Pair(key, value) => Some(format!("{}: {}", flow_key(key), inline(value))),
                    Entry::Comment(_) | Entry::Blank => None,
                })
                .collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Yaml::Noted(value, _) => inline(value),
    }
}

fn flow_key(key: &str) -> String {
    inline(&Yaml::Text(key.to_owned()))
}

fn write_block(value: &Yaml, indent: usize, out: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Yaml::Map(entries) => {
            for entry in entries {
                match entry {
                    Entry::Blank => out.push('\n'),
                    Entry::Comment(text) => {
                        for line in text.lines() {
                            out.push_str(format!("{pad}# {line}").trim_end());
                            out.push('\n');
                        }
                    }
                    Entry::Pair(key, value) => {
                        out.push_str(&pad);
                        out.push_str(&key_text(key));
                        after_key(value, indent, out);
                    }
                }
            }
        }
        Yaml::List(items) => {
            for item in items {
                out.push_str(&pad);
                item_text(item, indent, out);
            }
        }
        other => {
            out.push_str(&pad);
            scalar(other, indent, out);
            out.push('\n');
        }
    }
}

/// `:` and the value, to the end of its last line.
pub(super) fn after_key(value: &Yaml, indent: usize, out: &mut String) {
    out.push(':');
    match value {
        Yaml::Noted(value, comment) if value.is_block() => {
            out.push_str(&format!(" # {comment}\n"));
            write_block(value, indent + 2, out);
        }
        value if value.is_block() => {
            out.push('\n');
            write_block(value, indent + 2, out);
        }
        value => {
            out.push(' ');
            scalar(value, indent, out);
            out.push('\n');
        }
    }
}

/// `- ` and the item: a map begins on the dash's own line.
pub(super) fn item_text(item: &Yaml, indent: usize, out: &mut String) {
    if item.is_block() {
        let text = block(item, indent + 2);
        // Comments and blanks before the first key would part it from its dash.
        out.push_str("- ");
        out.push_str(text.trim_start_matches('\n').trim_start_matches(' '));
    } else {
        out.push_str("- ");
        scalar(item, indent, out);
        out.push('\n');
    }
}

/// What stands on one line, or a literal block, whose lines are indented by two more; without a line's end.
pub(super) fn scalar(value: &Yaml, indent: usize, out: &mut String) {
    match value {
        Yaml::Noted(value, comment) => {
            scalar(value, indent, out);
            out.push_str(&format!(" # {comment}"));
        }
        Yaml::Text(text) if is_plain(text) => out.push_str(text),
        Yaml::Text(text) if is_literal(text) => {
            out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
            for line in text.trim_end_matches('\n').split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    out.push_str(&" ".repeat(indent + 2));
                    out.push_str(line);
                }
            }
        }
        other => out.push_str(&inline(other)),
    }
}

pub(super) fn key_text(key: &str) -> String {
    // YAML 1.1 takes a key `on` for a truth; every reader of workflows takes it for the word.
    if is_plain(key) || key == "on" {
        key.to_owned()
    } else {
        quoted(key)
    }
}

/// Whether a text can stand without quotes, and is still read as that text.
pub fn plain(text: &str) -> bool {
    is_plain(text)
}

fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let begins_well = first.is_alphanumeric() || matches!(first, '/' | '.' | '_' | '$' | '(' | '+' | '^');
    // `-x` is plain, `- x` and `---` are not.
    let begins_as_flag = text.starts_with('-') && text[1..].chars().next().is_some_and(char::is_alphanumeric);
    (begins_well || begins_as_flag)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(|c| !is_special(c) && !matches!(c, '\n' | '\t'))
        && !means_something_else(text)
}

/// What a reader of YAML 1.1 or 1.2 takes for a number, a truth, a time or nothing.
fn means_something_else(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let words = [
        "true", "false", "yes", "no", "on", "off", "y", "n", "null", "~", "=", "<<",
    ];
    let numeric = lower
        .trim_start_matches(['+', '-', '.'])
        .starts_with(|c: char| c.is_ascii_digit())
        && lower.chars().all(|c| {
            c.is_ascii_hexdigit() || matches!(c, '+' | '-' | '.' | '_' | ':' | 'o' | 'x' | 't' | 'z' | ' ')
        });
    let special = matches!(lower.trim_start_matches(['+', '-']), ".inf" | ".nan");
    words.contains(&lower.as_str()) || numeric || special || text.starts_with("..")
}

fn is_literal(text: &str) -> bool {
    let body = text.trim_end_matches('\n');
    text.contains('\n')
        && text.len() - body.len() <= 1
        && !body.is_empty()
        && !body.starts_with([' ', '\t', '\n'])
        && text.chars().all(|c| !is_special(c))
        && body
            .split('\n')
            .all(|line| line.is_empty() || !line.trim().is_empty())
}

/// Characters that only stand escaped, or that some parser takes for a line's end.
fn is_special(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn quoted(text: &str) -> String {
    let only_single = !text.chars().any(|c| is_special(c) || matches!(c, '\n' | '\t'));
    if only_single && text.contains(['"', '\\']) {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if is_special(c) => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
