//! The adapter for GitHub against the fake, over real HTTP: both suites of the ports, and what is special to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adapter_forge::{Config, Forges, HostConfig, Provider};
use async_trait::async_trait;
use domain::{ErrorKind, Idem, RepoRef, TicketKind, TicketRef};
use futures_util::TryStreamExt;
use ports::conformance::Breakage;
use ports::conformance::environments::EnvironmentWorld;
use ports::conformance::forge::{ForgeWorld, JobSeed, PipelineSeed, Placed};
use ports::conformance::forge_changes::{Change, ChangeWorld};
use ports::conformance::tickets::TicketsWorld;
use ports::{Commit, Environments, Forge, JobStatus, NewRecord, NoteId, RecordStatus, Tickets};
use testkit::github::{FakeGithub, OTHER_USER, TOKEN};
use testkit::peer::{Fault, When};

const REPO: &str = "octo-org/app.rs";

struct GithubWorld {
    fake: FakeGithub,
    forges: Forges,
    /// The same with little patience, for when no answer will come.
    hasty: Forges,
    no_answer: AtomicBool,
}

fn start() -> GithubWorld {
    let fake = FakeGithub::start();
    let url: url::Url = fake.url().parse().expect("the fake's address");
    let mut host = HostConfig::new(Provider::Github);
    host.url = Some(url);
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
    GithubWorld {
        fake,
        forges: forges(Duration::from_secs(30)),
        hasty: forges(Duration::from_millis(500)),
        no_answer: AtomicBool::new(false),
    }
}

impl GithubWorld {
    fn alter(&self, at: &TicketRef, change: impl FnOnce(&mut testkit::github::Issue)) {
        self.fake
            .with(|world| change(world.issue(REPO, at.iid).expect("the issue")));
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
impl TicketsWorld for GithubWorld {
    fn port(&self) -> &dyn Tickets {
        self.patience()
    }
    async fn open(&self, labels: &[&str]) -> TicketRef {
        self.fake.open_ticket(REPO, TicketKind::MergeRequest, labels)
    }
    fn missing(&self) -> TicketRef {
        TicketRef {
            repo: self.fake.repo(REPO),
            kind: TicketKind::Issue,
            iid: 4711,
        }
    }
    async fn close(&self, at: &TicketRef) {
        self.alter(at, |issue| issue.open = false);
    }
    async fn lock(&self, at: &TicketRef) {
        self.alter(at, |issue| issue.locked = true);
    }
    async fn delete(&self, at: &TicketRef) {
        self.alter(at, |issue| issue.deleted = true);
    }
    async fn foreign_note(&self, at: &TicketRef, body: &str) -> NoteId {
        NoteId(
            self.fake
                .with(|world| world.add_comment(REPO, at.iid, OTHER_USER, body)),
        )
    }
    async fn notes(&self, at: &TicketRef) -> Vec<String> {
        self.fake.notes(at)
    }
    async fn deny_writes(&self) {
        self.fake.with(|world| world.read_only = true);
    }
    async fn break_next(&self, breakage: Breakage) {
        self.break_write(breakage);
    }
}

#[async_trait]
impl ForgeWorld for GithubWorld {
    fn port(&self) -> &dyn Forge {
        self.patience()
    }
    async fn pipeline(&self, seed: PipelineSeed) -> Placed {
        self.fake.add_run(REPO, &seed)
    }
    async fn retries(&self) -> usize {
        self.fake.retries()
    }
    async fn deny_writes(&self) {
        self.fake.with(|world| world.read_only = true);
    }
    async fn break_next(&self, breakage: Breakage) {
        self.break_write(breakage);
    }
}

#[async_trait]
impl ChangeWorld for GithubWorld {
    async fn change(&self) -> Change {
        let repo = self.fake.repo(REPO);
        let made = self.fake.with(|world| {
            let made = world.tag(REPO, "v1.4.2");
            world.merge(REPO, &made.sha);
            made
        });
        Change {
            repo,
            sha: made.sha,
            tag: "v1.4.2".to_owned(),
            onto: "main".to_owned(),
        }
    }
    async fn build_on(&self, _: &Change) {
        self.fake.with(|world| {
            let numbers: Vec<u64> = world.pulls.iter().map(|pull| pull.number).collect();
            world.built_on.extend(numbers);
        });
    }
    fn workflow(&self) -> Option<String> {
        Some("smoke.yml".to_owned())
    }
    async fn begun(&self) -> usize {
        self.fake.with(|world| world.begun)
    }
    async fn merge_requests(&self) -> usize {
        self.fake.with(|world| world.pulls.len())
    }
}

#[async_trait]
impl EnvironmentWorld for GithubWorld {
    fn port(&self) -> &dyn Environments {
        self.patience()
    }
    async fn tagged(&self, tag: &str) -> (RepoRef, Commit) {
        let repo = self.fake.repo(REPO);
        let made = self.fake.with(|world| world.tag(REPO, tag));
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
            "in_progress" => RecordStatus::Running,
            "success" => RecordStatus::Success,
            "failure" => RecordStatus::Failed,
            "error" => RecordStatus::Canceled,
            other => panic!("{other} was not asked for"),
        };
        self.fake.with(|world| {
            let records = world.deployments.iter();
            records
                .map(|record| record.states.iter().map(status).collect())
                .collect()
        })
    }
    async fn deny_writes(&self) {
        self.fake.with(|world| world.read_only = true);
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

mod builds {
    ports::forge_conformance!(flat super::start());
}

fn one_failed() -> PipelineSeed {
    PipelineSeed::failed(vec![JobSeed::new("test (ubuntu, 3.12)", JobStatus::Failed)])
}

#[tokio::test]
async fn the_token_does_not_follow_the_log_to_another_host() {
    let world = start();
    let placed = world.fake.add_run(REPO, &one_failed());
    let log = world.forges.log(&placed.jobs[0]).await.expect("opens");
    let text: Vec<bytes::Bytes> = log.try_collect().await.expect("reads");
    assert_eq!(text.concat(), b"test (ubuntu, 3.12)\n");
    let at_storage = world.fake.storage_requests();
    assert_eq!(at_storage.len(), 1);
    assert!(!at_storage[0].with_token, "the storage was shown our token");
    assert!(world.fake.requests().iter().all(|request| request.with_token));
}

#[tokio::test]
async fn a_rerun_that_shows_late_is_waited_for() {
    let world = start();
    let placed = world.fake.add_run(REPO, &one_failed());
    world.fake.with(|world| world.rerun_hidden_for = 2);
    let made = world
        .forges
        .retry_job(&placed.jobs[0], &[], &Idem::new("t/s/k"))
        .await
        .expect("retries");
    assert_eq!((made.attempt, made.status), (2, JobStatus::Waiting));
    assert_eq!(world.fake.retries(), 1);
}

#[tokio::test]
async fn the_secondary_limit_is_about_our_pace_and_not_our_rights() {
    let world = start();
    let at = world.open(&[]).await;
    world
        .fake
        .fault(&When::any(), &Fault::RateLimited(Duration::from_secs(42)));
    let error = world.forges.ticket(&at).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::RateLimited, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(42)));
}

#[tokio::test]
async fn a_project_without_an_owner_is_refused_before_anything_is_sent() {
    let world = start();
    let mut at = world.open(&[]).await;
    at.repo.project = "4711".to_owned();
    let error = world.forges.ticket(&at).await.expect_err("no repository");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("OWNER/NAME"), "{error}");
    assert_eq!(world.fake.requests(), []);
}

