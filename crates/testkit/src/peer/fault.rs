use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::Method;

use super::Request;

/// How a request is treated instead of simply being answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this status; nothing is done.
    Status(u16),
    /// Carried out, and answered with this status all the same, as a proxy in front may do.
    DoneThenStatus(u16),
    /// Refused with this status and a message that repeats the request's token, as a careless proxy might.
    Echo(u16),
    /// Refused with 429 and the demand to wait.
    RateLimited(Duration),
    /// Nothing is done and the connection is cut without an answer.
    Cut,
    /// Carried out, and then the connection is cut without an answer.
    DoneThenCut,
    /// Answered in part: the connection is cut after this many bytes of the body.
    CutBody(usize),
    /// Nothing is done, and no answer comes while the client waits.
    Hang,
    /// Carried out, and no answer comes while the client waits.
    DoneThenHang,
    /// Answered as usual after this long.
    Slow(Duration),
}

/// Which requests a fault is meant for.
#[derive(Clone, Debug, Default)]
pub struct When {
    method: Option<Method>,
    only_writes: bool,
    path_contains: String,
}

impl When {
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests that change something.
    pub fn write() -> Self {
        Self {
            only_writes: true,
            ..Self::default()
        }
    }

    /// `When::on("POST", "/notes")`
    pub fn on(method: &str, path_contains: &str) -> Self {
        Self {
            method: Some(method.parse().expect("an HTTP method")),
            only_writes: false,
            path_contains: path_contains.to_owned(),
        }
    }

    fn fits(&self, request: &Request) -> bool {
        self.method
            .as_ref()
            .is_none_or(|method| *method == request.method)
            && (!self.only_writes || request.is_write())
            && request.path.contains(&self.path_contains)
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<VecDeque<(When, Fault)>>);

impl Faults {
    pub(super) fn add(&self, when: &When, fault: &Fault, times: usize) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(std::iter::repeat_n((when.clone(), fault.clone()), times));
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn take(&self, request: &Request) -> Option<Fault> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = waiting.iter().position(|(when, _)| when.fits(request))?;
        waiting.remove(at).map(|(_, fault)| fault)
    }
}
