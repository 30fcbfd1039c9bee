//! A pipeline without a dialect. The five systems are written from this and, to convert, read into it.
//!
//! Scripts are POSIX shell. What a system tells its jobs (the commit, the branch, the registry) stands in them under
//! GitLab's variable names, which are plain environment variables there; other dialects set those names from their
//! own words ([`crate::facts`]), so no value is ever pasted into a script.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use crate::condition::Condition;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pipeline {
    pub name: String,
    /// In order: without `needs` a job waits for all jobs of the stages before its own.
    pub stages: Vec<String>,
    pub on: Triggers,
    pub variables: Vec<(String, String)>,
    pub jobs: Vec<Job>,
    /// A newer run of the same branch ends an older one's interruptible jobs.
    pub cancel_superseded: bool,
}

/// What starts a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Triggers {
    pub push: Option<Branches>,
    pub merge_requests: bool,
    pub tags: bool,
    pub manual: bool,
    /// Cron in UTC, where the file itself can say so.
    pub schedules: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Branches {
    All,
    Default,
    Named(Vec<String>),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Job {
    pub id: String,
    pub stage: String,
    pub needs: Option<Vec<String>>,
    pub when: When,
    pub run_if: Option<Condition>,
    /// Runs only where one of these paths changed; globs.
    pub changes: Vec<String>,
    pub image: Option<String>,
    pub tools: Vec<Tool>,
    pub services: Vec<Service>,
    pub variables: Vec<(String, String)>,
    /// Names of secrets that its script finds in the environment. Their values stand in no file.
    pub secrets: Vec<String>,
    pub caches: Vec<Cache>,
    pub script: Vec<String>,
    /// Runs at the end, however the script ended.
    pub after: Vec<String>,
    pub artifacts: Option<Artifacts>,
    pub reports: Reports,
    pub timeout_minutes: Option<u32>,
    pub retries: u32,
    pub allow_failure: bool,
    pub environment: Option<Environment>,
    /// Each combination of these variables' values is a job.
    pub matrix: Vec<(String, Vec<String>)>,
    pub permissions: BTreeMap<String, Access>,
    /// At most one run of this job at once, across runs of the pipeline.
    pub exclusive: bool,
    /// Labels of the machines it runs on; none is the system's usual one.
    pub runner: Vec<String>,
    /// Where it stands in the file that it was read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    #[default]
    Success,
    Failure,
    Always,
    /// A person starts it.
    Manual,
}

/// What a script needs on a bare machine, where no image brings it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Tool {
    pub kind: ToolKind,
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    Python,
    Node,
    Go,
    Java,
    Rust,
    Dotnet,
    /// Compilers, make and cmake, as bare machines have them.
    Native,
    /// A container engine: bare machines have one.
    Docker,
    /// The job's image itself, run by the machine's container engine.
    Image,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    pub image: String,
    /// The name that the job reaches it by.
    pub alias: String,
    pub variables: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cache {
    pub name: String,
    /// Lock files: the cache is another one when they change.
    pub files: Vec<String>,
    pub paths: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artifacts {
    pub paths: Vec<String>,
    pub days: Option<u32>,
    /// Kept of a failed job too.
    pub always: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reports {
    pub junit: Vec<String>,
    /// A Cobertura XML.
    pub coverage: Option<String>,
    /// What finds the percentage in the log.
    pub coverage_regex: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Environment {
    pub name: String,
    pub url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    None,
    Read,
    Write,
}

impl Job {
    pub fn new(id: impl Into<String>, stage: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            stage: stage.into(),
            ..Self::default()
        }
    }

    pub fn has_tool(&self, kind: ToolKind) -> bool {
        self.tools.iter().any(|tool| tool.kind == kind)
    }

    /// All its text that a shell reads.
    pub fn shell(&self) -> impl Iterator<Item = &str> + Clone {
        self.script.iter().chain(&self.after).map(String::as_str)
    }
}

impl Pipeline {
    pub fn job(&self, id: &str) -> Option<&Job> {
        self.jobs.iter().find(|job| job.id == id)
    }

    /// The jobs as they stand, but for those that would stand before what they wait for.
    pub fn in_order(&self) -> Vec<&Job> {
        let place: HashMap<&str, usize> = (self.jobs.iter().enumerate())
            .map(|(at, job)| (job.id.as_str(), at))
            .collect();
        let mut waiting = vec![0_usize; self.jobs.len()];
        let mut waited_for_by: Vec<Vec<usize>> = vec![Vec::new(); self.jobs.len()];
        for (at, job) in self.jobs.iter().enumerate() {
            for needed in self.waits_for(job).iter().filter_map(|id| place.get(id)) {
                waiting[at] += 1;
                waited_for_by[*needed].push(at);
            }
        }
        let mut ready: BTreeSet<usize> = (0..waiting.len()).filter(|at| waiting[*at] == 0).collect();
        let mut order = Vec::new();
        while let Some(at) = ready.pop_first() {
            order.push(&self.jobs[at]);
            for later in &waited_for_by[at] {
                waiting[*later] -= 1;
                if waiting[*later] == 0 {
                    ready.insert(*later);
                }
            }
        }
        // What waits in a circle comes last.
        order.extend(
            (0..waiting.len())
                .filter(|at| waiting[*at] > 0)
                .map(|at| &self.jobs[at]),
        );
        order
    }

    /// What a job waits for, written out: its `needs`, or all jobs of the stages before it.
    pub fn waits_for<'p>(&'p self, job: &'p Job) -> Vec<&'p str> {
        if let Some(needs) = &job.needs {
            return needs.iter().map(String::as_str).collect();
        }
        let place = |stage: &str| self.stages.iter().position(|known| known == stage);
        let Some(own) = place(&job.stage) else {
            return Vec::new();
        };
        // The nearest stage that has jobs stands for those before it.
        let before = self.stages[..own].iter().rev();
        before
            .map(|stage| {
                self.jobs
                    .iter()
                    .filter(|other| other.stage == *stage)
                    .collect::<Vec<_>>()
            })
            .find(|jobs| !jobs.is_empty())
            .unwrap_or_default()
            .into_iter()
            .map(|job| job.id.as_str())
            .collect()
    }
}

/// What could not be said in a dialect, or not be read from one, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    pub what: String,
    pub advice: String,
}

impl Note {
    pub fn of(job: &Job, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            line: job.line,
            job: Some(job.id.clone()),
            what: what.into(),
            advice: advice.into(),
        }
    }

    pub fn general(what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            line: None,
            job: None,
            what: what.into(),
            advice: advice.into(),
        }
    }

    pub fn at(line: usize, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            line: Some(line),
            job: None,
            what: what.into(),
            advice: advice.into(),
        }
    }
}

/// A pipeline written in a dialect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    pub files: Vec<File>,
    pub notes: Vec<Note>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct File {
    pub path: String,
    pub text: String,
}

/// A pipeline read from a dialect, and what of the file is not in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Read {
    pub pipeline: Pipeline,
    pub notes: Vec<Note>,
}
