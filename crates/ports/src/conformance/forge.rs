//! The suite for [`Forge`].

use std::time::Duration;

use async_trait::async_trait;
use domain::{ErrorKind, Idem, RepoRef};
use futures_util::TryStreamExt;

use super::Breakage;
use crate::{Forge, Job, JobRef, JobStatus};

/// The far side's world, as the suite needs it set up.
#[async_trait]
pub trait ForgeWorld: Send + Sync {
    fn port(&self) -> &dyn Forge;
    async fn pipeline(&self, seed: PipelineSeed) -> Placed;
    /// How many jobs the far side has run again at somebody's wish.
    async fn retries(&self) -> usize;
    /// From now on our user may read and not write.
    async fn deny_writes(&self);
    /// What the next change suffers.
    async fn break_next(&self, breakage: Breakage);
}

/// A pipeline to be made, with its jobs in the order in which they finish.
#[derive(Clone, Debug)]
pub struct PipelineSeed {
    pub status: JobStatus,
    pub git_ref: String,
    pub jobs: Vec<JobSeed>,
    pub children: Vec<ChildSeed>,
}

#[derive(Clone, Debug)]
pub struct JobSeed {
    pub name: String,
    pub status: JobStatus,
    pub allow_failure: bool,
    pub log: Vec<u8>,
    /// How many earlier, failed runs of it stand before this one.
    pub earlier_runs: usize,
}

#[derive(Clone, Debug)]
pub struct ChildSeed {
    pub pipeline: PipelineSeed,
    pub in_another_project: bool,
    /// Whether it names the pipeline that started it as a child of its own.
    pub points_back: bool,
}

/// Where a seed was put.
#[derive(Clone, Debug)]
pub struct Placed {
    pub repo: RepoRef,
    pub pipeline: u64,
    /// The newest run of each job of the seed itself, in its order.
    pub jobs: Vec<JobRef>,
}

impl PipelineSeed {
    pub fn failed(jobs: Vec<JobSeed>) -> Self {
        Self {
            status: JobStatus::Failed,
            git_ref: "main".to_owned(),
            jobs,
            children: Vec::new(),
        }
    }
}

impl JobSeed {
    pub fn new(name: &str, status: JobStatus) -> Self {
        Self {
            name: name.to_owned(),
            status,
            allow_failure: false,
            log: format!("{name}\n").into_bytes(),
            earlier_runs: 0,
        }
    }
}

/// Makes a test of every function of the suite; `flat` leaves out pipelines within pipelines and jobs that may fail,
/// for forges that have none.
#[macro_export]
macro_rules! forge_conformance {
    ($world:expr) => {
        $crate::forge_conformance!(flat $world);
        $crate::forge_conformance!(@tests $world;
            jobs_that_may_fail_come_last
            failed_jobs_of_child_and_downstream_pipelines_are_found
            pipelines_that_name_each_other_end);
    };
    (flat $world:expr) => {
        $crate::forge_conformance!(@tests $world;
            a_pipeline_is_read
            the_newest_pipeline_of_a_branch_is_found
            failed_jobs_come_in_the_order_in_which_they_finished
            a_job_that_was_retried_counts_by_its_newest_run
            more_jobs_than_a_page_holds_are_all_seen
            a_log_comes_whole
            a_job_without_a_log_has_an_empty_one
            what_is_missing_is_not_found
            a_retry_makes_one_new_run_that_is_found_again
            several_jobs_of_a_pipeline_are_retried_once_each
            a_job_that_cannot_be_retried_is_a_conflict
            a_retry_without_the_right_to_write_is_denied
            a_rate_limit_says_how_long_to_wait
            a_cut_connection_leaves_the_retry_in_doubt_and_findable);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::forge::$test(&$world).await;
            }
        )+
    };
}

