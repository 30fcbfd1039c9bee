//! A rollback that takes the code back as well, as a merge request.

use domain::{Autonomy, Repo, RepoRef, RepoStatus, Report, TaskStatus, Verdict};
use ports::fake::{Answer, Fault, ForgeOp};
use serde_json::json;

use crate::bench::{Bench, at, commit, runs, to};
use crate::group;

async fn rolled_out(revertible: bool) -> Bench {
    let bench = Bench::new().with(|staging| staging["rollback"] = json!({"revert": "merge_request"}));
    bench.forge.add_change(&at(), &commit("v2").sha, !revertible);
    assert_eq!(bench.deploy(to("v2", "rolling")).await.0, TaskStatus::Completed);
    bench
}

fn draft(report: &Report) -> &str {
    let draft = report
        .evidence
        .iter()
        .find(|evidence| evidence.title.starts_with("Post-mortem"));
    &draft.expect("the draft").text
}

#[tokio::test]
async fn the_commit_of_the_bad_version_is_taken_back_and_linked() {
    let bench = rolled_out(true).await;
    bench.forge.faults().next(ForgeOp::Revert, Fault::DoThenTimeout);
    let id = bench.enqueue(
        "rollback",
        json!({"environment": "staging", "reason": "checkout is slow"}),
    );
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::RolledBack),
        "{report:#?}"
    );
    let reverts = bench.forge.reverts();
    let [revert] = reverts.as_slice() else {
        panic!("one: {reverts:?}")
    };
    assert_eq!(
        (revert.sha.as_str(), revert.onto.as_str()),
        (commit("v2").sha.as_str(), "main")
    );
    assert_eq!(revert.branch, format!("longshore/revert-{id}"));
    assert_eq!(revert.title, "Revert v2, which was rolled back in staging");
    assert!(
        revert.description.contains("checkout is slow")
            && revert
                .description
                .contains(&format!("`git log {}..{}`", commit("v1").sha, commit("v2").sha)),
        "{}",
        revert.description
    );
    let url = "https://forge.example/group/shop/merge_requests/1";
    let fact = report
        .facts
        .iter()
        .find(|fact| fact.label == "Revert")
        .expect("it is linked");
    assert_eq!(fact.link.as_deref(), Some(url));
    assert!(draft(&report).contains(url), "{}", draft(&report));
    assert_eq!(report.data["revert"]["iid"], 1);
}

#[tokio::test]
async fn what_the_forge_cannot_take_back_is_told_and_stops_nothing() {
    let bench = rolled_out(false).await;
    let (status, report) = bench.run("rollback", json!({"environment": "staging"})).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::RolledBack)
    );
    assert_eq!(bench.stands(), runs("v1"));
    let fact = report
        .facts
        .iter()
        .find(|fact| fact.label == "Code not taken back");
    assert!(
        fact.expect("it says so").value.contains("later changes build on"),
        "{report:#?}"
    );
    assert!(
        draft(&report).contains("Take the code back by hand"),
        "{}",
        draft(&report)
    );
}

#[tokio::test]
async fn the_task_decides_before_the_settings_do() {
    let bench = rolled_out(true).await;
    let (_, report) = bench
        .run("rollback", json!({"environment": "staging", "revert": false}))
        .await;
    assert_eq!(report.verdict, Verdict::RolledBack);
    assert_eq!(bench.forge.reverts(), []);
    assert!(
        !report.facts.iter().any(|fact| fact.label == "Revert"),
        "{report:#?}"
    );
}

