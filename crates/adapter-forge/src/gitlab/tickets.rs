use std::collections::HashMap;
use std::sync::PoisonError;

use async_trait::async_trait;
use domain::{Error, ErrorKind, LabelChange, Result, TicketKind, TicketRef};
use gitlab::api::common::SortOrder;
use gitlab::api::endpoint_prelude::Cow;
use gitlab::api::projects::issues::notes::{self as issue_notes, NoteOrderBy};
use gitlab::api::projects::issues::{EditIssue, Issue};
use gitlab::api::projects::merge_requests::notes as merge_request_notes;
use gitlab::api::projects::merge_requests::{EditMergeRequest, MergeRequest};
use gitlab::api::users::CurrentUser;
use gitlab::api::{BodyError, Endpoint};
use http::Method;
use ports::{Note, NoteId, Ticket, TicketLimits, Tickets};

use super::raw::{RawNote, RawNoteAnswer, RawTicket, RawUser};
use super::{Gitlab, project};
use crate::failure::{CallError, Need};
use crate::request::built;

/// docs.gitlab.com/administration/instance_limits: size of comments and descriptions.
const NOTE_CHARS: usize = 1_000_000;

/// The crate has it for issues alone.
struct DeleteMergeRequestNote {
    path: String,
}

impl Endpoint for DeleteMergeRequestNote {
    fn method(&self) -> Method {
        Method::DELETE
    }
    fn endpoint(&self) -> Cow<'static, str> {
        self.path.clone().into()
    }
    fn body(&self) -> Result<Option<(&'static str, Vec<u8>)>, BodyError> {
        Ok(None)
    }
}

/// `issue 5 of group/app`, for messages.
pub(crate) fn name(at: &TicketRef) -> String {
    let kind = match at.kind {
        TicketKind::Issue => "issue",
        TicketKind::MergeRequest => "merge request",
    };
    format!("{kind} {} of {}", at.iid, at.repo.project)
}

impl Gitlab {
    pub(super) async fn own_user(&self) -> Result<u64> {
        let ask = || async {
            let user: RawUser = self
                .client
                .query(built(CurrentUser::builder().build())?)
                .await
                .map_err(|error| error.explain("ask who we are", Need::ReadTicket))?;
            Ok(user.id)
        };
        self.own_user.get_or_try_init(ask).await.copied()
    }

    async fn raw_ticket(&self, at: &TicketRef) -> Result<RawTicket> {
        let answer = match at.kind {
            TicketKind::Issue => {
                let get = Issue::builder().project(project(&at.repo)).issue(at.iid).build();
                self.client.query(built(get)?).await
            }
            TicketKind::MergeRequest => {
                let get = MergeRequest::builder()
                    .project(project(&at.repo))
                    .merge_request(at.iid)
                    .build();
                self.client.query(built(get)?).await
            }
        };
        answer.map_err(|error| error.explain(&format!("read {}", name(at)), Need::ReadTicket))
    }

    /// GitLab refuses notes on a locked ticket in the same words as missing rights; the ticket tells them apart.
    async fn refused_note(&self, at: &TicketRef, doing: &str, error: CallError) -> Error {
        let error = error.explain(doing, Need::WriteNote);
        if error.kind != ErrorKind::Denied {
            return error;
        }
        match self.raw_ticket(at).await {
            Ok(ticket) if ticket.discussion_locked == Some(true) => {
                Error::conflict(format!("could not {doing}: it is locked"))
                    .next("Unlock its discussion, or make our user a member of the project")
            }
            _ => error,
        }
    }

    /// The address of the project's pages. One that is named by its number is looked up once, on a ticket of it; a
    /// note without a link is better than none, so a failure to is no error.
    async fn pages(&self, at: &TicketRef) -> Option<String> {
        let project = at.repo.project.trim_matches('/');
        if project.parse::<u64>().is_err() {
            let root = self.host.web.as_str().trim_end_matches('/');
            return Some(format!("{root}/{project}"));
        }
        let known = |pages: &HashMap<String, String>| pages.get(project).cloned();
        if let Some(known) = known(&self.pages.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Some(known);
        }
        let ticket = self.raw_ticket(at).await.ok()?;
        let pages = ticket.web_url.split_once("/-/")?.0.to_owned();
        let mut all = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(project.to_owned(), pages.clone());
        Some(pages)
    }
}

/// A link to the note, on the ticket's page. Built by rule, because the answer has none.
fn note(pages: Option<&str>, at: &TicketRef, raw: RawNote) -> Note {
    let folder = match at.kind {
        TicketKind::Issue => "issues",
        TicketKind::MergeRequest => "merge_requests",
    };
    Note {
        id: NoteId(raw.id),
        body: raw.body,
        url: pages.map(|pages| format!("{pages}/-/{folder}/{}#note_{}", at.iid, raw.id)),
    }
}

