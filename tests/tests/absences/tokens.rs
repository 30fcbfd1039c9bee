//! Rust source as a flat run of tokens: comments, documentation and `#[cfg(test)]` items left out.

use std::iter::Peekable;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

#[derive(Clone, Debug)]
pub struct Token {
    /// As written, but a string literal stands here without its quotes, its line breaks as such.
    pub text: String,
    pub line: usize,
    pub is_string: bool,
}

pub fn code(source: &str) -> Result<Vec<Token>, String> {
    let source = source
        .strip_prefix("#!")
        .map_or(source, |rest| rest.split_once('\n').map_or("", |(_, code)| code));
    let stream: TokenStream = source.parse().map_err(|e| format!("{e}"))?;
    let mut out = Vec::new();
    flatten(stream, &mut out);
    Ok(out)
}

/// The lines on which `pattern` (a bit of Rust like `SystemTime::now`) occurs in `code`.
pub fn lines_with(code: &[Token], pattern: &str) -> Vec<usize> {
    let pattern = self::code(pattern).expect("a pattern is Rust");
    code.windows(pattern.len())
        .filter(|window| {
            window
                .iter()
                .zip(&pattern)
                .all(|(a, b)| !a.is_string && a.text == b.text)
        })
        .map(|window| window[0].line)
        .collect()
}

fn flatten(stream: TokenStream, out: &mut Vec<Token>) {
    let mut tokens = stream.into_iter().peekable();
    while let Some(token) = tokens.next() {
        if is_punct(&token, '#') {
            if tokens.peek().is_some_and(|next| is_punct(next, '!')) {
                tokens.next();
            }
            let Some(TokenTree::Group(attribute)) = tokens.next() else {
                continue;
            };
            if is_cfg_test(&attribute) {
                skip_item(&mut tokens);
            } else if first_word(&attribute) != "doc" {
                flatten(attribute.stream(), out);
            }
            continue;
        }
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::None => ("", ""),
                };
                push(out, open, group.span_open().start().line);
                flatten(group.stream(), out);
                push(out, close, group.span_close().start().line);
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                let is_string = text.ends_with(['"', '#']);
                let text = if is_string {
                    unquoted(&text).replace("\\n", "\n")
                } else {
                    text
                };
                out.push(Token {
                    text,
                    line: literal.span().start().line,
                    is_string,
                });
            }
            other => push(out, &other.to_string(), other.span().start().line),
        }
    }
}

fn push(out: &mut Vec<Token>, text: &str, line: usize) {
    if !text.is_empty() {
        out.push(Token {
            text: text.to_owned(),
            line,
            is_string: false,
        });
    }
}

fn unquoted(literal: &str) -> &str {
    let inner = literal.trim_start_matches(['b', 'c', 'r']).trim_matches('#');
    inner.trim_matches('"')
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn first_word(group: &Group) -> String {
    group
        .stream()
        .into_iter()
        .next()
        .map(|t| t.to_string())
        .unwrap_or_default()
}

fn is_cfg_test(attribute: &Group) -> bool {
    attribute.stream().to_string().replace(' ', "") == "cfg(test)"
}

/// Drops what a `#[cfg(test)]` stands before: an item up to its body or semicolon, or a field up to its comma.
fn skip_item(tokens: &mut Peekable<impl Iterator<Item = TokenTree>>) {
    const ITEMS: [&str; 13] = [
        "pub", "mod", "fn", "use", "impl", "struct", "enum", "const", "static", "trait", "type", "async",
        "unsafe",
    ];
    while tokens.peek().is_some_and(|t| is_punct(t, '#')) {
        tokens.next();
        tokens.next();
    }
    let is_item = tokens
        .peek()
        .is_some_and(|t| ITEMS.contains(&t.to_string().as_str()));
    for token in tokens {
        let ends = match &token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(punct) => punct.as_char() == ';' || (!is_item && punct.as_char() == ','),
            _ => false,
        };
        if ends {
            return;
        }
    }
}

#[test]
fn comments_documentation_and_tests_are_left_out() {
    let source = r#"
        //! SystemTime::now in a page's head
        /// Utc::now in documentation
        #[must_use]
        pub fn served() -> &'static str { /* Utc::now */ "SELECT 1" }
        #[cfg(test)]
        #[allow(unused)]
        mod tests { fn f<A, B>() { SystemTime::now(); } }
        struct S { #[cfg(test)] at: Utc::now, kept: Instant }
        fn last() { macro_call!(std::time::SystemTime::now()) }
    "#;
    let code = code(source).unwrap();
    assert_eq!(lines_with(&code, "SystemTime::now"), [10]);
    assert_eq!(lines_with(&code, "Utc::now"), [0; 0]);
    assert_eq!(lines_with(&code, "kept: Instant"), [9]);
    let strings: Vec<_> = code
        .iter()
        .filter(|t| t.is_string)
        .map(|t| t.text.as_str())
        .collect();
    assert_eq!(strings, ["SELECT 1"]);
}
