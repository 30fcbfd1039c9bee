//! GitHub's answers, as far as we read them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::RepoRef;
use ports::{Job, JobRef, JobStatus, Note, NoteId, Pipeline, Ticket, TicketState};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct RawUser {
    pub id: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawRuns {
    pub workflow_runs: Vec<RawRun>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawRun {
    pub id: u64,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub conclusion: Option<String>,
    #[serde(default)]
    pub head_branch: Option<String>,
    #[serde(default)]
    pub head_sha: String,
    #[serde(default)]
    pub html_url: String,
    /// Its `run-name`, or what GitHub makes up for one that has none.
    #[serde(default)]
    pub display_title: Option<String>,
    #[serde(default)]
    pub actor: Option<RawUser>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawJobs {
    pub jobs: Vec<RawJob>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct RawJob {
    pub id: u64,
    pub run_id: u64,
    #[serde(default = "first")]
    pub run_attempt: u32,
    pub name: String,
    pub status: String,
    #[serde(default)]
    pub conclusion: Option<String>,
    #[serde(default)]
    pub head_branch: Option<String>,
    #[serde(default)]
    pub head_sha: String,
    #[serde(default)]
    pub html_url: Option<String>,
    #[serde(default)]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub completed_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawIssue {
    pub title: String,
    pub state: String,
    #[serde(default)]
    pub locked: bool,
    #[serde(default)]
    pub labels: Vec<RawLabel>,
    #[serde(default)]
    pub html_url: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawLabel {
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawComment {
    pub id: u64,
    #[serde(default)]
    pub body: Option<String>,
    #[serde(default)]
    pub html_url: Option<String>,
    #[serde(default)]
    pub user: Option<RawUser>,
}

fn first() -> u32 {
    1
}

impl RawRun {
    pub fn into_pipeline(self) -> Pipeline {
        Pipeline {
            id: self.id,
            status: status(
                self.status.as_deref().unwrap_or_default(),
                self.conclusion.as_deref(),
            ),
            git_ref: self.head_branch.unwrap_or_default(),
            sha: self.head_sha,
            url: self.html_url,
        }
    }
}

impl RawJob {
    pub fn into_job(self, repo: &RepoRef) -> Job {
        let status = status(&self.status, self.conclusion.as_deref());
        // GitHub gives a running time to jobs that were skipped as well; only the order of the two counts.
        let span = self.started_at.zip(self.completed_at);
        Job {
            at: JobRef {
                repo: repo.clone(),
                id: self.id,
            },
            name: self.name,
            stage: String::new(),
            status,
            pipeline: self.run_id,
            attempt: self.run_attempt,
            git_ref: self.head_branch.unwrap_or_default(),
            sha: self.head_sha,
            url: self.html_url.unwrap_or_default(),
            // `continue-on-error` shows in the run's conclusion alone, not in the job.
            allow_failure: false,
            failure_reason: self.conclusion.filter(|_| status == JobStatus::Failed),
            exit_code: None,
            started_at: self.started_at,
            finished_at: self.completed_at,
            duration: span
                .and_then(|(from, to)| (to - from).to_std().ok())
                .filter(|span| *span > Duration::ZERO),
        }
    }
}

impl RawIssue {
    pub fn into_ticket(self) -> Ticket {
        Ticket {
            title: self.title,
            state: if self.state == "open" {
                TicketState::Open
            } else {
                TicketState::Closed
            },
            locked: self.locked,
            labels: self.labels.into_iter().map(|label| label.name).collect(),
            url: self.html_url,
        }
    }
}

impl RawComment {
    pub fn into_note(self) -> Note {
        Note {
            id: NoteId(self.id),
            body: self.body.unwrap_or_default(),
            url: self.html_url,
        }
    }
}

/// GitHub's words for the state of runs and jobs (its REST documentation, "Workflow runs").
fn status(status: &str, conclusion: Option<&str>) -> JobStatus {
    match (status, conclusion) {
        ("in_progress", _) => JobStatus::Running,
        ("completed", Some("success" | "neutral")) => JobStatus::Succeeded,
        ("completed", Some("cancelled" | "stale")) => JobStatus::Cancelled,
        ("completed", Some("skipped")) => JobStatus::Skipped,
        ("completed", Some("action_required")) => JobStatus::Waiting,
        // failure, timed_out, startup_failure
        ("completed", _) => JobStatus::Failed,
        // queued, waiting, requested, pending
        _ => JobStatus::Waiting,
    }
}
