//! GitLab: builds, tickets, deployments and feature flags over REST v4.

mod changes;
mod client;
mod environments;
mod flags;
mod forge;
mod nested;
mod raw;
mod rollout;
pub(crate) mod tickets;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use domain::RepoRef;
use gitlab::api::common::NameOrId;
use tokio::sync::OnceCell;

pub(crate) use client::GitlabClient;
pub(crate) use tickets::name;

use crate::host::Host;

/// One instance of GitLab.
pub(crate) struct Gitlab {
    pub(crate) host: Arc<Host>,
    pub(crate) client: GitlabClient,
    /// Our own user's number, asked once.
    own_user: OnceCell<u64>,
    /// The addresses of projects that are named by their number.
    pages: Mutex<HashMap<String, String>>,
}

impl Gitlab {
    pub fn new(host: Arc<Host>) -> Self {
        Self {
            client: GitlabClient(Arc::clone(&host)),
            own_user: OnceCell::new_with(host.config.user_id),
            pages: Mutex::default(),
            host,
        }
    }
}

/// A project as the API wants it: a number, or a path that the endpoint escapes.
pub(crate) fn project(repo: &RepoRef) -> NameOrId<'static> {
    match repo.project.parse::<u64>() {
        Ok(id) => NameOrId::from(id),
        Err(_) => NameOrId::from(repo.project.trim_matches('/').to_owned()),
    }
}