#[async_trait]
impl Tickets for Gitlab {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket> {
        Ok(self.raw_ticket(at).await?.into_ticket())
    }

    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>> {
        let own_user = self.own_user().await?;
        let project = project(&at.repo);
        let notes: Result<Vec<RawNote>, _> = match at.kind {
            TicketKind::Issue => {
                let list = issue_notes::IssueNotes::builder()
                    .project(project)
                    .issue(at.iid)
                    .order_by(NoteOrderBy::CreatedAt)
                    .sort(SortOrder::Ascending)
                    .build();
                self.client.query_all(built(list)?).await
            }
            TicketKind::MergeRequest => {
                let list = merge_request_notes::MergeRequestNotes::builder()
                    .project(project)
                    .merge_request(at.iid)
                    .order_by(NoteOrderBy::CreatedAt)
                    .sort(SortOrder::Ascending)
                    .build();
                self.client.query_all(built(list)?).await
            }
        };
        let notes = notes
            .map_err(|error| error.explain(&format!("list the notes on {}", name(at)), Need::ReadTicket))?;
        let ours = notes
            .into_iter()
            .filter(|note| !note.system && note.author.as_ref().is_some_and(|author| author.id == own_user));
        let pages = self.pages(at).await;
        Ok(ours.map(|raw| note(pages.as_deref(), at, raw)).collect())
    }

    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note> {
        let project = project(&at.repo);
        let answer: Result<RawNoteAnswer, _> = match at.kind {
            TicketKind::Issue => {
                let create = issue_notes::CreateIssueNote::builder()
                    .project(project)
                    .issue(at.iid)
                    .body(body)
                    .build();
                self.client.query(built(create)?).await
            }
            TicketKind::MergeRequest => {
                let create = merge_request_notes::CreateMergeRequestNote::builder()
                    .project(project)
                    .merge_request(at.iid)
                    .body(body)
                    .build();
                self.client.query(built(create)?).await
            }
        };
        let doing = format!("write a note on {}", name(at));
        match answer {
            Ok(RawNoteAnswer::Note(raw)) => Ok(note(self.pages(at).await.as_deref(), at, raw)),
            Ok(RawNoteAnswer::Commands { summary }) => Err(Error::invalid(format!(
                "could not {doing}: its text was taken as commands ({summary}) and no note was made"
            ))),
            Err(error) => Err(self.refused_note(at, &doing, error).await),
        }
    }

    async fn edit_note(&self, at: &TicketRef, id: NoteId, body: &str) -> Result<Note> {
        let project = project(&at.repo);
        let answer: Result<RawNote, _> = match at.kind {
            TicketKind::Issue => {
                let edit = issue_notes::EditIssueNote::builder()
                    .project(project)
                    .issue(at.iid)
                    .note(id.0)
                    .body(body)
                    .build();
                self.client.query(built(edit)?).await
            }
            TicketKind::MergeRequest => {
                let edit = merge_request_notes::EditMergeRequestNote::builder()
                    .project(project)
                    .merge_request(at.iid)
                    .note(id.0)
                    .body(body)
                    .build();
                self.client.query(built(edit)?).await
            }
        };
        match answer {
            Ok(raw) => Ok(note(self.pages(at).await.as_deref(), at, raw)),
            Err(error) => {
                let doing = format!("edit note {} on {}", id.0, name(at));
                Err(self.refused_note(at, &doing, error).await)
            }
        }
    }

    async fn delete_note(&self, at: &TicketRef, note: NoteId) -> Result<()> {
        let project = project(&at.repo);
        let answer = match at.kind {
            TicketKind::Issue => {
                let delete = issue_notes::DeleteIssueNote::builder()
                    .project(project)
                    .issue(at.iid)
                    .note(note.0)
                    .build();
                self.client.send(built(delete)?).await
            }
            TicketKind::MergeRequest => {
                let path = format!("projects/{project}/merge_requests/{}/notes/{}", at.iid, note.0);
                self.client.send(DeleteMergeRequestNote { path }).await
            }
        };
        let doing = format!("delete note {} on {}", note.0, name(at));
        answer.map_err(|error| error.explain(&doing, Need::WriteNote))
    }

    async fn change_labels(&self, at: &TicketRef, change: &LabelChange) -> Result<()> {
        if change.is_empty() {
            return Ok(());
        }
        let project = project(&at.repo);
        check_labels(change)?;
        let answer = match at.kind {
            TicketKind::Issue => {
                let mut edit = EditIssue::builder();
                edit.project(project).issue(at.iid);
                for label in &change.add {
                    edit.add_label(label.as_str());
                }
                for label in &change.remove {
                    edit.remove_label(label.as_str());
                }
                self.client.send(built(edit.build())?).await
            }
            TicketKind::MergeRequest => {
                let mut edit = EditMergeRequest::builder();
                edit.project(project).merge_request(at.iid);
                for label in &change.add {
                    edit.add_label(label.as_str());
                }
                for label in &change.remove {
                    edit.remove_label(label.as_str());
                }
                self.client.send(built(edit.build())?).await
            }
        };
        let doing = format!("change the labels of {}", name(at));
        answer.map_err(|error| error.explain(&doing, Need::WriteTicket))
    }

    fn limits(&self, _: &TicketRef) -> TicketLimits {
        TicketLimits {
            note_chars: NOTE_CHARS,
            request_timeout: self.host.config.timeout + self.host.config.settle,
        }
    }
}

/// Labels go over as a list joined by commas.
fn check_labels(change: &LabelChange) -> Result<()> {
    match change
        .add
        .iter()
        .chain(&change.remove)
        .find(|label| label.contains(','))
    {
        None => Ok(()),
        Some(label) => Err(Error::invalid(format!(
            "the label `{label}` holds a comma, which labels cannot"
        ))),
    }
}
