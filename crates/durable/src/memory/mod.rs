//! A task table and journal in memory, for tests of handlers: the rules of the real one without its disk.
//!
//! [`World`] keeps tasks, journals, locks, signals and a clock that only moves when told to. It is a
//! [`Journal`]; [`World::claim`] and [`World::settle`] stand for what a worker does around an attempt.

mod journal;
mod world;

pub use world::{Claimed, Settled, TaskView, World};
