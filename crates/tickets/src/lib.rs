//! What people read of a task on its ticket: a report rendered to Markdown, and the drainer that keeps exactly one
//! note for each marker there.
//!
//! [`render`] is pure. [`Drainer`] takes due rows from the outbox and talks to the far side through
//! [`ports::Tickets`]; whatever it is interrupted in, a later run finds the note by its marker and goes on.

mod config;
mod deliver;
mod drainer;
mod pace;
mod queue;
pub mod render;
mod sweep;

pub use config::Config;
pub use drainer::Drainer;
pub use queue::Queue;
