//! GitHub: Actions, issues and deployments over its REST API. A pull request is an issue where comments and labels are concerned.

mod changes;
mod client;
mod environments;
mod forge;
mod raw;
mod tickets;

use std::sync::Arc;

use domain::{Error, RepoRef, Result};
use tokio::sync::OnceCell;

use crate::host::Host;
use client::GithubClient;

/// GitHub.com or one GitHub Enterprise Server.
pub(crate) struct Github {
    host: Arc<Host>,
    client: GithubClient,
    /// Our own user's number, asked once.
    own_user: OnceCell<u64>,
}

impl Github {
    pub fn new(host: Arc<Host>) -> Self {
        Self {
            client: GithubClient::new(Arc::clone(&host)),
            own_user: OnceCell::new_with(host.config.user_id),
            host,
        }
    }
}

/// `/repos/OWNER/NAME`, escaped.
fn root(repo: &RepoRef) -> Result<String> {
    let mut parts = repo.project.trim_matches('/').split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(owner), Some(name), None) if !owner.is_empty() && !name.is_empty() => {
            Ok(format!("/repos/{}/{}", segment(owner), segment(name)))
        }
        _ => Err(
            Error::invalid(format!("`{}` is no GitHub repository", repo.project))
                .next("Write it as OWNER/NAME"),
        ),
    }
}

/// One part of a path, escaped.
fn segment(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte))
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}
