//! The fakes pass the suites that the real adapters pass.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta};
use domain::{Error, RepoRef, TicketKind, TicketRef};
use ports::conformance::Breakage;
use ports::conformance::forge::{ForgeWorld, JobSeed, PipelineSeed, Placed};
use ports::conformance::forge_changes::{Change, ChangeWorld};
use ports::conformance::tickets::TicketsWorld;
use ports::fake::{FakeForge, FakeTickets, Fault, ForgeOp, TicketOp};
use ports::{Forge, Job, JobRef, JobStatus, NoteId, Pipeline, TicketState, Tickets};

fn repo(project: &str) -> RepoRef {
    RepoRef {
        provider: "fake".to_owned(),
        url: String::new(),
        project: project.to_owned(),
    }
}

/// Of a tag `v7` its own, of a branch one for all.
fn sha_of(git_ref: &str) -> String {
    match git_ref.strip_prefix('v') {
        Some(number) => format!("{number:0>40}"),
        None => "a".repeat(40),
    }
}

fn fault(breakage: Breakage) -> Fault {
    match breakage {
        Breakage::RateLimited(wait) => Fault::Fail(Error::rate_limited("too fast", Some(wait))),
        Breakage::OutOfOrder => Fault::Fail(Error::unavailable("out of order")),
        Breakage::DoneThenCut => Fault::DoThenTimeout,
        Breakage::NoAnswer => Fault::Fail(Error::timeout("no answer")),
    }
}

#[derive(Default)]
struct TicketWorld {
    fake: FakeTickets,
    last: AtomicU64,
}

impl TicketWorld {
    fn at(iid: u64) -> TicketRef {
        TicketRef {
            repo: repo("group/app"),
            kind: TicketKind::Issue,
            iid,
        }
    }
}

#[async_trait]
impl TicketsWorld for TicketWorld {
    fn port(&self) -> &dyn Tickets {
        &self.fake
    }
    async fn open(&self, labels: &[&str]) -> TicketRef {
        let at = Self::at(1 + self.last.fetch_add(1, Ordering::Relaxed));
        self.fake.add_ticket(&at, labels);
        at
    }
    fn missing(&self) -> TicketRef {
        Self::at(4711)
    }
    async fn close(&self, at: &TicketRef) {
        self.fake.alter(at, |ticket| ticket.state = TicketState::Closed);
    }
    async fn lock(&self, at: &TicketRef) {
        self.fake.alter(at, |ticket| ticket.locked = true);
    }
    async fn delete(&self, at: &TicketRef) {
        self.fake.delete_ticket(at);
    }
    async fn foreign_note(&self, at: &TicketRef, body: &str) -> NoteId {
        self.fake.add_foreign_note(at, body)
    }
    async fn notes(&self, at: &TicketRef) -> Vec<String> {
        self.fake.notes(at).into_iter().map(|note| note.body).collect()
    }
    async fn deny_writes(&self) {
        self.fake.deny_writes();
    }
    async fn break_next(&self, breakage: Breakage) {
        self.fake.faults().next(TicketOp::CreateNote, fault(breakage));
    }
}

mod tickets {
    ports::tickets_conformance!(super::TicketWorld::default());
}

#[derive(Default)]
struct BuildWorld {
    fake: FakeForge,
    last: AtomicU64,
}

impl BuildWorld {
    fn number(&self) -> u64 {
        1 + self.last.fetch_add(1, Ordering::Relaxed)
    }

    fn place(&self, at: &RepoRef, seed: &PipelineSeed) -> Placed {
        let pipeline = self.number();
        self.fake.add_pipeline(
            at,
            Pipeline {
                id: pipeline,
                status: seed.status,
                git_ref: seed.git_ref.clone(),
                sha: sha_of(&seed.git_ref),
                url: format!("https://forge.example/{}/pipelines/{pipeline}", at.project),
            },
        );
        let jobs = seed.jobs.iter().map(|job| self.runs(at, pipeline, job)).collect();
        for child in &seed.children {
            let elsewhere = repo("group/downstream");
            let below = self.place(
                if child.in_another_project { &elsewhere } else { at },
                &child.pipeline,
            );
            self.fake.add_child((at, pipeline), (&below.repo, below.pipeline));
            if child.points_back {
                self.fake.add_child((&below.repo, below.pipeline), (at, pipeline));
            }
        }
        Placed {
            repo: at.clone(),
            pipeline,
            jobs,
        }
    }

