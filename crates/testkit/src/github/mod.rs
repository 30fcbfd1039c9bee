//! A small GitHub: the REST calls about Actions, issues, comments and deployments that we use, over real HTTP, as its
//! documentation describes them (docs.github.com/rest), with faults on demand.
//!
//! Logs are answered with a redirect to a second server, as GitHub answers with one to its storage; that server notes
//! whether a token came along.

mod actions;
mod changes;
mod deployments;
mod issues;
mod seed;
mod site;
mod storage;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{RepoRef, TicketKind, TicketRef};

use crate::peer::{Fault, Logged, Peer, Phase, Request, When};

pub use changes::Pull;
pub use deployments::{Commit, Deployment};
pub use world::{Comment, Issue, Job, Run, World};

/// The token that [`FakeGithub::start`] makes for our user.
pub const TOKEN: &str = "ghp_fake0123456789abcdefghijABCDEFGHIJ01";
/// The number of our user, who is called `longshore-bot`.
pub const OUR_USER: u64 = 7;
/// Somebody else.
pub const OTHER_USER: u64 = 8;

/// A running fake; it stops when dropped.
pub struct FakeGithub {
    peer: Peer,
    storage: Peer,
    world: Arc<Mutex<World>>,
}

impl FakeGithub {
    pub fn start() -> Self {
        let world = Arc::new(Mutex::new(World::default()));
        let peer = Peer::start(Arc::new(site::GithubSite(Arc::clone(&world))));
        let storage = Peer::start(Arc::new(storage::Storage(Arc::clone(&world))));
        {
            let mut world = lock(&world);
            world.base = peer.url();
            world.storage = storage.url();
        }
        Self { peer, storage, world }
    }

    /// The web address; the API is below `/api/v3`, as on an instance of one's own.
    pub fn url(&self) -> String {
        self.peer.url()
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut lock(&self.world))
    }

    /// A reference to a repository that is made if it does not exist yet.
    pub fn repo(&self, path: &str) -> RepoRef {
        self.with(|world| world.repos.insert(path.to_owned()));
        RepoRef {
            provider: "github".to_owned(),
            url: format!("{}/{path}", self.url()),
            project: path.to_owned(),
        }
    }

    /// A new open issue or pull request.
    pub fn open_ticket(&self, path: &str, kind: TicketKind, labels: &[&str]) -> TicketRef {
        let repo = self.repo(path);
        let iid = self.with(|world| world.open_issue(path, labels));
        TicketRef { repo, kind, iid }
    }

    /// The bodies of the comments on a ticket, in the order of their making.
    pub fn notes(&self, at: &TicketRef) -> Vec<String> {
        self.with(|world| {
            let here = world
                .comments
                .iter()
                .filter(|comment| comment.repo == at.repo.project && comment.issue == at.iid);
            here.map(|comment| comment.body.clone()).collect()
        })
    }

    /// How many jobs were run again by request.
    pub fn retries(&self) -> usize {
        self.with(|world| world.retries)
    }

    /// The next request to the API that `when` fits meets `fault`.
    pub fn fault(&self, when: &When, fault: &Fault) {
        self.peer.fault(when, fault);
    }

    /// Shows every request to the API from now on to `hook`; see [`Peer::on_request`].
    pub fn on_request(&self, hook: impl Fn(&Request, Phase) + Send + Sync + 'static) {
        self.peer.on_request(hook);
    }

    pub fn requests(&self) -> Vec<Logged> {
        self.peer.requests()
    }

    /// The requests that came to where logs are stored.
    pub fn storage_requests(&self) -> Vec<Logged> {
        self.storage.requests()
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