pub async fn a_pipeline_is_read(world: &dyn ForgeWorld) {
    let placed = world
        .pipeline(PipelineSeed::failed(vec![JobSeed::new(
            "test",
            JobStatus::Failed,
        )]))
        .await;
    let pipeline = world
        .port()
        .pipeline(&placed.repo, placed.pipeline)
        .await
        .expect("reads");
    assert_eq!(pipeline.id, placed.pipeline);
    assert_eq!(pipeline.status, JobStatus::Failed);
    assert_eq!(pipeline.git_ref, "main");
    assert_eq!(pipeline.sha.len(), 40, "{}", pipeline.sha);
    assert!(
        pipeline.url.contains(&placed.pipeline.to_string()),
        "{}",
        pipeline.url
    );

    let job = world.port().job(&placed.jobs[0]).await.expect("reads its job");
    assert_eq!(
        (job.at.clone(), job.name.as_str()),
        (placed.jobs[0].clone(), "test")
    );
    assert_eq!((job.pipeline, job.status), (placed.pipeline, JobStatus::Failed));
    assert_eq!(job.sha, pipeline.sha);
    assert!(job.finished_at.is_some() && job.started_at.is_some());
    let link = world.port().log_link(&job, 17);
    assert!(
        link.starts_with(&job.url),
        "{link} does not lead to the job {}",
        job.url
    );
}

pub async fn the_newest_pipeline_of_a_branch_is_found(world: &dyn ForgeWorld) {
    let on = |git_ref: &str| PipelineSeed {
        git_ref: git_ref.to_owned(),
        ..PipelineSeed::failed(Vec::new())
    };
    world.pipeline(on("main")).await;
    let newest = world.pipeline(on("main")).await;
    world.pipeline(on("feature/a b")).await;
    let port = world.port();
    let found = port.latest_pipeline(&newest.repo, "main").await.expect("looks");
    assert_eq!(found.map(|pipeline| pipeline.id), Some(newest.pipeline));
    let found = port
        .latest_pipeline(&newest.repo, "feature/a b")
        .await
        .expect("looks");
    assert_eq!(
        found.map(|pipeline| pipeline.git_ref),
        Some("feature/a b".to_owned())
    );
    let none = port
        .latest_pipeline(&newest.repo, "nowhere")
        .await
        .expect("looks");
    assert_eq!(none, None);
}

pub async fn failed_jobs_come_in_the_order_in_which_they_finished(world: &dyn ForgeWorld) {
    let placed = world
        .pipeline(PipelineSeed::failed(vec![
            JobSeed::new("build", JobStatus::Succeeded),
            JobSeed::new("unit", JobStatus::Failed),
            JobSeed::new("lint", JobStatus::Failed),
            JobSeed::new("stopped", JobStatus::Cancelled),
            JobSeed::new("deploy", JobStatus::Skipped),
        ]))
        .await;
    assert_eq!(failed(world, &placed).await, ["unit", "lint"]);
}

pub async fn a_job_that_was_retried_counts_by_its_newest_run(world: &dyn ForgeWorld) {
    let mut healed = JobSeed::new("healed", JobStatus::Succeeded);
    healed.earlier_runs = 1;
    let mut broken = JobSeed::new("broken", JobStatus::Failed);
    broken.earlier_runs = 2;
    let placed = world.pipeline(PipelineSeed::failed(vec![healed, broken])).await;
    let jobs = failed_jobs(world, &placed).await;
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    assert_eq!(jobs[0].at, placed.jobs[1]);
}

pub async fn more_jobs_than_a_page_holds_are_all_seen(world: &dyn ForgeWorld) {
    let mut jobs: Vec<JobSeed> = (0..230)
        .map(|number| JobSeed::new(&format!("shard {number}"), JobStatus::Succeeded))
        .collect();
    jobs[0].status = JobStatus::Failed;
    jobs[229].status = JobStatus::Failed;
    let placed = world.pipeline(PipelineSeed::failed(jobs)).await;
    assert_eq!(failed(world, &placed).await, ["shard 0", "shard 229"]);
}

pub async fn a_log_comes_whole(world: &dyn ForgeWorld) {
    let mut seed = JobSeed::new("test", JobStatus::Failed);
    seed.log = (0..40_000)
        .flat_map(|line| format!("line {line}: \u{1b}[0;mé\r\n").into_bytes())
        .collect();
    // Bytes that are no text must come through as well.
    seed.log.extend([0xff, 0x00, 0xfe]);
    let placed = world.pipeline(PipelineSeed::failed(vec![seed.clone()])).await;
    let log = read(world, &placed.jobs[0]).await;
    assert_eq!(log.len(), seed.log.len());
    assert!(log == seed.log, "the log differs from what the job wrote");
}

pub async fn a_job_without_a_log_has_an_empty_one(world: &dyn ForgeWorld) {
    let mut seed = JobSeed::new("silent", JobStatus::Failed);
    seed.log = Vec::new();
    let placed = world.pipeline(PipelineSeed::failed(vec![seed])).await;
    assert_eq!(read(world, &placed.jobs[0]).await, Vec::<u8>::new());
}

