//! What GitHub alone asks for around workflows that are started and pull requests that are taken back.

use std::time::Duration;

use adapter_forge::{Config, Forges, HostConfig, Provider};
use domain::{ErrorKind, Idem, RepoRef};
use ports::{Forge, NewPipeline, NewRevert};
use testkit::github::{FakeGithub, TOKEN};

const REPO: &str = "octo-org/app.rs";

fn start() -> (FakeGithub, Forges, RepoRef) {
    let fake = FakeGithub::start();
    let mut host = HostConfig::new(Provider::Github);
    host.url = Some(fake.url().parse().expect("the fake's address"));
    host.token = Some(TOKEN.into());
    host.settle = Duration::ZERO;
    host.requests_per_minute = 100_000;
    let hosts = vec![host];
    let forges = Forges::new(&Config { hosts, local: None }).expect("a usable configuration");
    let repo = fake.repo(REPO);
    (fake, forges, repo)
}

fn smoke(workflow: Option<&str>, input: &str) -> NewPipeline {
    NewPipeline {
        git_ref: "v1".to_owned(),
        workflow: workflow.map(str::to_owned),
        variables: [(input.to_owned(), "all".to_owned())].into(),
    }
}

fn back(sha: &str) -> NewRevert {
    NewRevert {
        sha: sha.to_owned(),
        branch: "longshore/revert-t1".to_owned(),
        onto: "main".to_owned(),
        title: "Revert v1".to_owned(),
        description: "It was rolled back.".to_owned(),
    }
}

#[tokio::test]
async fn a_run_that_shows_late_is_waited_for() {
    let (fake, forges, repo) = start();
    fake.with(|world| {
        world.tag(REPO, "v1");
        world.start_hidden_for = 2;
    });
    let wanted = smoke(Some("smoke.yml"), "suite");
    let made = forges
        .start_pipeline(&repo, &wanted, &Idem::new("t/run/job"))
        .await;
    assert!(made.expect("is found").url.contains("/actions/runs/"));
}

#[tokio::test]
async fn a_workflow_whose_runs_cannot_be_told_apart_is_never_started_twice() {
    let (fake, forges, repo) = start();
    fake.with(|world| {
        world.tag(REPO, "v1");
        world.unnamed_runs = true;
    });
    let (wanted, idem) = (smoke(Some("smoke.yml"), "suite"), Idem::new("t/run/job"));
    let none = forges.started(&repo, &wanted, &idem).await;
    assert_eq!(none.expect("there is no run at all"), None);
    let error = forges
        .start_pipeline(&repo, &wanted, &idem)
        .await
        .expect_err("is not seen");
    assert_eq!(error.kind, ErrorKind::Timeout, "{error}");
    assert!(
        error
            .to_string()
            .contains("run-name: smoke ${{ inputs.longshore_run }}"),
        "{error}"
    );
    let error = forges
        .started(&repo, &wanted, &idem)
        .await
        .expect_err("cannot be told");
    assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
    assert!(
        !error.is_transient() && error.to_string().contains("/actions/runs/"),
        "{error}"
    );
}

#[tokio::test]
async fn a_workflow_that_is_not_made_for_it_is_refused_with_what_it_lacks() {
    let (fake, forges, repo) = start();
    fake.with(|world| world.tag(REPO, "v1"));
    for (wanted, kind, words) in [
        (
            smoke(None, "suite"),
            ErrorKind::Invalid,
            "Name its file as `workflow`",
        ),
        (
            smoke(Some("other.yml"), "suite"),
            ErrorKind::NotFound,
            "other.yml",
        ),
        (
            smoke(Some("smoke.yml"), "sweet"),
            ErrorKind::Invalid,
            "Unexpected inputs provided",
        ),
    ] {
        let error = forges
            .start_pipeline(&repo, &wanted, &Idem::new("t/run/job"))
            .await;
        let error = error.expect_err("is refused");
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(fake.with(|world| world.begun), 0);
}

#[tokio::test]
async fn a_commit_without_a_pull_request_is_left_to_a_person() {
    let (fake, forges, repo) = start();
    let made = fake.with(|world| world.tag(REPO, "v1"));
    let error = forges
        .revert(&repo, &back(&made.sha))
        .await
        .expect_err("came with none");
    assert_eq!(error.kind, ErrorKind::Invalid, "{error}");
    assert!(
        error.to_string().contains("GitHub reverts pull requests alone"),
        "{error}"
    );
    assert!(
        error.to_string().contains(&format!("git revert {}", made.sha)),
        "{error}"
    );
}

#[tokio::test]
async fn a_revert_that_somebody_opened_by_hand_is_the_one() {
    let (fake, forges, repo) = start();
    let number = fake.with(|world| {
        let made = world.tag(REPO, "v1");
        let number = world.merge(REPO, &made.sha);
        let mut by_hand = world.pulls[0].clone();
        by_hand.number = world.open_issue(REPO, &[]);
        (by_hand.merged_as, by_hand.branch) = (None, format!("revert-{number}-feature/cart"));
        world.pulls.push(by_hand);
        number
    });
    let sha = fake.with(|world| world.commits[0].sha.clone());
    let found = forges.revert(&repo, &back(&sha)).await.expect("is there");
    assert_eq!(found.iid, number + 1);
    assert_eq!(fake.with(|world| world.pulls.len()), 2);
}
