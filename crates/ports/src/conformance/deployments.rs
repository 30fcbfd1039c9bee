//! What every [`DeploymentLog`] must do.

use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use domain::{Idem, Staged, TaskId};

use crate::{Deployment, DeploymentKind, DeploymentLog, DeploymentOutcome, LogEntry, NewDeployment};

/// Sets up an empty log.
#[async_trait]
pub trait DeploymentWorld: Send + Sync {
    fn log(&self) -> &dyn DeploymentLog;
    /// Commits what a step of the task `task` staged, as the journal does.
    async fn commit(&self, staged: Vec<Staged>);
    async fn advance(&self, by: Duration);
}

const HOUR: Duration = Duration::from_secs(3600);

/// Makes a test of every function of the suite.
#[macro_export]
macro_rules! deployments_conformance {
    ($world:expr) => {
        $crate::deployments_conformance!(@tests $world;
            a_deployment_is_remembered_with_its_steps
            each_environment_has_its_own_newest_first
            failures_are_kept_with_their_times
            what_was_not_over_by_then_is_found_again
            an_entry_about_nothing_changes_nothing);
    };
    (@tests $world:expr; $($test:ident)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                $crate::conformance::deployments::$test(&$world).await;
            }
        )+
    };
}

fn of(id: &str, environment: &str, version: &str) -> NewDeployment {
    NewDeployment {
        id: id.to_owned(),
        task_id: TaskId::from("task"),
        repo_id: "repo".to_owned(),
        environment: environment.to_owned(),
        workload: "shop/checkout".to_owned(),
        kind: DeploymentKind::Deploy,
        version: version.to_owned(),
        strategy: "canary".to_owned(),
        git_ref: Some(version.to_owned()),
        sha: Some("a".repeat(40)),
        committed_at: Some(chrono::DateTime::UNIX_EPOCH + TimeDelta::days(9)),
    }
}

fn ended(id: &str, outcome: DeploymentOutcome) -> LogEntry {
    LogEntry::Ended {
        id: id.to_owned(),
        outcome,
        cause: Some("errors 5 %".to_owned()),
    }
}

async fn write(world: &dyn DeploymentWorld, entries: &[LogEntry]) {
    let idem = Idem::new("task/run/step");
    for entry in entries {
        world.log().write(entry, &idem);
    }
    world.commit(idem.take_staged()).await;
}

async fn newest(world: &dyn DeploymentWorld, environment: &str) -> Vec<Deployment> {
    world.log().newest("repo", environment, 10).await.expect("reads")
}

pub async fn a_deployment_is_remembered_with_its_steps(world: &dyn DeploymentWorld) {
    let idem = Idem::new("task/run/asked");
    let new = of("task", "staging", "v1");
    world.log().write(&LogEntry::Asked(new.clone()), &idem);
    assert!(
        newest(world, "staging").await.is_empty(),
        "a staged entry is not there before its step is done"
    );
    world.commit(idem.take_staged()).await;
    let asked = newest(world, "staging").await.remove(0);
    assert_eq!(asked.what, new);
    assert_eq!((asked.started_at, asked.outcome), (None, None));
    assert_eq!(asked.asked_at, world.log().now().await.expect("the time"));

    world.advance(HOUR).await;
    let started = |previous: &str| LogEntry::Started {
        id: "task".to_owned(),
        previous: Some(previous.to_owned()),
    };
    write(world, &[started("v0")]).await;
    world.advance(HOUR).await;
    write(world, &[ended("task", DeploymentOutcome::RolledBack)]).await;
    // What has started or ended does not do so again.
    write(
        world,
        &[started("v1"), ended("task", DeploymentOutcome::Succeeded)],
    )
    .await;
    let over = newest(world, "staging").await.remove(0);
    let after = |hours: i64| Some(asked.asked_at + TimeDelta::hours(hours));
    assert_eq!((over.started_at, over.ended_at), (after(1), after(2)));
    assert_eq!(over.outcome, Some(DeploymentOutcome::RolledBack));
    assert_eq!(over.previous.as_deref(), Some("v0"));
    assert_eq!(over.cause.as_deref(), Some("errors 5 %"));
}

pub async fn each_environment_has_its_own_newest_first(world: &dyn DeploymentWorld) {
    for (id, environment) in [("a", "staging"), ("b", "production"), ("c", "staging")] {
        write(world, &[LogEntry::Asked(of(id, environment, id))]).await;
    }
    // The same again is the same one.
    write(world, &[LogEntry::Asked(of("a", "staging", "other"))]).await;
    let ids = |list: Vec<Deployment>| list.into_iter().map(|d| d.what.version).collect::<Vec<_>>();
    assert_eq!(ids(newest(world, "staging").await), ["c", "a"]);
    let one = world.log().newest("repo", "staging", 1).await.expect("reads");
    assert_eq!(ids(one), ["c"]);
    let other = world.log().newest("other", "staging", 9).await.expect("reads");
    assert_eq!(ids(other), [""; 0]);
}

