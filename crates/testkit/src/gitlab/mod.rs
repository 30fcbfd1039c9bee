//! A small GitLab: REST v4 over real HTTP, as its documentation describes it (docs.gitlab.com/api), with faults on
//! demand. What it keeps can be read and changed from the test with [`FakeGitlab::with`], and read from other
//! processes at `/__state` and `/__requests`.

mod builds;
mod changes;
mod deployments;
mod flags;
mod hooks;
mod issues;
mod notes;
mod paging;
mod seed;
mod site;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::{RepoRef, TicketKind, TicketRef};

use crate::peer::{Fault, Logged, Peer, Phase, Request, When};

pub use changes::{Branch, MergeRequest};
pub use deployments::{Commit, Deployment, Environment};
pub use flags::{FeatureFlag, Strategy};
pub use world::{
    Build, ChildLink, Hook, LogText, Note, Pipeline, Project, QuickAction, Role, Scope, Ticket, Token, World,
};

/// The token that [`FakeGitlab::start`] makes for our user: scope `api`, role Developer.
pub const TOKEN: &str = "glpat-fake-0123456789abcdefghij";
/// The number of our user, who is called `longshore-bot`.
pub const OUR_USER: u64 = 7;
/// Somebody else.
pub const OTHER_USER: u64 = 8;

/// How long a refused request is told to wait unless the fault says otherwise.
const DEFAULT_WAIT: Duration = Duration::from_secs(60);

/// A running fake; it stops when dropped.
pub struct FakeGitlab {
    peer: Peer,
    world: Arc<Mutex<World>>,
}

impl FakeGitlab {
    /// Starts with no projects, and one token: [`TOKEN`].
    pub fn start() -> Self {
        let world = Arc::new(Mutex::new(World::new()));
        let peer = Peer::start(Arc::new(site::GitlabSite(Arc::clone(&world))));
        lock(&world).base = peer.url();
        Self { peer, world }
    }

    /// The instance's web address; the API is below `/api/v4`.
    pub fn url(&self) -> String {
        self.peer.url()
    }

    /// Reads or changes what it keeps.
    pub fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut lock(&self.world))
    }

    /// A reference to a project that is made if it does not exist yet.
    pub fn repo(&self, path: &str) -> RepoRef {
        self.with(|world| world.project(path));
        RepoRef {
            provider: "gitlab".to_owned(),
            url: format!("{}/{path}", self.url()),
            project: path.to_owned(),
        }
    }

    /// A new open issue.
    pub fn open_issue(&self, path: &str, labels: &[&str]) -> TicketRef {
        self.open_ticket(path, TicketKind::Issue, labels)
    }

    pub fn open_ticket(&self, path: &str, kind: TicketKind, labels: &[&str]) -> TicketRef {
        let repo = self.repo(path);
        let iid = self.with(|world| world.open_ticket(path, kind, "A ticket", labels));
        TicketRef { repo, kind, iid }
    }

    /// The bodies of the notes on a ticket, in the order of their making.
    pub fn notes(&self, at: &TicketRef) -> Vec<String> {
        self.with(|world| {
            let notes = world.notes_on(&at.repo.project, at.kind, at.iid);
            notes.map(|note| note.body.clone()).collect()
        })
    }

    /// How many jobs were run again by request.
    pub fn retries(&self) -> usize {
        self.with(|world| world.retries)
    }

    /// The next request that `when` fits meets `fault`.
    pub fn fault(&self, when: &When, fault: &Fault) {
        self.peer.fault(when, fault);
    }

    pub fn faults(&self, times: usize, when: &When, fault: &Fault) {
        self.peer.faults(times, when, fault);
    }

    pub fn clear_faults(&self) {
        self.peer.clear_faults();
    }

    /// Shows every request from now on to `hook`, before and after its effect; see [`Peer::on_request`].
    pub fn on_request(&self, hook: impl Fn(&Request, Phase) + Send + Sync + 'static) {
        self.peer.on_request(hook);
    }

    pub fn requests(&self) -> Vec<Logged> {
        self.peer.requests()
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}
