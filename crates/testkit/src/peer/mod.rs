//! A far side that speaks real HTTP on loopback: the part that every fake web service shares.
//!
//! It runs on a thread of its own, so that a test may block and out-of-process workers can talk to it; it stops
//! when it is dropped. Each request is logged, may meet a [`Fault`], and is shown to hooks before and after its
//! effect, which is where a test kills a worker.

mod fault;
mod message;
mod server;

pub use fault::{Fault, When};
pub use message::{Logged, Phase, Reply, Request};
pub use server::{Peer, Site};
