use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use domain::{Error, LabelChange, Result, TicketRef};

use super::Faults;
use crate::{Note, NoteId, Ticket, TicketLimits, TicketState, Tickets};

/// Tickets in memory. Clones share one world, so a test keeps one and hands the other to the code under test.
#[derive(Clone, Debug, Default)]
pub struct FakeTickets {
    world: Arc<Mutex<World>>,
    faults: Faults<TicketOp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TicketOp {
    Ticket,
    OwnNotes,
    CreateNote,
    EditNote,
    DeleteNote,
    ChangeLabels,
}

/// A change that took place, whether its caller heard of it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketEffect {
    Created {
        at: TicketRef,
        note: NoteId,
        body: String,
    },
    Edited {
        at: TicketRef,
        note: NoteId,
        body: String,
    },
    Deleted {
        at: TicketRef,
        note: NoteId,
    },
    Labelled {
        at: TicketRef,
        change: LabelChange,
    },
}

#[derive(Debug)]
struct World {
    tickets: HashMap<TicketRef, Entry>,
    last_note: u64,
    effects: Vec<TicketEffect>,
    calls: Vec<TicketOp>,
    writes_denied: bool,
    limits: TicketLimits,
}

impl Default for World {
    fn default() -> Self {
        Self {
            tickets: HashMap::new(),
            last_note: 0,
            effects: Vec::new(),
            calls: Vec::new(),
            writes_denied: false,
            limits: TicketLimits {
                note_chars: 1_000_000,
                request_timeout: Duration::from_secs(30),
            },
        }
    }
}

#[derive(Debug)]
struct Entry {
    ticket: Ticket,
    notes: Vec<(Note, bool)>,
}

impl FakeTickets {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an open ticket with these labels, or opens it anew without notes.
    pub fn add_ticket(&self, at: &TicketRef, labels: &[&str]) {
        let entry = Entry {
            ticket: Ticket {
                title: format!("Ticket {}", at.iid),
                state: TicketState::Open,
                locked: false,
                labels: labels.iter().map(|&label| label.to_owned()).collect(),
                url: format!("https://forge.example/{}/{}", at.repo.project, at.iid),
            },
            notes: Vec::new(),
        };
        self.world().tickets.insert(at.clone(), entry);
    }

    /// Changes a ticket from outside: closes it, locks it…
    pub fn alter(&self, at: &TicketRef, change: impl FnOnce(&mut Ticket)) {
        if let Some(entry) = self.world().tickets.get_mut(at) {
            change(&mut entry.ticket);
        }
    }

    pub fn delete_ticket(&self, at: &TicketRef) {
        self.world().tickets.remove(at);
    }

    /// From now on nothing may be changed.
    pub fn deny_writes(&self) {
        self.world().writes_denied = true;
    }

    pub fn set_limits(&self, limits: TicketLimits) {
        self.world().limits = limits;
    }

    /// A note that somebody else writes.
    pub fn add_foreign_note(&self, at: &TicketRef, body: &str) -> NoteId {
        let mut world = self.world();
        let note = world.new_note(at, body);
        let id = note.id;
        if let Some(entry) = world.tickets.get_mut(at) {
            entry.notes.push((note, false));
        }
        id
    }

    /// All notes on a ticket that stand now, in the order in which they were written.
    pub fn notes(&self, at: &TicketRef) -> Vec<Note> {
        let world = self.world();
        let notes = world.tickets.get(at).map(|entry| entry.notes.iter());
        notes
            .into_iter()
            .flatten()
            .map(|(note, _)| note.clone())
            .collect()
    }

    pub fn labels(&self, at: &TicketRef) -> Vec<String> {
        let world = self.world();
        world
            .tickets
            .get(at)
            .map(|entry| entry.ticket.labels.clone())
            .unwrap_or_default()
    }

    pub fn faults(&self) -> &Faults<TicketOp> {
        &self.faults
    }

    /// The changes that took place, in order.
    pub fn effects(&self) -> Vec<TicketEffect> {
        self.world().effects.clone()
    }

    /// Every call so far, whatever came of it.
    pub fn calls(&self) -> Vec<TicketOp> {
        self.world().calls.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call<T>(&self, op: TicketOp, effect: impl FnOnce(&mut World) -> Result<T>) -> Result<T> {
        self.world().calls.push(op);
        self.faults.around(op, || effect(&mut self.world())).await
    }
}

impl World {
    fn new_note(&mut self, at: &TicketRef, body: &str) -> Note {
        self.last_note += 1;
        Note {
            id: NoteId(self.last_note),
            body: body.to_owned(),
            url: Some(format!(
                "https://forge.example/{}/{}#note_{}",
                at.repo.project, at.iid, self.last_note
            )),
        }
    }