#[tokio::test]
async fn no_error_holds_the_token() {
    let statuses = [400, 401, 403, 404, 410, 422, 429, 500, 503].map(Fault::Status);
    for fault in statuses.into_iter().chain([
        Fault::Cut,
        Fault::CutBody(2),
        Fault::DoneThenCut,
        Fault::Echo(400),
    ]) {
        for call in 0..6 {
            let world = start();
            let placed = world.fake.add_run(REPO, &one_failed());
            let at = world.open(&[]).await;
            for _ in 0..3 {
                world.fake.fault(&When::any(), &fault);
            }
            let (forges, job) = (&world.forges, &placed.jobs[0]);
            let error = match call {
                0 => forges.ticket(&at).await.err(),
                1 => forges.create_note(&at, "hello").await.err(),
                2 => forges.own_notes(&at).await.err(),
                3 => forges.failed_jobs(&placed.repo, placed.pipeline).await.err(),
                4 => forges.retry_job(job, &[], &Idem::new("t/s/k")).await.err(),
                _ => forges.log(job).await.err(),
            };
            let Some(error) = error else { continue };
            let whole = format!("{error} {error:?}");
            assert!(!whole.contains(TOKEN), "{fault:?}, call {call}: {whole}");
            assert!(!whole.contains("/registry/"), "no places in code: {whole}");
        }
    }
}

#[tokio::test]
async fn a_deployment_whose_first_status_is_refused_is_found_and_not_made_twice() {
    let world = start();
    let repo = world.fake.repo(REPO);
    let commit = world.fake.with(|world| world.tag(REPO, "v1"));
    let new = NewRecord {
        environment: "production".to_owned(),
        sha: commit.sha,
        git_ref: "v1".to_owned(),
        is_tag: true,
        status: RecordStatus::Blocked,
    };
    let idem = Idem::new("task/run/record");
    world
        .fake
        .fault(&When::on("POST", "/statuses"), &Fault::Status(503));
    let error = world
        .forges
        .create(&repo, &new, &idem)
        .await
        .expect_err("is half done");
    assert!(error.is_in_doubt(), "{error}");
    let found = world.forges.find(&repo, &new, &idem).await.expect("looks");
    let found = found.expect("what was made is found");
    world
        .forges
        .update(&repo, &found, RecordStatus::Blocked)
        .await
        .expect("updates");
    let states = |world: &GithubWorld| world.fake.with(|world| world.deployments[0].states.clone());
    assert_eq!(states(&world), ["pending"]);
    // A later deployment has replaced it: to say that it succeeded would bring it back.
    world
        .fake
        .with(|world| world.deployments[0].states.push("inactive".to_owned()));
    world
        .forges
        .update(&repo, &found, RecordStatus::Success)
        .await
        .expect("is so already");
    assert_eq!(states(&world), ["pending", "inactive"]);
}

mod changes {
    ports::forge_changes_conformance!(flat super::start());
}
