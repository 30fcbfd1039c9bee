//! A pattern that is compiled when a line is first searched for it: a log needs few of the many that there are, and a
//! worker whose builds do not fail needs none.

use std::sync::OnceLock;

use regex::bytes::{Captures, Regex, RegexBuilder};

/// Bytes that one pattern may spend on states it has met; hundreds of patterns share the process.
const DFA_CACHE: usize = 128 * 1024;

pub(super) struct LazyRegex {
    pattern: String,
    /// Nothing where it is too large to be compiled, which [`LazyRegex::compile`] tells.
    compiled: OnceLock<Option<Regex>>,
}

impl LazyRegex {
    /// Fails on a pattern that is not well formed.
    pub fn new(pattern: String) -> Result<LazyRegex, regex::Error> {
        regex_syntax::ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(&pattern)
            .map_err(|error| regex::Error::Syntax(error.to_string()))?;
        Ok(LazyRegex {
            pattern,
            compiled: OnceLock::new(),
        })
    }

    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    fn get(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| self.compile().ok()).as_ref()
    }

    pub fn compile(&self) -> Result<Regex, regex::Error> {
        RegexBuilder::new(&self.pattern)
            .unicode(false)
            .dfa_size_limit(DFA_CACHE)
            .build()
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.get().is_some_and(|regex| regex.is_match(text.as_bytes()))
    }

    /// The names of its groups that have one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.get()
            .into_iter()
            .flat_map(|regex| regex.capture_names().flatten())
    }

    pub fn captures<'t>(&self, text: &'t str) -> Option<Captures<'t>> {
        self.get()?.captures(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::LazyRegex;

    #[test]
    fn what_is_not_well_formed_is_refused_before_it_is_needed() {
        assert!(LazyRegex::new("(unclosed".to_owned()).is_err());
    }

    #[test]
    fn it_finds_what_its_groups_name() {
        let regex = LazyRegex::new(r"exit code (?P<code>\d+)( again)?".to_owned()).unwrap();
        assert_eq!(regex.names().collect::<Vec<_>>(), ["code"]);
        let found = regex.captures("exit code 17").unwrap();
        assert_eq!(found.name("code").unwrap().as_bytes(), b"17");
        assert!(!regex.is_match("exit status 17"));
    }
}