pub async fn failures_are_kept_with_their_times(world: &dyn DeploymentWorld) {
    let failure = |id: &str| LogEntry::Failure {
        deployment: "task".to_owned(),
        id: id.to_owned(),
        cause: format!("cause of {id}"),
    };
    let new = of("task", "staging", "v1");
    write(world, &[LogEntry::Asked(new), failure("one"), failure("two")]).await;
    world.advance(HOUR).await;
    let recovered = LogEntry::Recovered {
        id: "one".to_owned(),
        at: None,
    };
    write(world, &[failure("one"), recovered.clone()]).await;
    world.advance(HOUR).await;
    write(world, &[recovered]).await;
    let failures = newest(world, "staging").await.remove(0).failures;
    let causes: Vec<_> = failures.iter().map(|failure| failure.cause.as_str()).collect();
    assert_eq!(causes, ["cause of one", "cause of two"]);
    let hour = TimeDelta::hours(1);
    assert_eq!(failures[0].recovered_at, Some(failures[0].began_at + hour));
    assert_eq!(failures[1].recovered_at, None);
    // Found to be over since then, later.
    let since = failures[1].began_at + TimeDelta::minutes(30);
    let recovered = LogEntry::Recovered {
        id: "two".to_owned(),
        at: Some(since),
    };
    write(world, &[recovered]).await;
    let failures = newest(world, "staging").await.remove(0).failures;
    assert_eq!(failures[1].recovered_at, Some(since));
}

pub async fn what_was_not_over_by_then_is_found_again(world: &dyn DeploymentWorld) {
    let mut elsewhere = of("elsewhere", "staging", "v1");
    elsewhere.repo_id = "other".to_owned();
    let asked = |id: &str| LogEntry::Asked(of(id, "staging", id));
    let reached = |id: &str| LogEntry::Reached { id: id.to_owned() };
    let failure = LogEntry::Failure {
        deployment: "failing".to_owned(),
        id: "failure".to_owned(),
        cause: "slow".to_owned(),
    };
    let over = |id: &str| ended(id, DeploymentOutcome::Succeeded);
    write(
        world,
        &[asked("old"), asked("failing"), reached("failing"), failure],
    )
    .await;
    write(world, &[over("old"), over("failing"), asked("runs")]).await;
    world.advance(HOUR).await;
    let since = world.log().now().await.expect("the time");
    write(
        world,
        &[
            reached("failing"),
            asked("new"),
            over("new"),
            LogEntry::Asked(elsewhere),
        ],
    )
    .await;
    let found = async |repo: Option<&str>| -> Vec<Deployment> {
        world.log().since(since, repo).await.expect("reads")
    };
    let ids = |found: &[Deployment]| found.iter().map(|d| d.what.id.clone()).collect::<Vec<_>>();
    let ours = found(Some("repo")).await;
    assert_eq!(ids(&ours), ["failing", "runs", "new"]);
    assert_eq!(
        ours[0].reached_at,
        Some(ours[0].asked_at),
        "the first time counts"
    );
    assert_eq!((ours[1].reached_at, ours[0].failures.len()), (None, 1));
    assert_eq!(ids(&found(None).await), ["failing", "runs", "new", "elsewhere"]);
    let recovered = LogEntry::Recovered {
        id: "failure".to_owned(),
        at: None,
    };
    write(world, &[recovered]).await;
    world.advance(HOUR).await;
    let later = world.log().now().await.expect("the time");
    let left = world.log().since(later, Some("repo")).await.expect("reads");
    assert_eq!(ids(&left), ["runs"]);
}

pub async fn an_entry_about_nothing_changes_nothing(world: &dyn DeploymentWorld) {
    let entries = [
        LogEntry::Started {
            id: "no".to_owned(),
            previous: None,
        },
        LogEntry::Reached { id: "no".to_owned() },
        ended("no", DeploymentOutcome::Failed),
        LogEntry::Failure {
            deployment: "no".to_owned(),
            id: "f".to_owned(),
            cause: "none".to_owned(),
        },
        LogEntry::Recovered {
            id: "f".to_owned(),
            at: None,
        },
    ];
    write(world, &entries).await;
    assert_eq!(newest(world, "staging").await, []);
}