    fn entry(&mut self, at: &TicketRef) -> Result<&mut Entry> {
        self.tickets
            .get_mut(at)
            .ok_or_else(|| Error::not_found(format!("there is no ticket {} in {}", at.iid, at.repo.project)))
    }

    /// The ticket, if we may change it.
    fn writable(&mut self, at: &TicketRef) -> Result<&mut Entry> {
        let denied = self.writes_denied;
        let entry = self.entry(at)?;
        if denied {
            return Err(Error::denied(format!(
                "ticket {} may not be changed by us",
                at.iid
            )));
        }
        Ok(entry)
    }

    fn check_body(&self, body: &str) -> Result<()> {
        let (length, limit) = (body.chars().count(), self.limits.note_chars);
        if body.trim().is_empty() || length > limit {
            return Err(Error::invalid(format!(
                "a note must have 1 to {limit} characters; this one has {length}"
            )));
        }
        Ok(())
    }

    fn create(&mut self, at: &TicketRef, body: &str) -> Result<Note> {
        self.check_body(body)?;
        if self.writable(at)?.ticket.locked {
            return Err(Error::conflict(format!("ticket {} is locked", at.iid)));
        }
        let note = self.new_note(at, body);
        self.entry(at)?.notes.push((note.clone(), true));
        self.effects.push(TicketEffect::Created {
            at: at.clone(),
            note: note.id,
            body: body.to_owned(),
        });
        Ok(note)
    }

    fn edit(&mut self, at: &TicketRef, id: NoteId, body: &str) -> Result<Note> {
        self.check_body(body)?;
        let entry = self.writable(at)?;
        let note = own_note(&mut entry.notes, id)?;
        body.clone_into(&mut note.body);
        let note = note.clone();
        self.effects.push(TicketEffect::Edited {
            at: at.clone(),
            note: id,
            body: body.to_owned(),
        });
        Ok(note)
    }

    fn delete(&mut self, at: &TicketRef, id: NoteId) -> Result<()> {
        let entry = self.writable(at)?;
        own_note(&mut entry.notes, id)?;
        entry.notes.retain(|(note, _)| note.id != id);
        self.effects.push(TicketEffect::Deleted {
            at: at.clone(),
            note: id,
        });
        Ok(())
    }

    fn label(&mut self, at: &TicketRef, change: &LabelChange) -> Result<()> {
        let labels = &mut self.writable(at)?.ticket.labels;
        labels.retain(|label| !change.remove.contains(label));
        for label in &change.add {
            if !labels.contains(label) {
                labels.push(label.clone());
            }
        }
        self.effects.push(TicketEffect::Labelled {
            at: at.clone(),
            change: change.clone(),
        });
        Ok(())
    }
}

fn own_note(notes: &mut [(Note, bool)], id: NoteId) -> Result<&mut Note> {
    let found = notes.iter_mut().find(|(note, _)| note.id == id);
    match found {
        Some((note, true)) => Ok(note),
        Some((_, false)) => Err(Error::denied(format!("note {} is somebody else's", id.0))),
        None => Err(Error::not_found(format!("there is no note {}", id.0))),
    }
}

#[async_trait]
impl Tickets for FakeTickets {
    async fn ticket(&self, at: &TicketRef) -> Result<Ticket> {
        self.call(TicketOp::Ticket, |world| Ok(world.entry(at)?.ticket.clone()))
            .await
    }

    async fn own_notes(&self, at: &TicketRef) -> Result<Vec<Note>> {
        self.call(TicketOp::OwnNotes, |world| {
            let notes = world.entry(at)?.notes.iter().filter(|(_, ours)| *ours);
            Ok(notes.map(|(note, _)| note.clone()).collect())
        })
        .await
    }

    async fn create_note(&self, at: &TicketRef, body: &str) -> Result<Note> {
        self.call(TicketOp::CreateNote, |world| world.create(at, body))
            .await
    }

    async fn edit_note(&self, at: &TicketRef, note: NoteId, body: &str) -> Result<Note> {
        self.call(TicketOp::EditNote, |world| world.edit(at, note, body))
            .await
    }

    async fn delete_note(&self, at: &TicketRef, note: NoteId) -> Result<()> {
        self.call(TicketOp::DeleteNote, |world| world.delete(at, note))
            .await
    }

    async fn change_labels(&self, at: &TicketRef, change: &LabelChange) -> Result<()> {
        self.call(TicketOp::ChangeLabels, |world| world.label(at, change))
            .await
    }

    fn limits(&self, _: &TicketRef) -> TicketLimits {
        self.world().limits
    }
}
