//! The rule files, compiled into one pass.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::clean;
use super::form::{ClassText, Decoration, File, Mark, Rule};
use super::index::Index;
use super::lazy::LazyRegex;
use super::literals::{self, Demands};

/// The version of the rule files' form that this code reads.
pub const RULES_VERSION: u32 = 1;

/// The rule files that ship with the program, by name.
const FILES: &[(&str, &str)] = &[
    ("access.toml", include_str!("../../rules/access.toml")),
    ("classes.toml", include_str!("../../rules/classes.toml")),
    ("compile.toml", include_str!("../../rules/compile.toml")),
    ("config.toml", include_str!("../../rules/config.toml")),
    ("dependency.toml", include_str!("../../rules/dependency.toml")),
    ("deploy.toml", include_str!("../../rules/deploy.toml")),
    ("image.toml", include_str!("../../rules/image.toml")),
    ("lint.toml", include_str!("../../rules/lint.toml")),
    ("marks.toml", include_str!("../../rules/marks.toml")),
    ("network.toml", include_str!("../../rules/network.toml")),
    ("repository.toml", include_str!("../../rules/repository.toml")),
    ("resources.toml", include_str!("../../rules/resources.toml")),
    ("runner.toml", include_str!("../../rules/runner.toml")),
    ("tests.toml", include_str!("../../rules/tests.toml")),
    ("wrappers.toml", include_str!("../../rules/wrappers.toml")),
];

/// What `<S>` in a pattern stands for: the start of a line behind the prefixes that build tools, container
/// builds and process managers put before a command's own output.
const START: &str = r"^(?:\s*(?:\[[\w .:/@-]{1,60}\]|#\d+ [\d.]+|[\w.-]{1,40}\s+\||\[\w+\] \[\w+\]|[>|])[ \t])*\s*(?:\[(?:ERROR|error|err)\]\s*)?";

/// Bytes of a captured text.
const KEPT_CAPTURE: usize = 160;

/// Why the rule files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error("{file}: not a rule file of version {RULES_VERSION}")]
    Form {
        file: String,
        source: Box<toml::de::Error>,
    },
    #[error("{file}: written for version {found} of the form, this program reads version {RULES_VERSION}")]
    Version { file: String, found: u32 },
    #[error("{id}: the pattern `{pattern}` does not compile")]
    Pattern {
        id: String,
        pattern: String,
        source: Box<regex::Error>,
    },
    #[error(
        "{id}: the pattern `{pattern}` demands no literal of four or more bytes, so no pass can look for it"
    )]
    NoLiteral { id: String, pattern: String },
    #[error("{id}: says neither why nor what to do, and its class has no text either")]
    NoText { id: String },
    #[error("two rules are called {id}")]
    Twice { id: String },
    #[error("{id}: names the rule {other}, which does not exist")]
    Unknown { id: String, other: String },
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Several(Vec<RuleError>),
}

/// The rules, compiled.
pub struct RuleSet {
    pub(super) rules: Vec<Rule>,
    pub(super) marks: Vec<Mark>,
    pub(super) decoration: Decoration,
    /// The first bytes of what the machinery puts before a line.
    decorated: Box<[bool; 256]>,
    pub(super) index: Index,
    pub(super) patterns: Vec<Pattern>,
    pub(super) unless: Vec<Vec<LazyRegex>>,
    pub(super) anchors: Vec<Option<LazyRegex>>,
    /// Indices of `needs_rule`, by rule.
    pub(super) needed: Vec<Vec<u16>>,
}

pub(super) struct Pattern {
    pub(super) regex: LazyRegex,
    pub(super) target: Target,
}

/// What the machinery, or the line's own first word, says of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rank {
    Error,
    Plain,
    Warning,
    /// A command that is about to run: its words say nothing of what happened.
    Echo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Rule(u16),
    Mark(u16),
}

impl RuleSet {
    /// The rules that ship with the program, read at first use.
    pub fn builtin() -> Result<&'static RuleSet, &'static RuleError> {
        static BUILTIN: LazyLock<Result<RuleSet, RuleError>> = LazyLock::new(|| RuleSet::from_files(FILES));
        BUILTIN.as_ref()
    }

