//! Whether a request's body is there: who waits for whom.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use hyper::body::{Frame, SizeHint};

/// How far a body has come.
pub struct Arrival(Arc<State>);

#[derive(Default)]
struct State {
    /// Somebody wants it.
    asked: AtomicBool,
    ended: AtomicBool,
}

impl Arrival {
    /// Whether nobody waits for what the caller has yet to send.
    pub fn is_whole(&self) -> bool {
        !self.0.asked.load(Ordering::Relaxed) || self.0.ended.load(Ordering::Relaxed)
    }
}

/// The request, and how far its body has come.
pub fn watched(request: Request) -> (Request, Arrival) {
    let state = Arc::new(State::default());
    let arrival = Arrival(state.clone());
    (request.map(|body| Body::new(Watched { body, state })), arrival)
}

struct Watched {
    body: Body,
    state: Arc<State>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.state.asked.store(true, Ordering::Relaxed);
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.state.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
