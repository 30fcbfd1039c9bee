use std::time::Duration;

use async_trait::async_trait;
use domain::{LabelChange, Result, TicketRef};
use serde::{Deserialize, Serialize};

/// Tickets that people read: issues and merge requests, and the notes on them.
///
/// Errors: [`NotFound`](domain::ErrorKind::NotFound) for a deleted or unknown ticket or note,
/// [`Denied`](domain::ErrorKind::Denied) for missing rights, [`Conflict`](domain::ErrorKind::Conflict) for a
/// locked ticket, [`Invalid`](domain::ErrorKind::Invalid) for a body that is refused,
/// [`RateLimited`](domain::ErrorKind::RateLimited) with the wait that was asked for,
/// [`Timeout`](domain::ErrorKind::Timeout) where the effect is in doubt.
#[async_trait]
pub trait Tickets: Send + Sync {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket>;

    /// All notes that our own user wrote on the ticket, oldest first.
    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>>;

    /// Writes a new note. Not repeatable: after a doubt look with [`Tickets::own_notes`] first.
    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note>;

    /// Replaces the text of a note of ours.
    async fn edit_note(&self, at: &TicketRef, note: NoteId, body: &str) -> Result<Note>;

    async fn delete_note(&self, at: &TicketRef, note: NoteId) -> Result<()>;

    /// Adds and removes labels, leaving all others. Repeatable.
    async fn change_labels(&self, at: &TicketRef, change: &LabelChange) -> Result<()>;

    fn limits(&self, at: &TicketRef) -> TicketLimits;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NoteId(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    pub id: NoteId,
    pub body: String,
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    pub title: String,
    pub state: TicketState,
    /// No notes are taken from those who are not members.
    pub locked: bool,
    pub labels: Vec<String>,
    pub url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    Open,
    Closed,
}

/// What the far side accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketLimits {
    /// Longest body of a note, in characters.
    pub note_chars: usize,
    /// After this long a request that has not been answered will not take effect any more.
    pub request_timeout: Duration,
}