pub async fn what_is_missing_is_not_found(world: &dyn ForgeWorld) {
    let placed = world.pipeline(PipelineSeed::failed(Vec::new())).await;
    let job = JobRef {
        repo: placed.repo.clone(),
        id: 987_654_321,
    };
    let nowhere = RepoRef {
        project: "no/where".to_owned(),
        ..placed.repo.clone()
    };
    let port = world.port();
    let idem = Idem::new("t/s/k");
    for (what, error) in [
        (
            "987654321",
            port.pipeline(&placed.repo, 987_654_321)
                .await
                .expect_err("pipeline"),
        ),
        (
            "987654321",
            port.failed_jobs(&placed.repo, 987_654_321)
                .await
                .expect_err("jobs"),
        ),
        (
            "no/where",
            port.pipeline(&nowhere, placed.pipeline)
                .await
                .expect_err("project"),
        ),
        ("987654321", port.job(&job).await.expect_err("job")),
        ("987654321", port.log(&job).await.err().expect("there is no log")),
        (
            "987654321",
            port.retry_job(&job, &[], &idem).await.expect_err("retry"),
        ),
    ] {
        assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains(what), "does not say what: {error}");
    }
}

pub async fn a_retry_makes_one_new_run_that_is_found_again(world: &dyn ForgeWorld) {
    let placed = world
        .pipeline(PipelineSeed::failed(vec![
            JobSeed::new("other", JobStatus::Failed),
            JobSeed::new("flaky", JobStatus::Failed),
        ]))
        .await;
    let port = world.port();
    let job = port.job(&placed.jobs[1]).await.expect("reads");
    assert_eq!(port.retry_of(&job).await.expect("looks"), None);

    let made = port
        .retry_job(&job.at, &[], &Idem::new("t/s/retry"))
        .await
        .expect("retries");
    assert_eq!(made.name, "flaky");
    assert_eq!(made.pipeline, placed.pipeline);
    assert!(!made.status.is_over(), "{:?}", made.status);
    assert!(made.at.id != job.at.id, "a new run has a number of its own");
    assert_eq!(world.retries().await, 1);

    let found = port.retry_of(&job).await.expect("looks").expect("finds");
    assert_eq!(found.at, made.at);
    assert_eq!(port.retry_of(&made).await.expect("looks"), None);
    let other = port.job(&placed.jobs[0]).await.expect("reads");
    assert_eq!(
        port.retry_of(&other).await.expect("looks"),
        None,
        "only one was run again"
    );
}

pub async fn several_jobs_of_a_pipeline_are_retried_once_each(world: &dyn ForgeWorld) {
    let placed = world
        .pipeline(PipelineSeed::failed(vec![
            JobSeed::new("unit", JobStatus::Failed),
            JobSeed::new("docs", JobStatus::Succeeded),
            JobSeed::new("lint", JobStatus::Failed),
        ]))
        .await;
    let port = world.port();
    let both = [placed.jobs[0].clone(), placed.jobs[2].clone()];
    for (at, beside) in [(&both[0], &both[1..]), (&both[1], &both[..1])] {
        let job = port.job(at).await.expect("reads");
        let made = port
            .retry_job(at, beside, &Idem::new(format!("t/s/retry/{}", at.id)))
            .await
            .expect("retries");
        assert_eq!(made.name, job.name);
        let found = port.retry_of(&job).await.expect("looks").expect("finds");
        assert_eq!(found.at, made.at);
    }
    assert_eq!(world.retries().await, 2);
}

pub async fn a_job_that_cannot_be_retried_is_a_conflict(world: &dyn ForgeWorld) {
    let mut seed = PipelineSeed::failed(vec![JobSeed::new("slow", JobStatus::Running)]);
    seed.status = JobStatus::Running;
    let placed = world.pipeline(seed).await;
    let error = world
        .port()
        .retry_job(&placed.jobs[0], &[], &Idem::new("t/s/retry"))
        .await
        .expect_err("runs still");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(world.retries().await, 0);
}

