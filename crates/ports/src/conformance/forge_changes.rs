//! The suite for what a [`Forge`] is asked around a deployment: a commit's pipelines and all their jobs, pipelines that are
//! started, and changes that are taken back.

use async_trait::async_trait;
use domain::{ErrorKind, Idem, RepoRef};

use super::Breakage;
use super::forge::{ChildSeed, ForgeWorld, JobSeed, PipelineSeed};
use crate::{Job, JobStatus, NewPipeline, NewRevert};

/// [`ForgeWorld`], with a change that came in.
#[async_trait]
pub trait ChangeWorld: ForgeWorld {
    /// A change that is on the default branch and has a tag of its own.
    async fn change(&self) -> Change;
    /// Later changes build on it from now on.
    async fn build_on(&self, change: &Change);
    /// The workflow that can be started, where they have names.
    fn workflow(&self) -> Option<String>;
    /// How many pipelines the far side has started at somebody's wish.
    async fn begun(&self) -> usize;
    /// How many merge requests there are.
    async fn merge_requests(&self) -> usize;
}

#[derive(Clone, Debug)]
pub struct Change {
    pub repo: RepoRef,
    pub sha: String,
    pub tag: String,
    /// The default branch.
    pub onto: String,
}

/// Makes a test of every function of the suite; `flat` leaves out pipelines within pipelines.
#[macro_export]
macro_rules! forge_changes_conformance {
    ($world:expr) => {
        $crate::forge_changes_conformance!(flat $world);
        $crate::forge_changes_conformance!(@tests $world; jobs_of_child_pipelines_are_listed_too);
    };
    (flat $world:expr) => {
        $crate::forge_changes_conformance!(@tests $world;
            all_jobs_are_listed_by_their_newest_run
            a_started_pipeline_is_found_again_by_its_step_alone
            the_pipelines_of_a_commit_come_newest_first_without_ours
            a_cut_connection_leaves_the_start_in_doubt_and_findable
            a_pipeline_of_a_ref_that_is_not_there_is_refused
            a_start_without_the_right_to_write_is_denied
            a_revert_is_opened_once_and_found_again
            a_revert_is_not_opened_twice_wherever_the_connection_is_cut
            a_revert_of_what_others_build_on_is_a_conflict
            a_revert_of_an_unknown_commit_is_told
            a_revert_without_the_right_to_write_is_denied);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::forge_changes::$test(&$world).await;
            }
        )+
    };
}

fn names(jobs: &[Job]) -> Vec<(&str, JobStatus)> {
    let mut names: Vec<_> = jobs.iter().map(|job| (job.name.as_str(), job.status)).collect();
    names.sort_unstable_by_key(|(name, _)| *name);
    names
}

pub async fn all_jobs_are_listed_by_their_newest_run(world: &dyn ChangeWorld) {
    let mut healed = JobSeed::new("healed", JobStatus::Succeeded);
    healed.earlier_runs = 1;
    let seed = PipelineSeed::failed(vec![
        healed,
        JobSeed::new("audit", JobStatus::Failed),
        JobSeed::new("later", JobStatus::Skipped),
    ]);
    let placed = world.pipeline(seed).await;
    let jobs = world.port().jobs(&placed.repo, placed.pipeline).await;
    let expected = [
        ("audit", JobStatus::Failed),
        ("healed", JobStatus::Succeeded),
        ("later", JobStatus::Skipped),
    ];
    assert_eq!(names(&jobs.expect("lists them")), expected);
    let error = world.port().jobs(&placed.repo, 987_654_321).await;
    assert_eq!(error.expect_err("is missing").kind, ErrorKind::NotFound);
}

pub async fn jobs_of_child_pipelines_are_listed_too(world: &dyn ChangeWorld) {
    let mut seed = PipelineSeed::failed(vec![JobSeed::new("build", JobStatus::Succeeded)]);
    seed.children = vec![ChildSeed {
        pipeline: PipelineSeed::failed(vec![JobSeed::new("sast", JobStatus::Succeeded)]),
        in_another_project: false,
        points_back: true,
    }];
    let placed = world.pipeline(seed).await;
    let jobs = world.port().jobs(&placed.repo, placed.pipeline).await;
    let expected = [("build", JobStatus::Succeeded), ("sast", JobStatus::Succeeded)];
    assert_eq!(names(&jobs.expect("lists them")), expected);
}

fn wanted(world: &dyn ChangeWorld, git_ref: &str) -> NewPipeline {
    NewPipeline {
        git_ref: git_ref.to_owned(),
        workflow: world.workflow(),
        variables: [("suite".to_owned(), "smoke".to_owned())].into(),
    }
}

pub async fn a_started_pipeline_is_found_again_by_its_step_alone(world: &dyn ChangeWorld) {
    let change = world.change().await;
    let (port, wanted) = (world.port(), wanted(world, &change.tag));
    let (first, second, third) = (
        Idem::new("t/run/job/1"),
        Idem::new("t/run/job/10"),
        Idem::new("u/run/job/1"),
    );
    let looked = port.started(&change.repo, &wanted, &first).await.expect("looks");
    assert_eq!(looked, None);
    let made = port
        .start_pipeline(&change.repo, &wanted, &first)
        .await
        .expect("starts");
    assert!(!made.status.is_over() && !made.url.is_empty(), "{made:?}");
    assert_eq!(made.sha, change.sha, "of the tag's commit");
    let other = port
        .start_pipeline(&change.repo, &wanted, &second)
        .await
        .expect("starts");
    assert!(made.id != other.id);
    for (idem, expected) in [(first, Some(made.id)), (second, Some(other.id)), (third, None)] {
        let found = port.started(&change.repo, &wanted, &idem).await.expect("looks");
        assert_eq!(found.map(|found| found.id), expected, "{}", idem.key());
    }
    assert_eq!(world.begun().await, 2);
}

