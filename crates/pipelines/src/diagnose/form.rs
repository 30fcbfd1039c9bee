//! The form of the rule files.

use std::collections::HashMap;

use serde::Deserialize;

use super::class::{Class, Retry};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub version: u32,
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
    #[serde(default, rename = "mark")]
    pub marks: Vec<Mark>,
    #[serde(default)]
    pub decoration: Option<Decoration>,
    /// What is said of a class where a rule says nothing of its own.
    #[serde(default, rename = "class")]
    pub classes: HashMap<Class, ClassText>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClassText {
    pub why: String,
    pub advice: String,
}

/// One rule: a failure that a tool, or a family of tools, reports in a recognisable line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub id: String,
    pub class: Class,
    /// 1 to 100: how surely a line that matches is the cause of the failure.
    pub weight: i32,
    /// One of these matches the deciding line, cleaned of escapes, timestamps and error prefixes.
    pub patterns: Vec<String>,
    /// None of these may.
    #[serde(default)]
    pub unless: Vec<String>,
    /// Which line of the last run of matches decides.
    #[serde(default)]
    pub pick: Pick,
    /// The rule counts only if a rule of one of these classes matched too.
    #[serde(default)]
    pub needs_class: Vec<Class>,
    /// The rule counts only if one of these rules matched too.
    #[serde(default)]
    pub needs_rule: Vec<String>,
    /// The rule counts only if the job, or the step around the line, ended with one of these exit codes.
    #[serde(default)]
    pub needs_exit: Vec<i32>,
    /// The line is often the echo of a failure that stands before it.
    #[serde(default)]
    pub consequence: bool,
    /// The line explains nothing once something before it failed, nor where it is only a warning.
    #[serde(default)]
    pub aftermath: bool,
    /// The deciding line is the nearest one before the match, at most twelve lines away, that this matches.
    #[serde(default)]
    pub anchor: Option<String>,
    /// What happened, for a person, with captures as docs/diagnosis.md says. Empty in a file: the class's text.
    #[serde(default)]
    pub why: String,
    /// What to do about it, for a person. Empty in a file: the class's text.
    #[serde(default)]
    pub advice: String,
    #[serde(default)]
    pub retry: Option<Retry>,
    /// Lines that the rule must recognise.
    pub matches: Vec<String>,
    /// Lines that it must leave alone.
    #[serde(default)]
    pub rejects: Vec<String>,
}

/// Which line of a run of matches is the deciding one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    #[default]
    First,
    Last,
}

/// A line by which the machinery around the build says where it stands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    pub id: String,
    pub kind: MarkKind,
    pub patterns: Vec<String>,
    pub matches: Vec<String>,
    #[serde(default)]
    pub rejects: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkKind {
    /// A step begins, so the one before it ended well unless it said otherwise.
    StepStart,
    /// Another command begins, most likely because the one before it ended well.
    NextCommand,
    StepOk,
    StepFailed,
    /// Everything that the job was told to run went well; what comes after is the machinery's own.
    ScriptOk,
    /// The step reported an error; whether that ends it is not said yet.
    StepError,
    /// An attempt failed and another follows.
    Retrying,
    /// Only tidying up follows.
    Cleanup,
    JobOk,
    JobFailed,
    /// The job's log is complete; whether it ended well is for the other marks to say.
    JobEnd,
    /// A tool announced that its own part went well.
    ToolOk,
    /// A tool announced that its part failed, without saying why.
    ToolFailed,
    /// Carries an exit code and nothing else.
    ExitCode,
}

/// Prefixes with which the machinery decorates lines.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decoration {
    /// Put before a line that is an error; taken off before a rule sees it.
    pub error: Vec<String>,
    /// Put before a line that is a warning or of lower rank.
    pub warning: Vec<String>,
    /// Put before a command that the job is about to run.
    pub echo: Vec<String>,
    /// A segment that starts so is machinery and not shown in an excerpt.
    pub section: Vec<String>,
}