pub async fn a_retry_without_the_right_to_write_is_denied(world: &dyn ForgeWorld) {
    let placed = one_failed(world).await;
    world.deny_writes().await;
    let error = world
        .port()
        .retry_job(&placed.jobs[0], &[], &Idem::new("t/s/retry"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert_eq!(failed(world, &placed).await, ["test"], "still reads");
}

pub async fn a_rate_limit_says_how_long_to_wait(world: &dyn ForgeWorld) {
    let placed = one_failed(world).await;
    world
        .break_next(Breakage::RateLimited(Duration::from_secs(9)))
        .await;
    let error = world
        .port()
        .retry_job(&placed.jobs[0], &[], &Idem::new("t/s/retry"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::RateLimited, "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(9)), "{error}");
    assert_eq!(world.retries().await, 0);
}

pub async fn a_cut_connection_leaves_the_retry_in_doubt_and_findable(world: &dyn ForgeWorld) {
    let placed = one_failed(world).await;
    let job = world.port().job(&placed.jobs[0]).await.expect("reads");
    world.break_next(Breakage::DoneThenCut).await;
    let error = world
        .port()
        .retry_job(&job.at, &[], &Idem::new("t/s/retry"))
        .await
        .expect_err("is cut off");
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    assert_eq!(world.retries().await, 1, "sent once");
    let found = world.port().retry_of(&job).await.expect("looks");
    assert!(found.is_some(), "the retry that took place is found");
}

pub async fn jobs_that_may_fail_come_last(world: &dyn ForgeWorld) {
    let mut allowed = JobSeed::new("audit", JobStatus::Failed);
    allowed.allow_failure = true;
    let placed = world
        .pipeline(PipelineSeed::failed(vec![
            allowed,
            JobSeed::new("unit", JobStatus::Failed),
        ]))
        .await;
    let jobs = failed_jobs(world, &placed).await;
    assert_eq!(names(&jobs), ["unit", "audit"]);
    assert!(!jobs[0].allow_failure && jobs[1].allow_failure);
}

pub async fn failed_jobs_of_child_and_downstream_pipelines_are_found(world: &dyn ForgeWorld) {
    let leaf = ChildSeed {
        pipeline: PipelineSeed::failed(vec![JobSeed::new("leaf", JobStatus::Failed)]),
        in_another_project: false,
        points_back: false,
    };
    let mut downstream = PipelineSeed::failed(vec![JobSeed::new("downstream", JobStatus::Failed)]);
    downstream.children = vec![leaf];
    let mut seed = PipelineSeed::failed(vec![JobSeed::new("build", JobStatus::Succeeded)]);
    seed.children = vec![ChildSeed {
        pipeline: downstream,
        in_another_project: true,
        points_back: false,
    }];
    let placed = world.pipeline(seed).await;
    let jobs = failed_jobs(world, &placed).await;
    let mut found = names(&jobs);
    found.sort_unstable();
    assert_eq!(found, ["downstream", "leaf"]);
    for job in &jobs {
        // What was found can be used: its project is its own, not the asked pipeline's.
        assert_eq!(read(world, &job.at).await, format!("{}\n", job.name).into_bytes());
        assert!(job.pipeline != placed.pipeline);
    }
}

pub async fn pipelines_that_name_each_other_end(world: &dyn ForgeWorld) {
    let mut seed = PipelineSeed::failed(vec![JobSeed::new("top", JobStatus::Failed)]);
    seed.children = vec![ChildSeed {
        pipeline: PipelineSeed::failed(vec![JobSeed::new("below", JobStatus::Failed)]),
        in_another_project: true,
        points_back: true,
    }];
    let placed = world.pipeline(seed).await;
    let mut found = failed(world, &placed).await;
    found.sort_unstable();
    assert_eq!(found, ["below", "top"]);
}

async fn one_failed(world: &dyn ForgeWorld) -> Placed {
    let seed = PipelineSeed::failed(vec![JobSeed::new("test", JobStatus::Failed)]);
    world.pipeline(seed).await
}

async fn failed_jobs(world: &dyn ForgeWorld, placed: &Placed) -> Vec<Job> {
    world
        .port()
        .failed_jobs(&placed.repo, placed.pipeline)
        .await
        .expect("lists the failed jobs")
}

async fn failed(world: &dyn ForgeWorld, placed: &Placed) -> Vec<String> {
    failed_jobs(world, placed)
        .await
        .into_iter()
        .map(|job| job.name)
        .collect()
}

async fn read(world: &dyn ForgeWorld, job: &JobRef) -> Vec<u8> {
    let log = world.port().log(job).await.expect("opens the log");
    let read = log.try_fold(Vec::new(), |mut all, piece| async move {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    read.await.expect("reads the log")
}

fn names(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.name.as_str()).collect()
}
