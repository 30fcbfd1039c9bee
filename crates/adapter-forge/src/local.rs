use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::{Error, LabelChange, Result, TicketKind, TicketRef};
use ports::{Note, NoteId, Ticket, TicketLimits, TicketState, Tickets};
use serde::{Deserialize, Serialize};

use crate::config::LocalConfig;

/// Tickets as files: one JSON file each, and beside it the same as Markdown for people. Files are replaced as a whole,
/// so a crash leaves the old or the new one.
///
/// One process writes at a time; others may read.
pub struct LocalTickets {
    config: LocalConfig,
    writing: Mutex<()>,
}

/// A ticket with its notes, as it stands in its file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocalTicket {
    pub project: String,
    pub kind: TicketKind,
    pub iid: u64,
    pub title: String,
    pub state: TicketState,
    pub locked: bool,
    pub labels: Vec<String>,
    pub notes: Vec<LocalNote>,
    last_note: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNote {
    pub id: u64,
    /// `longshore`, or whoever else wrote it.
    pub author: String,
    pub body: String,
    pub edits: u32,
}

/// Who writes through the port.
const OURSELVES: &str = "longshore";
const NOTE_CHARS: usize = 1_000_000;

impl LocalTickets {
    pub fn new(config: LocalConfig) -> Self {
        Self {
            config,
            writing: Mutex::new(()),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.config.folder
    }

    /// All tickets, by project and number.
    pub fn all(&self) -> Result<Vec<LocalTicket>> {
        let mut all = Vec::new();
        let entries = match std::fs::read_dir(&self.config.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(all),
            Err(error) => return Err(broken(&self.config.folder, &error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| broken(&self.config.folder, &error))?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                all.extend(read(&path)?);
            }
        }
        all.sort_by(|a, b| (&a.project, a.iid).cmp(&(&b.project, b.iid)));
        Ok(all)
    }

    /// One ticket with its notes.
    pub fn get(&self, at: &TicketRef) -> Result<LocalTicket> {
        match read(&self.path(at, "json"))? {
            Some(ticket) => Ok(ticket),
            None if self.config.open_unknown => Ok(fresh(at)),
            None => Err(
                Error::not_found(format!("there is no ticket {} of {}", at.iid, at.repo.project)).next(
                    format!("Tickets are the files in {}", self.config.folder.display()),
                ),
            ),
        }
    }

    /// Opens a ticket, or gives one that stands already a new title.
    pub fn open(&self, at: &TicketRef, title: &str, labels: &[&str]) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ticket = read(&self.path(at, "json"))?.unwrap_or_else(|| fresh(at));
        title.clone_into(&mut ticket.title);
        ticket.state = TicketState::Open;
        ticket.labels.extend(labels.iter().map(|&label| label.to_owned()));
        self.save(at, &ticket)
    }

    /// Changes a ticket as a person would: closes it, locks it, writes a note.
    pub fn alter<T>(&self, at: &TicketRef, change: impl FnOnce(&mut LocalTicket) -> Result<T>) -> Result<T> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ticket = self.get(at)?;
        let answer = change(&mut ticket)?;
        self.save(at, &ticket)?;
        Ok(answer)
    }

    pub fn delete(&self, at: &TicketRef) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in ["json", "md"] {
            let path = self.path(at, kind);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(broken(&path, &error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn path(&self, at: &TicketRef, extension: &str) -> PathBuf {
        let kind = match at.kind {
            TicketKind::Issue => "issue",
            TicketKind::MergeRequest => "merge-request",
        };
        let name = format!("{}.{kind}-{}.{extension}", file_name(&at.repo.project), at.iid);
        self.config.folder.join(name)
    }

    fn save(&self, at: &TicketRef, ticket: &LocalTicket) -> Result<()> {
        let json = serde_json::to_vec_pretty(ticket)
            .map_err(|error| Error::internal("a ticket could not be written as JSON").because(&error))?;
        self.replace(&self.path(at, "json"), &json)?;
        self.replace(&self.path(at, "md"), markdown(ticket).as_bytes())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<()> {
        let new = path.with_extension("new");
        let write = || {
            std::fs::create_dir_all(&self.config.folder)?;
            let mut file = std::fs::File::create(&new)?;
            file.write_all(content)?;
            file.sync_all()?;
            std::fs::rename(&new, path)
        };
        write().map_err(|error| broken(path, &error))
    }

    fn ticket_of(&self, at: &TicketRef) -> Result<Ticket> {
        let found = self.get(at)?;
        Ok(Ticket {
            title: found.title,
            state: found.state,
            locked: found.locked,
            labels: found.labels,
            url: self.link(at),
        })
    }

    fn link(&self, at: &TicketRef) -> String {
        let path = self.path(at, "md");
        format!("file://{}", std::path::absolute(&path).unwrap_or(path).display())
    }

    fn note(&self, at: &TicketRef, note: &LocalNote) -> Note {
        Note {
            id: NoteId(note.id),
            body: note.body.clone(),
            url: Some(self.link(at)),
        }
    }
}

impl LocalTicket {
    /// Adds a note of `author` and gives its number.
    pub fn add_note(&mut self, author: &str, body: &str) -> u64 {
        self.last_note += 1;
        self.notes.push(LocalNote {
            id: self.last_note,
            author: author.to_owned(),
            body: body.to_owned(),
            edits: 0,
        });
        self.last_note
    }

    fn own(&mut self, id: NoteId) -> Result<&mut LocalNote> {
        let found = self.notes.iter_mut().find(|note| note.id == id.0);
        let found = found.ok_or_else(|| Error::not_found(format!("there is no note {}", id.0)))?;
        if found.author != OURSELVES {
            return Err(Error::denied(format!("note {} is {}'s", id.0, found.author)));
        }
        Ok(found)
    }
}

fn fresh(at: &TicketRef) -> LocalTicket {
    LocalTicket {
        project: at.repo.project.clone(),
        kind: at.kind,
        iid: at.iid,
        title: format!("Ticket {}", at.iid),
        state: TicketState::Open,
        locked: false,
        labels: Vec::new(),
        notes: Vec::new(),
        last_note: 0,
    }
}

fn read(path: &Path) -> Result<Option<LocalTicket>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(broken(path, &error)),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        Error::internal(format!("{} is no ticket file", path.display()))
            .because(&error)
            .next("Repair the file or move it out of the folder")
    })
}

