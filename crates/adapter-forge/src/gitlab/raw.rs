//! GitLab's answers, as far as we read them. Everything that an older or newer version may leave out is optional.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::RepoRef;
use ports::{Job, JobRef, JobStatus, Pipeline, Ticket, TicketState};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct RawUser {
    pub id: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawPipeline {
    pub id: u64,
    #[serde(default)]
    pub project_id: Option<u64>,
    pub status: String,
    #[serde(rename = "ref", default)]
    pub git_ref: Option<String>,
    #[serde(default)]
    pub sha: String,
    #[serde(default)]
    pub web_url: String,
    /// What started it: `push`, `api`…
    #[serde(default)]
    pub source: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawJob {
    pub id: u64,
    pub name: String,
    #[serde(default)]
    pub stage: String,
    pub status: String,
    #[serde(rename = "ref", default)]
    pub git_ref: Option<String>,
    #[serde(default)]
    pub web_url: String,
    #[serde(default)]
    pub allow_failure: bool,
    #[serde(default)]
    pub failure_reason: Option<String>,
    #[serde(default)]
    pub exit_code: Option<i64>,
    #[serde(default)]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub finished_at: Option<DateTime<Utc>>,
    /// Seconds.
    #[serde(default)]
    pub duration: Option<f64>,
    pub pipeline: RawPipelineOfJob,
    #[serde(default)]
    pub commit: Option<RawCommit>,
    /// Trigger jobs only.
    #[serde(default)]
    pub downstream_pipeline: Option<RawPipeline>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawPipelineOfJob {
    pub id: u64,
    #[serde(default)]
    pub sha: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawCommit {
    pub id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawTicket {
    pub title: String,
    pub state: String,
    #[serde(default)]
    pub discussion_locked: Option<bool>,
    #[serde(default)]
    pub labels: Vec<String>,
    #[serde(default)]
    pub web_url: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RawNote {
    pub id: u64,
    pub body: String,
    #[serde(default)]
    pub system: bool,
    #[serde(default)]
    pub author: Option<RawUser>,
}

/// What a new note is answered with; a body of nothing but quick actions makes no note.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum RawNoteAnswer {
    Note(RawNote),
    Commands {
        #[serde(default)]
        summary: serde_json::Value,
    },
}

impl RawPipeline {
    pub fn into_pipeline(self) -> Pipeline {
        Pipeline {
            id: self.id,
            status: status(&self.status),
            git_ref: self.git_ref.unwrap_or_default(),
            sha: self.sha,
            url: self.web_url,
        }
    }
}

impl RawJob {
    pub fn into_job(self, repo: &RepoRef) -> Job {
        let sha = self.commit.map_or(self.pipeline.sha, |commit| commit.id);
        Job {
            at: JobRef {
                repo: repo.clone(),
                id: self.id,
            },
            name: self.name,
            stage: self.stage,
            status: status(&self.status),
            pipeline: self.pipeline.id,
            attempt: 1,
            git_ref: self.git_ref.unwrap_or_default(),
            sha,
            url: self.web_url,
            allow_failure: self.allow_failure,
            failure_reason: self.failure_reason.filter(|reason| !reason.is_empty()),
            exit_code: self.exit_code,
            started_at: self.started_at,
            finished_at: self.finished_at,
            duration: self
                .duration
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }
}

impl RawTicket {
    pub fn into_ticket(self) -> Ticket {
        Ticket {
            title: self.title,
            // Merge requests know `merged` and `locked` (being merged) as well.
            state: if self.state == "opened" || self.state == "locked" {
                TicketState::Open
            } else {
                TicketState::Closed
            },
            locked: self.discussion_locked.unwrap_or(false),
            labels: self.labels,
            url: self.web_url,
        }
    }
}

/// GitLab's words for the state of jobs and pipelines (docs.gitlab.com/api/jobs, "scope").
pub(super) fn status(word: &str) -> JobStatus {
    match word {
        "running" | "canceling" => JobStatus::Running,
        "success" => JobStatus::Succeeded,
        "failed" => JobStatus::Failed,
        "canceled" => JobStatus::Cancelled,
        "skipped" => JobStatus::Skipped,
        // created, pending, preparing, manual, scheduled, waiting_for_resource, waiting_for_callback
        _ => JobStatus::Waiting,
    }
}
