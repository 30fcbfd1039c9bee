//! The adapter for GitLab against the fake, over real HTTP: both suites of the ports.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapter_forge::{Config, Forges, HostConfig, Provider};
use async_trait::async_trait;
use domain::{Idem, RepoRef, TicketKind, TicketRef};
use ports::conformance::Breakage;
use ports::conformance::environments::EnvironmentWorld;
use ports::conformance::forge::{ForgeWorld, PipelineSeed, Placed};
use ports::conformance::forge_changes::{Change, ChangeWorld};
use ports::conformance::tickets::TicketsWorld;
use ports::{Commit, Environments, Forge, NewRecord, NoteId, RecordStatus, Tickets};
use testkit::gitlab::{FakeGitlab, OTHER_USER, Role, Scope, TOKEN};
use testkit::peer::{Fault, When};

const PROJECT: &str = "group/sub/app";

struct GitlabWorld {
    fake: FakeGitlab,
    forges: Forges,
    /// The same with little patience, for when no answer will come.
    hasty: Forges,
    no_answer: AtomicBool,
    kind: TicketKind,
}

fn start() -> GitlabWorld {
    let fake = FakeGitlab::start();
    let mut host = HostConfig::new(Provider::Gitlab);
    host.url = Some(fake.url().parse().expect("the fake's address"));
    host.token = Some(TOKEN.into());
    host.settle = Duration::ZERO;
    host.requests_per_minute = 100_000;
    let forges = |timeout| {
        let hosts = vec![HostConfig {
            timeout,
            ..host.clone()
        }];
        Forges::new(&Config { hosts, local: None }).expect("a usable configuration")
    };
    GitlabWorld {
        fake,
        forges: forges(Duration::from_secs(30)),
        hasty: forges(Duration::from_millis(500)),
        no_answer: AtomicBool::new(false),
        kind: TicketKind::Issue,
    }
}

fn start_with_merge_requests() -> GitlabWorld {
    GitlabWorld {
        kind: TicketKind::MergeRequest,
        ..start()
    }
}

impl GitlabWorld {
    fn alter(&self, at: &TicketRef, change: impl FnOnce(&mut testkit::gitlab::Ticket)) {
        self.fake.with(|world| {
            change(
                world
                    .ticket(&at.repo.project, at.kind, at.iid)
                    .expect("the ticket"),
            );
        });
    }

    fn patience(&self) -> &Forges {
        if self.no_answer.load(Ordering::Relaxed) {
            &self.hasty
        } else {
            &self.forges
        }
    }

    fn break_write(&self, breakage: Breakage) {
        self.no_answer
            .store(breakage == Breakage::NoAnswer, Ordering::Relaxed);
        let fault = match breakage {
            Breakage::RateLimited(wait) => Fault::RateLimited(wait),
            Breakage::OutOfOrder => Fault::Status(503),
            Breakage::DoneThenCut => Fault::DoneThenCut,
            Breakage::NoAnswer => Fault::Hang,
        };
        self.fake.fault(&When::write(), &fault);
    }
}

#[async_trait]
impl TicketsWorld for GitlabWorld {
    fn port(&self) -> &dyn Tickets {
        self.patience()
    }
    async fn open(&self, labels: &[&str]) -> TicketRef {
        self.fake.open_ticket(PROJECT, self.kind, labels)
    }
    fn missing(&self) -> TicketRef {
        TicketRef {
            repo: self.fake.repo(PROJECT),
            kind: self.kind,
            iid: 4711,
        }
    }
    async fn close(&self, at: &TicketRef) {
        self.alter(at, |ticket| ticket.open = false);
    }
    async fn lock(&self, at: &TicketRef) {
        self.alter(at, |ticket| ticket.locked = true);
        // Members may write on locked tickets.
        self.fake
            .with(|world| world.limit_token(Scope::Api, Role::NoMember));
    }
    async fn delete(&self, at: &TicketRef) {
        self.fake
            .with(|world| world.delete_ticket(&at.repo.project, at.kind, at.iid));
    }
    async fn foreign_note(&self, at: &TicketRef, body: &str) -> NoteId {
        let id = self
            .fake
            .with(|world| world.add_note(&at.repo.project, at.kind, at.iid, OTHER_USER, body));
        NoteId(id)
    }
    async fn notes(&self, at: &TicketRef) -> Vec<String> {
        self.fake.notes(at)
    }
    async fn deny_writes(&self) {
        self.fake
            .with(|world| world.limit_token(Scope::ReadApi, Role::Developer));
    }
    async fn break_next(&self, breakage: Breakage) {
        self.break_write(breakage);
    }
}