    /// Reads rule files, given as (name, text). Their patterns are compiled when they are needed.
    pub fn from_files(files: &[(&str, &str)]) -> Result<RuleSet, RuleError> {
        let mut rules: Vec<Rule> = Vec::new();
        let mut marks = Vec::new();
        let mut decoration = Decoration::default();
        let mut classes = HashMap::new();
        for (name, text) in files {
            let file: File = toml::from_str(text).map_err(|source| RuleError::Form {
                file: (*name).to_owned(),
                source: Box::new(source),
            })?;
            if file.version != RULES_VERSION {
                return Err(RuleError::Version {
                    file: (*name).to_owned(),
                    found: file.version,
                });
            }
            rules.extend(file.rules);
            marks.extend(file.marks);
            classes.extend(file.classes);
            if let Some(more) = file.decoration {
                decoration.error.extend(more.error);
                decoration.warning.extend(more.warning);
                decoration.echo.extend(more.echo);
                decoration.section.extend(more.section);
            }
        }
        for rule in &mut rules {
            let text: Option<&ClassText> = classes.get(&rule.class);
            for (own, general) in [
                (&mut rule.why, text.map(|t| &t.why)),
                (&mut rule.advice, text.map(|t| &t.advice)),
            ] {
                if own.is_empty() {
                    general
                        .ok_or_else(|| RuleError::NoText { id: rule.id.clone() })?
                        .clone_into(own);
                }
            }
        }
        compile(rules, marks, decoration)
    }