    /// The earlier failed runs of a job and then its newest one.
    fn runs(&self, at: &RepoRef, pipeline: u64, seed: &JobSeed) -> JobRef {
        let mut before: Option<JobRef> = None;
        for run in 0..=seed.earlier_runs {
            let id = self.number();
            let newest = run == seed.earlier_runs;
            let job = Job {
                at: JobRef { repo: at.clone(), id },
                name: seed.name.clone(),
                stage: "test".to_owned(),
                status: if newest { seed.status } else { JobStatus::Failed },
                pipeline,
                attempt: 1 + u32::try_from(run).expect("small"),
                git_ref: "main".to_owned(),
                sha: "a".repeat(40),
                url: format!("https://forge.example/{}/jobs/{id}", at.project),
                allow_failure: seed.allow_failure,
                failure_reason: None,
                exit_code: None,
                started_at: Some(DateTime::UNIX_EPOCH),
                finished_at: Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(id.cast_signed())),
                duration: Some(Duration::from_secs(1)),
            };
            let here = job.at.clone();
            self.fake.add_job(job);
            self.fake.set_log(&here, seed.log.clone());
            if let Some(before) = before.replace(here.clone()) {
                self.fake.link_retry(&before, &here);
            }
        }
        before.expect("there is at least one run")
    }
}

#[async_trait]
impl ForgeWorld for BuildWorld {
    fn port(&self) -> &dyn Forge {
        &self.fake
    }
    async fn pipeline(&self, seed: PipelineSeed) -> Placed {
        self.place(&repo("group/app"), &seed)
    }
    async fn retries(&self) -> usize {
        self.fake.retried().len()
    }
    async fn deny_writes(&self) {
        self.fake.deny_writes();
    }
    async fn break_next(&self, breakage: Breakage) {
        for op in [ForgeOp::RetryJob, ForgeOp::StartPipeline, ForgeOp::Revert] {
            self.fake.faults().next(op, fault(breakage));
        }
    }
}

#[async_trait]
impl ChangeWorld for BuildWorld {
    async fn change(&self) -> Change {
        let (repo, tag) = (repo("group/app"), format!("v{}", self.number()));
        let sha = sha_of(&tag);
        self.fake.add_change(&repo, &sha, false);
        let pipeline = Pipeline {
            id: self.number(),
            status: JobStatus::Succeeded,
            git_ref: tag.clone(),
            sha: sha.clone(),
            url: "https://forge.example/group/app/pipelines".to_owned(),
        };
        self.fake.add_pipeline(&repo, pipeline);
        let onto = "main".to_owned();
        Change { repo, sha, tag, onto }
    }
    async fn build_on(&self, change: &Change) {
        self.fake.add_change(&change.repo, &change.sha, true);
    }
    fn workflow(&self) -> Option<String> {
        None
    }
    async fn begun(&self) -> usize {
        self.fake.begun().len()
    }
    async fn merge_requests(&self) -> usize {
        self.fake.reverts().len()
    }
}

mod forge {
    ports::forge_conformance!(super::BuildWorld::default());
}

mod changes {
    ports::forge_changes_conformance!(super::BuildWorld::default());
}

#[tokio::test]
async fn a_hanging_call_may_have_had_its_effect() {
    let world = TicketWorld::default();
    let at = world.open(&[]).await;
    world.fake.faults().next(TicketOp::CreateNote, Fault::DoThenHang);
    world.fake.faults().next(TicketOp::CreateNote, Fault::Hang);
    for _ in 0..2 {
        let call = world.fake.create_note(&at, "once");
        tokio::select! {
            biased;
            _ = call => panic!("a hanging call came back"),
            () = std::future::ready(()) => {}
        }
    }
    assert_eq!(world.fake.notes(&at).len(), 1);
    assert_eq!(world.fake.calls(), [TicketOp::CreateNote; 2]);
    assert_eq!(world.fake.faults().left(), 0);
}
