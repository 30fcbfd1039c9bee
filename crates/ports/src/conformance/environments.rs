//! The suite for [`Environments`].

use async_trait::async_trait;
use domain::{ErrorKind, Idem, RepoRef};

use super::Breakage;
use crate::{Commit, Environments, NewRecord, RecordStatus};

/// The far side's world, as the suite needs it set up.
#[async_trait]
pub trait EnvironmentWorld: Send + Sync {
    fn port(&self) -> &dyn Environments;
    /// A repository with a commit that has this tag.
    async fn tagged(&self, tag: &str) -> (RepoRef, Commit);
    /// The statuses that each record had, oldest record first.
    async fn records(&self) -> Vec<Vec<RecordStatus>>;
    async fn deny_writes(&self);
    /// What the next change suffers.
    async fn break_next(&self, breakage: Breakage);
}

/// Makes a test of every function of the suite.
#[macro_export]
macro_rules! environments_conformance {
    ($world:expr) => {
        $crate::environments_conformance!(@tests $world;
            a_tag_stands_for_its_commit
            a_record_is_made_found_and_brought_to_its_end
            what_is_over_is_not_found_for_a_new_one
            a_repeated_status_is_written_once
            what_is_wrong_is_told
            a_record_without_the_right_to_write_is_denied
            a_cut_connection_leaves_a_record_that_is_found);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::environments::$test(&$world).await;
            }
        )+
    };
}

fn record(commit: &Commit) -> NewRecord {
    NewRecord {
        environment: "staging".to_owned(),
        sha: commit.sha.clone(),
        git_ref: commit.git_ref.clone(),
        is_tag: commit.is_tag,
        status: RecordStatus::Running,
    }
}

fn idem() -> Idem {
    Idem::new("task/run/record")
}

pub async fn a_tag_stands_for_its_commit(world: &dyn EnvironmentWorld) {
    let (repo, commit) = world.tagged("v1.4.2").await;
    let found = world.port().commit(&repo, "v1.4.2").await.expect("looks");
    assert_eq!(found.as_ref(), Some(&commit));
    assert!(commit.is_tag && commit.sha.len() == 40, "{commit:?}");
    let none = world.port().commit(&repo, "v9.9.9").await.expect("looks");
    assert_eq!(none, None);
}

pub async fn a_record_is_made_found_and_brought_to_its_end(world: &dyn EnvironmentWorld) {
    let (repo, commit) = world.tagged("v1.4.2").await;
    let (port, record) = (world.port(), record(&commit));
    assert_eq!(port.find(&repo, &record, &idem()).await.expect("looks"), None);
    let made = port.create(&repo, &record, &idem()).await.expect("makes");
    assert_eq!(made.environment, "staging");
    let found = port.find(&repo, &record, &idem()).await.expect("looks");
    assert_eq!(found.map(|found| found.id), Some(made.id));
    port.update(&repo, &made, RecordStatus::Success)
        .await
        .expect("updates");
    assert_eq!(
        world.records().await,
        [[RecordStatus::Running, RecordStatus::Success]]
    );
}

pub async fn what_is_over_is_not_found_for_a_new_one(world: &dyn EnvironmentWorld) {
    let (repo, commit) = world.tagged("v1.4.2").await;
    let (port, record) = (world.port(), record(&commit));
    for status in [
        RecordStatus::Failed,
        RecordStatus::Canceled,
        RecordStatus::Success,
    ] {
        let made = port.create(&repo, &record, &idem()).await.expect("makes");
        port.update(&repo, &made, status).await.expect("updates");
        assert_eq!(port.find(&repo, &record, &idem()).await.expect("looks"), None);
    }
    assert_eq!(world.records().await.len(), 3);
}

pub async fn a_repeated_status_is_written_once(world: &dyn EnvironmentWorld) {
    let (repo, commit) = world.tagged("v1.4.2").await;
    let port = world.port();
    let made = port
        .create(&repo, &record(&commit), &idem())
        .await
        .expect("makes");
    for _ in 0..2 {
        port.update(&repo, &made, RecordStatus::Failed)
            .await
            .expect("updates");
    }
    assert_eq!(
        world.records().await,
        [[RecordStatus::Running, RecordStatus::Failed]]
    );
}

pub async fn what_is_wrong_is_told(world: &dyn EnvironmentWorld) {
    let (repo, commit) = world.tagged("v1.4.2").await;
    let port = world.port();
    let unknown = NewRecord {
        sha: "f".repeat(40),
        ..record(&commit)
    };
    let error = port
        .create(&repo, &unknown, &idem())
        .await
        .expect_err("no commit");
    assert!(
        matches!(error.kind, ErrorKind::Invalid | ErrorKind::NotFound),
        "{error}"
    );
    let mut made = port
        .create(&repo, &record(&commit), &idem())
        .await
        .expect("makes");
    made.id += 1_000_000;
    let error = port.update(&repo, &made, RecordStatus::Failed).await;
    assert_eq!(error.expect_err("no record").kind, ErrorKind::NotFound);
}

pub async fn a_record_without_the_right_to_write_is_denied(world: &dyn EnvironmentWorld) {
    let (repo, commit) = world.tagged("v1.4.2").await;
    world.deny_writes().await;
    let error = world
        .port()
        .create(&repo, &record(&commit), &idem())
        .await
        .expect_err("is refused");
    assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    assert_eq!(world.records().await.len(), 0);
}

pub async fn a_cut_connection_leaves_a_record_that_is_found(world: &dyn EnvironmentWorld) {
    let (repo, commit) = world.tagged("v1.4.2").await;
    let (port, record) = (world.port(), record(&commit));
    world.break_next(Breakage::DoneThenCut).await;
    let error = port
        .create(&repo, &record, &idem())
        .await
        .expect_err("is cut off");
    assert!(error.is_in_doubt(), "{error}");
    let found = port.find(&repo, &record, &idem()).await.expect("looks");
    assert!(found.is_some(), "the record that was made is found");
}
