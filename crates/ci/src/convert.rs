//! From one system to another, through the model.

use serde::Serialize;

use crate::dialect::Dialect;
use crate::model::{File, Note, Pipeline};
use crate::yaml::Fault;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Converted {
    pub from: Dialect,
    pub to: Dialect,
    pub files: Vec<File>,
    /// What was not carried over, with its line in the old file and what to do; the lines in order.
    pub notes: Vec<Note>,
    #[serde(skip)]
    pub pipeline: Pipeline,
}

pub fn convert(text: &str, from: Dialect, to: Dialect) -> Result<Converted, Fault> {
    let read = from.read(text)?;
    let written = to.write(&read.pipeline);
    let mut notes: Vec<Note> = Vec::new();
    for note in read.notes.into_iter().chain(written.notes) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes.sort_by_key(|note| note.line.unwrap_or(usize::MAX));
    Ok(Converted {
        from,
        to,
        files: written.files,
        notes,
        pipeline: read.pipeline,
    })
}