pub async fn the_pipelines_of_a_commit_come_newest_first_without_ours(world: &dyn ChangeWorld) {
    let change = world.change().await;
    let mut placed = Vec::new();
    for git_ref in [change.tag.as_str(), "main", change.tag.as_str()] {
        let seed = PipelineSeed {
            git_ref: git_ref.to_owned(),
            ..PipelineSeed::failed(Vec::new())
        };
        placed.insert(0, world.pipeline(seed).await.pipeline);
    }
    let (port, wanted) = (world.port(), wanted(world, &change.tag));
    let ours = port
        .start_pipeline(&change.repo, &wanted, &Idem::new("t/run/a"))
        .await;
    let ours = ours.expect("starts").id;
    let found = port.pipelines_of(&change.repo, &change.sha).await.expect("lists");
    let found: Vec<u64> = found.into_iter().map(|found| found.id).collect();
    assert_eq!(found[..2], [placed[0], placed[2]]);
    assert!(!found.contains(&ours) && !found.contains(&placed[1]), "{found:?}");
    let none = port.pipelines_of(&change.repo, &"0".repeat(40)).await;
    assert_eq!(none.expect("lists"), []);
}

pub async fn a_cut_connection_leaves_the_start_in_doubt_and_findable(world: &dyn ChangeWorld) {
    let change = world.change().await;
    let (port, wanted, idem) = (world.port(), wanted(world, &change.tag), Idem::new("t/run/job"));
    world.break_next(Breakage::DoneThenCut).await;
    let error = port.start_pipeline(&change.repo, &wanted, &idem).await;
    assert_eq!(error.expect_err("is cut off").kind, ErrorKind::Timeout);
    assert_eq!(world.begun().await, 1);
    let found = port.started(&change.repo, &wanted, &idem).await.expect("looks");
    assert!(found.is_some(), "what took place is found");
}

pub async fn a_pipeline_of_a_ref_that_is_not_there_is_refused(world: &dyn ChangeWorld) {
    let change = world.change().await;
    let wanted = wanted(world, "nowhere");
    let made = world
        .port()
        .start_pipeline(&change.repo, &wanted, &Idem::new("t/run/job"))
        .await;
    let error = made.expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert_eq!(world.begun().await, 0);
}

pub async fn a_start_without_the_right_to_write_is_denied(world: &dyn ChangeWorld) {
    let change = world.change().await;
    world.deny_writes().await;
    let wanted = wanted(world, &change.tag);
    let made = world
        .port()
        .start_pipeline(&change.repo, &wanted, &Idem::new("t/run/job"))
        .await;
    assert_eq!(made.expect_err("is refused").kind, ErrorKind::Denied);
    assert_eq!(world.begun().await, 0);
}

fn back(change: &Change, task: &str) -> NewRevert {
    NewRevert {
        sha: change.sha.clone(),
        branch: format!("longshore/revert-{task}"),
        onto: change.onto.clone(),
        title: format!("Revert {}", change.tag),
        description: "It was rolled back.".to_owned(),
    }
}

pub async fn a_revert_is_opened_once_and_found_again(world: &dyn ChangeWorld) {
    let change = world.change().await;
    let (port, before) = (world.port(), world.merge_requests().await);
    let made = port
        .revert(&change.repo, &back(&change, "a"))
        .await
        .expect("opens it");
    assert!(made.url.contains(&made.iid.to_string()), "{made:?}");
    let again = port
        .revert(&change.repo, &back(&change, "a"))
        .await
        .expect("finds it");
    assert_eq!(again, made);
    assert_eq!(world.merge_requests().await, before + 1);
}

pub async fn a_revert_is_not_opened_twice_wherever_the_connection_is_cut(world: &dyn ChangeWorld) {
    let change = world.change().await;
    let (port, before) = (world.port(), world.merge_requests().await);
    // Each of its requests once: a later try gets as far as the one after.
    let mut cut = 0;
    let made = loop {
        if cut < 4 {
            world.break_next(Breakage::DoneThenCut).await;
        }
        match port.revert(&change.repo, &back(&change, "b")).await {
            Ok(made) => break made,
            Err(error) => assert_eq!(error.kind, ErrorKind::Timeout, "{error}"),
        }
        cut += 1;
        assert!(cut < 5, "what is not cut comes to an end");
    };
    assert!(cut > 0 && made.iid > 0);
    assert_eq!(world.merge_requests().await, before + 1);
}

pub async fn a_revert_of_what_others_build_on_is_a_conflict(world: &dyn ChangeWorld) {
    let change = world.change().await;
    world.build_on(&change).await;
    let before = world.merge_requests().await;
    let error = world
        .port()
        .revert(&change.repo, &back(&change, "c"))
        .await
        .expect_err("cannot be");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert_eq!(world.merge_requests().await, before);
}

pub async fn a_revert_of_an_unknown_commit_is_told(world: &dyn ChangeWorld) {
    let change = Change {
        sha: "0123456789".repeat(4),
        ..world.change().await
    };
    let error = world
        .port()
        .revert(&change.repo, &back(&change, "d"))
        .await
        .expect_err("is unknown");
    assert!(
        matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid),
        "{error}"
    );
    assert!(error.to_string().contains("0123456789"), "{error}");
}

pub async fn a_revert_without_the_right_to_write_is_denied(world: &dyn ChangeWorld) {
    let change = world.change().await;
    world.deny_writes().await;
    let error = world
        .port()
        .revert(&change.repo, &back(&change, "e"))
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
}
