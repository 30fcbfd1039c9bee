//! Following tasks as they happen, by server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! One poller reads for all followers, and only while there are any; each has a bounded queue of its own, and who does
//! not read theirs is dropped.

mod feed;
mod gaps;
mod heard;
mod routes;

pub use feed::Feed;
// The macro that lists the routes looks for what `utoipa::path` made beside each handler.
pub use routes::*;
