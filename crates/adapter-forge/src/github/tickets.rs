use async_trait::async_trait;
use domain::{Error, LabelChange, Result, TicketKind, TicketRef};
use http::StatusCode;
use ports::{Note, NoteId, Ticket, TicketLimits, Tickets};
use serde_json::{Value, json};

use super::raw::{RawComment, RawIssue, RawUser};
use super::{Github, root, segment};
use crate::failure::{CallError, Need};

/// GitHub's limit on the body of a comment.
const NOTE_CHARS: usize = 65_536;
const PER_PAGE: usize = 100;
/// GitHub closes issues to comments after 2,500 of them.
const MOST_PAGES: usize = 50;

fn name(at: &TicketRef) -> String {
    let kind = match at.kind {
        TicketKind::Issue => "issue",
        TicketKind::MergeRequest => "pull request",
    };
    format!("{kind} {} of {}", at.iid, at.repo.project)
}

fn issue(at: &TicketRef) -> Result<String> {
    Ok(format!("{}/issues/{}", root(&at.repo)?, at.iid))
}

fn comment(at: &TicketRef, note: NoteId) -> Result<String> {
    Ok(format!("{}/issues/comments/{}", root(&at.repo)?, note.0))
}

fn explain_note(error: CallError, doing: &str) -> Error {
    if error.refusal().contains("is locked") {
        return Error::conflict(format!("could not {doing}: it is locked"))
            .next("Unlock its conversation, or make our user a collaborator");
    }
    error.explain(doing, Need::WriteNote)
}

/// GitHub takes bodies of spaces; no reader gains from one.
fn check_body(body: &str) -> Result<()> {
    let length = body.chars().count();
    if body.trim().is_empty() || length > NOTE_CHARS {
        return Err(Error::invalid(format!(
            "a comment must have 1 to {NOTE_CHARS} characters; this one has {length}"
        )));
    }
    Ok(())
}

impl Github {
    pub(super) async fn own_user(&self) -> Result<u64> {
        let ask = || async {
            let user: RawUser = self.client.get("/user", &()).await.map_err(|error| {
                let error = error.explain("ask who we are", Need::ReadTicket);
                error.next(
                    "Check the token; a GitHub app's token may not ask: set `user_id` to the app's bot user",
                )
            })?;
            Ok(user.id)
        };
        self.own_user.get_or_try_init(ask).await.copied()
    }
}

#[async_trait]
impl Tickets for Github {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket> {
        let found: RawIssue = self
            .client
            .get(&issue(at)?, &())
            .await
            .map_err(|error| error.explain(&format!("read {}", name(at)), Need::ReadTicket))?;
        Ok(found.into_ticket())
    }

    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>> {
        let own_user = self.own_user().await?;
        let path = format!("{}/comments", issue(at)?);
        let mut ours = Vec::new();
        for page in 1..=MOST_PAGES {
            let parameters = [("per_page", PER_PAGE), ("page", page)];
            let found: Vec<RawComment> = self.client.get(&path, &parameters).await.map_err(|error| {
                error.explain(&format!("list the comments on {}", name(at)), Need::ReadTicket)
            })?;
            let last = found.len() < PER_PAGE;
            let of_us = found
                .into_iter()
                .filter(|note| note.user.as_ref().is_some_and(|user| user.id == own_user));
            ours.extend(of_us.map(RawComment::into_note));
            if last {
                break;
            }
        }
        ours.sort_by_key(|note| note.id);
        Ok(ours)
    }

    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note> {
        check_body(body)?;
        let path = format!("{}/comments", issue(at)?);
        let made: Result<RawComment, _> = self.client.post(&path, &json!({ "body": body })).await;
        let made = made.map_err(|error| explain_note(error, &format!("write a comment on {}", name(at))))?;
        Ok(made.into_note())
    }

    async fn edit_note(&self, at: &TicketRef, note: NoteId, body: &str) -> Result<Note> {
        check_body(body)?;
        let edited: Result<RawComment, _> = self
            .client
            .patch(&comment(at, note)?, &json!({ "body": body }))
            .await;
        let doing = || format!("edit comment {} on {}", note.0, name(at));
        Ok(edited.map_err(|error| explain_note(error, &doing()))?.into_note())
    }

    async fn delete_note(&self, at: &TicketRef, note: NoteId) -> Result<()> {
        let doing = || format!("delete comment {} on {}", note.0, name(at));
        self.client
            .delete(&comment(at, note)?)
            .await
            .map_err(|error| explain_note(error, &doing()))
    }

    async fn change_labels(&self, at: &TicketRef, change: &LabelChange) -> Result<()> {
        let path = format!("{}/labels", issue(at)?);
        let explain = |error: CallError| {
            error.explain(&format!("change the labels of {}", name(at)), Need::WriteTicket)
        };
        if !change.add.is_empty() {
            let added: Result<Value, _> = self.client.post(&path, &json!({ "labels": change.add })).await;
            added.map_err(explain)?;
        }
        for label in &change.remove {
            match self.client.delete(&format!("{path}/{}", segment(label))).await {
                // It is not there, which is what was wanted; a missing issue is told by the words.
                Err(error)
                    if error.status() == Some(StatusCode::NOT_FOUND)
                        && error.refusal().contains("Label does not exist") => {}
                removed => removed.map_err(explain)?,
            }
        }
        Ok(())
    }

    fn limits(&self, _: &TicketRef) -> TicketLimits {
        TicketLimits {
            note_chars: NOTE_CHARS,
            request_timeout: self.host.config.timeout + self.host.config.settle,
        }
    }
}
