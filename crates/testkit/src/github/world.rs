use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use super::changes::Pull;
use super::deployments::{Commit, Deployment};

/// All that the fake keeps.
#[derive(Debug, Default, Serialize)]
pub struct World {
    #[serde(skip)]
    pub(super) base: String,
    #[serde(skip)]
    pub(super) storage: String,
    pub repos: BTreeSet<String>,
    pub issues: Vec<Issue>,
    pub comments: Vec<Comment>,
    pub runs: BTreeMap<u64, Run>,
    pub jobs: BTreeMap<u64, Job>,
    pub retries: usize,
    /// How many workflows were started by request.
    pub begun: usize,
    /// Whether the name of a workflow's run holds the input that it was started with.
    pub unnamed_runs: bool,
    /// How many times runs are listed before one that was started shows.
    pub start_hidden_for: usize,
    pub pulls: Vec<Pull>,
    /// Pull requests that cannot be reverted without a person.
    pub built_on: BTreeSet<u64>,
    pub commits: Vec<Commit>,
    pub deployments: Vec<Deployment>,
    /// How many times the jobs of a run are listed before a rerun shows.
    pub rerun_hidden_for: usize,
    /// The token may read and not write.
    pub read_only: bool,
    last_id: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Issue {
    pub repo: String,
    pub number: u64,
    pub title: String,
    pub open: bool,
    pub locked: bool,
    /// Deleted issues are gone (410), unlike those that never were.
    pub deleted: bool,
    pub labels: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Comment {
    pub id: u64,
    pub repo: String,
    pub issue: u64,
    pub author: u64,
    pub body: String,
    pub edits: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub id: u64,
    pub repo: String,
    pub status: String,
    pub conclusion: Option<String>,
    pub branch: String,
    pub sha: String,
    pub attempt: u32,
    pub event: &'static str,
    pub title: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Job {
    pub id: u64,
    pub run: u64,
    pub attempt: u32,
    pub name: String,
    pub status: String,
    pub conclusion: Option<String>,
    pub started_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
    #[serde(skip)]
    pub log: Vec<u8>,
}

impl World {
    pub fn number(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// A moment that lies after all earlier ones: the fake's clock goes by its numbers.
    pub fn moment(&mut self) -> DateTime<Utc> {
        let start = DateTime::from_timestamp(1_767_225_600, 0).expect("the start of 2026");
        start + TimeDelta::seconds(self.number().cast_signed())
    }

    pub fn open_issue(&mut self, repo: &str, labels: &[&str]) -> u64 {
        let here = self.issues.iter().filter(|issue| issue.repo == repo);
        let number = here.map(|issue| issue.number).max().unwrap_or_default() + 1;
        self.issues.push(Issue {
            repo: repo.to_owned(),
            number,
            title: "A ticket".to_owned(),
            open: true,
            locked: false,
            deleted: false,
            labels: labels.iter().map(|&label| label.to_owned()).collect(),
        });
        number
    }

    pub fn issue(&mut self, repo: &str, number: u64) -> Option<&mut Issue> {
        self.issues
            .iter_mut()
            .find(|issue| issue.repo == repo && issue.number == number)
    }

    /// A comment of a user, without the checks of the API.
    pub fn add_comment(&mut self, repo: &str, issue: u64, author: u64, body: &str) -> u64 {
        let id = self.number();
        self.comments.push(Comment {
            id,
            repo: repo.to_owned(),
            issue,
            author,
            body: body.to_owned(),
            edits: 0,
        });
        id
    }
}
