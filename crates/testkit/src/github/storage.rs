use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::lock;
use super::world::World;
use crate::peer::{Reply, Request, Site};

/// Where logs lie: another host, which knows signed addresses and no tokens.
pub(super) struct Storage(pub(super) Arc<Mutex<World>>);

impl Site for Storage {
    fn answer(&self, request: &Request) -> Reply {
        let id = request
            .path
            .strip_prefix("/logs/")
            .and_then(|id| id.parse::<u64>().ok());
        let world = lock(&self.0);
        match id.and_then(|id| world.jobs.get(&id)) {
            Some(job) if request.param("sig") == Some("signed") => Reply::text(200, job.log.clone()),
            _ => Reply::empty(403),
        }
    }

    fn refuse(&self, status: u16, _: Option<Duration>) -> Reply {
        Reply::empty(status)
    }

    fn state(&self) -> Value {
        json!(null)
    }
}