#[tokio::test]
async fn what_takes_itself_back_takes_the_code_back_as_well_where_that_is_wished_for() {
    let bench = Bench::new()
        .bad()
        .with(|staging| staging["rollback"] = json!({"revert": "merge_request"}));
    bench.forge.add_change(&at(), &commit("v2").sha, false);
    bench.forge.faults().next(ForgeOp::Revert, Fault::DoThenTimeout);
    let id = bench.enqueue("deploy", to("v2", "canary"));
    bench.settle().await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::RolledBack),
        "{report:#?}"
    );
    let reverts = bench.forge.reverts();
    let [revert] = reverts.as_slice() else {
        panic!("one: {reverts:?}")
    };
    assert_eq!(revert.sha, commit("v2").sha);
    assert!(
        revert.description.contains("failed its judgement"),
        "{}",
        revert.description
    );
    assert!(
        revert
            .description
            .contains(&format!("`git log {}..{}`", commit("v1").sha, commit("v2").sha)),
        "{}",
        revert.description
    );
    assert!(
        report.facts.iter().any(|fact| fact.label == "Revert"),
        "{report:#?}"
    );
    // What is only cancelled is nobody's fault.
    let id = bench.enqueue("deploy", to("v3", "canary"));
    while bench.shares().len() < 3 {
        assert!(bench.turn().await);
    }
    bench.world().cancel(&id);
    bench.settle().await;
    assert_eq!(bench.report(&id).1.verdict, Verdict::Cancelled);
    assert_eq!(bench.forge.reverts().len(), 1);
}

#[tokio::test]
async fn what_does_not_become_ready_is_taken_back_and_what_a_person_refuses_is_not() {
    let wishes = |staging: &mut serde_json::Value| staging["rollback"] = json!({"revert": "merge_request"});
    let bench = Bench::new().with(wishes);
    bench.environments.add_commit(&at(), commit("broken"));
    for version in ["v2", "broken"] {
        bench.forge.add_change(&at(), &commit(version).sha, false);
    }
    let asks = json!({"version": "v2", "environment": "staging", "strategy": {"name": "canary",
        "steps": [{"set_weight": 10}, {"pause": {}}, {"set_weight": 50}]}});
    let id = bench.enqueue("deploy", asks);
    bench.settle().await;
    bench.answer(&id, "rejected").await;
    let (_, report) = bench.report(&id);
    assert_eq!(report.verdict, Verdict::RolledBack, "{report:#?}");
    assert_eq!(bench.forge.reverts(), [], "a no says nothing of the code");
    let (_, report) = bench.deploy(to("broken", "rolling")).await;
    assert_eq!(report.verdict, Verdict::RolledBack, "{report:#?}");
    let shas: Vec<_> = bench.forge.reverts().into_iter().map(|new| new.sha).collect();
    assert_eq!(shas, [commit("broken").sha]);
}

#[tokio::test]
async fn a_service_of_another_repository_is_taken_back_on_the_branch_of_that() {
    let bench = Bench::new();
    let at = RepoRef {
        provider: "fake".to_owned(),
        url: String::new(),
        project: "group/pay".to_owned(),
    };
    let mut pay = group::service("pay");
    pay["rollback"] = json!({"revert": "merge_request"});
    bench.repos.put(Repo {
        id: "pay-id".to_owned(),
        name: "Payments".to_owned(),
        slug: Some("pay".to_owned()),
        at: at.clone(),
        default_branch: "trunk".to_owned(),
        autonomy_mode: Autonomy::Full,
        settings: json!({"environments": {"production": pay}}),
        status: RepoStatus::Active,
    });
    group::add(&bench, "pay");
    bench.answers_with(&group::health("pay"), "shop/pay", "v2", Answer::Refuses);
    bench.environments.add_commit(&at, commit("v2"));
    bench.forge.add_change(&at, &commit("v2").sha, false);
    let payload = json!({"strategy": "group", "environment": "production", "version": "v2",
        "services": {"pay": {"repo": "pay"}}});
    let (_, report) = bench.deploy(payload).await;
    assert_eq!(report.verdict, Verdict::RolledBack, "{report:#?}");
    let onto: Vec<_> = bench.forge.reverts().into_iter().map(|new| new.onto).collect();
    assert_eq!(onto, ["trunk"]);
}

#[tokio::test]
async fn code_that_is_the_same_is_not_at_fault() {
    let bench = Bench::new();
    let again = ports::Commit {
        git_ref: "v2".to_owned(),
        ..commit("v1")
    };
    bench.environments.add_commit(&at(), again);
    bench.deploy(to("v2", "rolling")).await;
    let (_, report) = bench
        .run("rollback", json!({"environment": "staging", "revert": true}))
        .await;
    let fact = report
        .facts
        .iter()
        .find(|fact| fact.label == "Code not taken back");
    assert!(
        fact.expect("it says so")
            .value
            .contains("made from the same commit"),
        "{report:#?}"
    );
    assert_eq!(bench.forge.reverts(), []);
}