#[async_trait]
impl ForgeWorld for GitlabWorld {
    fn port(&self) -> &dyn Forge {
        self.patience()
    }
    async fn pipeline(&self, seed: PipelineSeed) -> Placed {
        self.fake.add_pipeline(PROJECT, &seed)
    }
    async fn retries(&self) -> usize {
        self.fake.retries()
    }
    async fn deny_writes(&self) {
        self.fake
            .with(|world| world.limit_token(Scope::Api, Role::Reporter));
    }
    async fn break_next(&self, breakage: Breakage) {
        self.break_write(breakage);
    }
}

#[async_trait]
impl ChangeWorld for GitlabWorld {
    async fn change(&self) -> Change {
        let repo = self.fake.repo(PROJECT);
        let made = self.fake.with(|world| world.tag(PROJECT, "v1.4.2"));
        Change {
            repo,
            sha: made.sha,
            tag: "v1.4.2".to_owned(),
            onto: "main".to_owned(),
        }
    }
    async fn build_on(&self, change: &Change) {
        self.fake.with(|world| world.build_on(&change.sha));
    }
    fn workflow(&self) -> Option<String> {
        None
    }
    async fn begun(&self) -> usize {
        self.fake.with(|world| world.begun)
    }
    async fn merge_requests(&self) -> usize {
        self.fake.with(|world| world.merge_requests.len())
    }
}

#[async_trait]
impl EnvironmentWorld for GitlabWorld {
    fn port(&self) -> &dyn Environments {
        self.patience()
    }
    async fn tagged(&self, tag: &str) -> (RepoRef, Commit) {
        let repo = self.fake.repo(PROJECT);
        let made = self.fake.with(|world| world.tag(PROJECT, tag));
        let commit = Commit {
            sha: made.sha,
            at: made.at,
            git_ref: tag.to_owned(),
            is_tag: true,
        };
        (repo, commit)
    }
    async fn records(&self) -> Vec<Vec<RecordStatus>> {
        let status = |word: &String| match word.as_str() {
            "running" => RecordStatus::Running,
            "success" => RecordStatus::Success,
            "failed" => RecordStatus::Failed,
            "canceled" => RecordStatus::Canceled,
            other => panic!("{other} is no status that may be set"),
        };
        self.fake.with(|world| {
            let records = world.deployments.iter();
            records
                .map(|record| record.statuses.iter().map(status).collect())
                .collect()
        })
    }
    async fn deny_writes(&self) {
        self.fake
            .with(|world| world.limit_token(Scope::ReadApi, Role::Developer));
    }
    async fn break_next(&self, breakage: Breakage) {
        self.break_write(breakage);
    }
}

mod environments {
    ports::environments_conformance!(super::start());
}

mod issues {
    ports::tickets_conformance!(super::start());
}

mod merge_requests {
    ports::tickets_conformance!(super::start_with_merge_requests());
}

mod builds {
    ports::forge_conformance!(super::start());
}

mod changes {
    ports::forge_changes_conformance!(super::start());
}

// GitLab takes no `blocked` from outside: only its own approvals block. Who waits for somebody's yes is running to it.
#[tokio::test]
async fn a_deployment_that_waits_for_an_approval_is_running_to_gitlab_until_it_ends() {
    let world = start();
    let repo = world.fake.repo(PROJECT);
    let sha = world.fake.with(|world| world.tag(PROJECT, "v1")).sha;
    let new = NewRecord {
        environment: "production".to_owned(),
        sha,
        git_ref: "v1".to_owned(),
        is_tag: true,
        status: RecordStatus::Blocked,
    };
    let idem = Idem::new("task/run/record");
    let record = world.forges.create(&repo, &new, &idem).await.expect("is made");
    let statuses = || world.fake.with(|world| world.deployments[0].statuses.clone());
    for (status, seen) in [
        (RecordStatus::Blocked, &["running"][..]),
        (RecordStatus::Running, &["running"]),
        (RecordStatus::Success, &["running", "success"]),
    ] {
        world
            .forges
            .update(&repo, &record, status)
            .await
            .expect("is told");
        assert_eq!(statuses(), seen, "{status:?}");
    }
}