fn broken(path: &Path, error: &io::Error) -> Error {
    Error::unavailable(format!("could not use {}", path.display())).because(error)
}

/// A project's path as part of a file name; different projects stay different.
fn file_name(project: &str) -> String {
    let mut name = String::new();
    for byte in project.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            b'/' => name.push('+'),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    name
}

fn markdown(ticket: &LocalTicket) -> String {
    let (kind, sign) = match ticket.kind {
        TicketKind::Issue => ("issue", '#'),
        TicketKind::MergeRequest => ("merge request", '!'),
    };
    let state = match ticket.state {
        TicketState::Open => "open",
        TicketState::Closed => "closed",
    };
    let locked = if ticket.locked { ", locked" } else { "" };
    let mut text = format!(
        "# {}\n\n{} {kind} {sign}{}, {state}{locked}\n",
        ticket.title, ticket.project, ticket.iid
    );
    if !ticket.labels.is_empty() {
        text.push_str(&format!("\nLabels: {}\n", ticket.labels.join(", ")));
    }
    for note in &ticket.notes {
        let edited = match note.edits {
            0 => String::new(),
            1 => ", edited once".to_owned(),
            times => format!(", edited {times} times"),
        };
        text.push_str(&format!(
            "\n---\n\n**{}** (note {}{edited})\n\n{}\n",
            note.author, note.id, note.body
        ));
    }
    text
}

fn check_body(body: &str) -> Result<()> {
    let length = body.chars().count();
    if body.trim().is_empty() || length > NOTE_CHARS {
        return Err(Error::invalid(format!(
            "a note must have 1 to {NOTE_CHARS} characters; this one has {length}"
        )));
    }
    Ok(())
}

#[async_trait]
impl Tickets for LocalTickets {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket> {
        self.ticket_of(at)
    }

    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>> {
        let found = self.get(at)?;
        let ours = found.notes.iter().filter(|note| note.author == OURSELVES);
        Ok(ours.map(|note| self.note(at, note)).collect())
    }

    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note> {
        check_body(body)?;
        let id = self.alter(at, |ticket| {
            if ticket.locked {
                return Err(Error::conflict(format!(
                    "ticket {} of {} is locked",
                    at.iid, at.repo.project
                )));
            }
            Ok(ticket.add_note(OURSELVES, body))
        })?;
        Ok(Note {
            id: NoteId(id),
            body: body.to_owned(),
            url: Some(self.link(at)),
        })
    }

    async fn edit_note(&self, at: &TicketRef, note: NoteId, body: &str) -> Result<Note> {
        check_body(body)?;
        self.alter(at, |ticket| {
            let found = ticket.own(note)?;
            body.clone_into(&mut found.body);
            found.edits += 1;
            Ok(self.note(at, found))
        })
    }

    async fn delete_note(&self, at: &TicketRef, note: NoteId) -> Result<()> {
        self.alter(at, |ticket| {
            ticket.own(note)?;
            ticket.notes.retain(|found| found.id != note.0);
            Ok(())
        })
    }

    async fn change_labels(&self, at: &TicketRef, change: &LabelChange) -> Result<()> {
        self.alter(at, |ticket| {
            ticket.labels.retain(|label| !change.remove.contains(label));
            for label in &change.add {
                if !ticket.labels.contains(label) {
                    ticket.labels.push(label.clone());
                }
            }
            Ok(())
        })
    }

    fn limits(&self, _: &TicketRef) -> TicketLimits {
        TicketLimits {
            note_chars: NOTE_CHARS,
            request_timeout: Duration::from_secs(1),
        }
    }
}