    /// Compiles every pattern now, so that one that cannot be is known before a log needs it.
    pub fn check(&self) -> Result<(), RuleError> {
        let of_patterns = self.patterns.iter().map(|pattern| {
            let id = match pattern.target {
                Target::Rule(rule) => &self.rules[rule as usize].id,
                Target::Mark(mark) => &self.marks[mark as usize].id,
            };
            (id, &pattern.regex)
        });
        let of_rules = self.rules.iter().zip(self.unless.iter().zip(&self.anchors));
        let beside = of_rules
            .flat_map(|(rule, (unless, anchor))| unless.iter().chain(anchor).map(|regex| (&rule.id, regex)));
        for (id, regex) in of_patterns.chain(beside) {
            regex.compile().map_err(|source| RuleError::Pattern {
                id: id.clone(),
                pattern: regex.as_str().to_owned(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The ids of the rules and marks that recognise one line of a log.
    pub fn recognise(&self, line: &str) -> Vec<&str> {
        let mut stripped = String::new();
        clean::strip_escapes(line.as_bytes(), &mut stripped);
        let mut candidates = Vec::new();
        self.index.proposed(stripped.as_bytes(), &mut candidates);
        let timeless = clean::skip_time(&stripped);
        let (plain, _) = self.undecorated(timeless);
        let mut ids: Vec<&str> = self
            .recognised(&candidates, plain)
            .map(|(rule, _)| self.rules[rule as usize].id.as_str())
            .collect();
        for at in candidates {
            let pattern = &self.patterns[at as usize];
            if let Target::Mark(mark) = pattern.target
                && self.index.admits(at, timeless)
                && pattern.regex.is_match(timeless)
            {
                ids.push(&self.marks[mark as usize].id);
            }
        }
        ids
    }

    /// How many places of `bytes` hold a literal: the scan's first pass alone, for measuring against.
    pub fn count_literals(&self, bytes: &[u8]) -> usize {
        self.index.count(bytes)
    }

    /// The rules that recognise a cleaned line, each with the number of the pattern that did.
    pub(super) fn recognised<'a>(
        &'a self,
        candidates: &'a [u32],
        plain: &'a str,
    ) -> impl Iterator<Item = (u16, u32)> {
        let mut last = None;
        candidates.iter().filter_map(move |at| {
            let pattern = &self.patterns[*at as usize];
            let Target::Rule(rule) = pattern.target else {
                return None;
            };
            if last == Some(rule)
                || !self.index.admits(*at, plain)
                || !pattern.regex.is_match(plain)
                || self.unless[rule as usize]
                    .iter()
                    .any(|exception| exception.is_match(plain))
            {
                return None;
            }
            last = Some(rule);
            Some((rule, *at))
        })
    }

    /// What the named groups of a pattern hold in a text.
    pub(super) fn captured(&self, pattern: u32, text: &str) -> Vec<(String, String)> {
        let regex = &self.patterns[pattern as usize].regex;
        let mut names = regex.names().peekable();
        if names.peek().is_none() {
            return Vec::new();
        }
        let Some(found) = regex.captures(text) else {
            return Vec::new();
        };
        names
            .filter_map(|name| {
                let value = String::from_utf8_lossy(found.name(name)?.as_bytes())
                    .trim()
                    .to_owned();
                Some((name.to_owned(), clean::clip(&value, KEPT_CAPTURE)))
            })
            .collect()
    }

    /// The line without the prefixes of the machinery, and what they said of it.
    pub(super) fn undecorated<'t>(&self, text: &'t str) -> (&'t str, Option<Rank>) {
        if let Some(first) = text.as_bytes().first()
            && self.decorated[usize::from(*first)]
        {
            let ranks = [
                (&self.decoration.error, Rank::Error),
                (&self.decoration.warning, Rank::Warning),
                (&self.decoration.echo, Rank::Echo),
            ];
            for (prefixes, rank) in ranks {
                if let Some(rest) = prefixes
                    .iter()
                    .find_map(|prefix| text.strip_prefix(prefix.as_str()))
                {
                    return (clean::skip_time(rest), Some(rank));
                }
            }
        }
        (clean::skip_container(text), None)
    }
}

impl Rank {
    /// What a line without a prefix of the machinery says of itself.
    pub(super) fn told_by(text: &str) -> Rank {
        let start = &text.as_bytes()[..text.len().min(24)];
        let warns =
            start.windows(4).any(|word| word.eq_ignore_ascii_case(b"warn")) || text.contains("Warning: ");
        if warns { Rank::Warning } else { Rank::Plain }
    }
}

fn compile(rules: Vec<Rule>, marks: Vec<Mark>, decoration: Decoration) -> Result<RuleSet, RuleError> {
    let mut index = HashMap::new();
    for (at, rule) in rules.iter().enumerate() {
        if index.insert(rule.id.clone(), at as u16).is_some() {
            return Err(RuleError::Twice { id: rule.id.clone() });
        }
    }
    let mut problems = Vec::new();
    let mut needed = Vec::with_capacity(rules.len());
    let mut unless = Vec::with_capacity(rules.len());
    let mut anchors = Vec::with_capacity(rules.len());
    let mut patterns = Vec::new();
    let mut demands = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        let mut others = Vec::new();
        for other in &rule.needs_rule {
            let found = index.get(other).copied();
            others.push(found.ok_or_else(|| RuleError::Unknown {
                id: rule.id.clone(),
                other: other.clone(),
            })?);
        }
        needed.push(others);
        let exceptions: Result<Vec<LazyRegex>, RuleError> = rule
            .unless
            .iter()
            .map(|pattern| build(&rule.id, pattern))
            .collect();
        unless.push(exceptions?);
        anchors.push(
            rule.anchor
                .as_ref()
                .map(|anchor| build(&rule.id, anchor))
                .transpose()?,
        );
        for pattern in &rule.patterns {
            problems.extend(
                add(
                    &rule.id,
                    pattern,
                    Target::Rule(at as u16),
                    &mut patterns,
                    &mut demands,
                )
                .err(),
            );
        }
    }
    for (at, mark) in marks.iter().enumerate() {
        for pattern in &mark.patterns {
            problems.extend(
                add(
                    &mark.id,
                    pattern,
                    Target::Mark(at as u16),
                    &mut patterns,
                    &mut demands,
                )
                .err(),
            );
        }
    }
    if !problems.is_empty() {
        return Err(RuleError::Several(problems));
    }
    let mut decorated = Box::new([false; 256]);
    for prefix in [&decoration.error, &decoration.warning, &decoration.echo]
        .into_iter()
        .flatten()
    {
        match prefix.as_bytes().first() {
            Some(first) => decorated[usize::from(*first)] = true,
            None => decorated.fill(true),
        }
    }
    Ok(RuleSet {
        rules,
        marks,
        decoration,
        decorated,
        index: Index::new(demands),
        patterns,
        unless,
        anchors,
        needed,
    })
}

fn add(
    id: &str,
    pattern: &str,
    target: Target,
    patterns: &mut Vec<Pattern>,
    demands: &mut Vec<Demands>,
) -> Result<(), RuleError> {
    let regex = build(id, pattern)?;
    let demanded = literals::demands(&expanded(pattern)).ok_or_else(|| RuleError::NoLiteral {
        id: id.to_owned(),
        pattern: pattern.to_owned(),
    })?;
    patterns.push(Pattern { regex, target });
    demands.push(demanded);
    Ok(())
}

fn expanded(pattern: &str) -> String {
    pattern.replace("<S>", START)
}

fn build(id: &str, pattern: &str) -> Result<LazyRegex, RuleError> {
    LazyRegex::new(expanded(pattern)).map_err(|source| RuleError::Pattern {
        id: id.to_owned(),
        pattern: pattern.to_owned(),
        source: Box::new(source),
    })
}
