//! Smoke tests that run something: commands of the worker, and pipelines at the forge.

use domain::{TaskStatus, Verdict};
use ports::fake::{Answer, Fault, ForgeOp};
use ports::{Check, DeploymentOutcome, JobStatus};
use serde_json::{Value, json};

use crate::bench::{Bench, commit, runs, to};
use crate::{GOOD, TAKEN_BACK};

fn with(bench: Bench, smoke: Value) -> Bench {
    bench.with(|staging| staging["smoke"] = json!([smoke]))
}

fn judgements(report: &domain::Report) -> &str {
    let found = report
        .evidence
        .iter()
        .find(|evidence| evidence.title == "Judgements");
    found.map_or("", |found| found.text.as_str())
}

#[tokio::test]
async fn an_address_and_what_it_must_say_are_filled_in_for_the_version() {
    let check =
        json!({"url": "http://preview.${environment}/${sha}", "contains": "shop ${version} of ${workload}"});
    let bench = with(Bench::new(), check.clone());
    let address = format!("http://preview.staging/{}", commit("v2").sha);
    let says = |version: &str| Answer::Says(200, format!("shop {version} of shop/checkout"));
    bench.probe.set(&address, says("v2"));
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");

    // Another version answers there.
    let bench = with(Bench::new(), check);
    bench.probe.set(&address, says("v1"));
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    assert_eq!((bench.shares(), bench.stands()), (vec![], runs("v1")));
}

#[tokio::test]
async fn a_command_is_told_what_it_tests_and_what_it_says_is_shown() {
    let bench = with(Bench::new(), json!({"command": "cart", "timeout": "40s"}));
    bench.probe.set("cart", Answer::Says(0, "12 checks".to_owned()));
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    let asked = bench.probe.asked();
    let commands: Vec<_> = asked
        .iter()
        .filter_map(|check| match check {
            Check::Command {
                name,
                values,
                timeout,
            } => Some((name.as_str(), values, timeout)),
            _ => None,
        })
        .collect();
    let [(name, values, timeout)] = commands.as_slice() else {
        panic!("it is run once: {asked:?}")
    };
    assert_eq!((*name, timeout.map(|limit| limit.as_secs())), ("cart", Some(40)));
    let sha = commit("v2").sha;
    let told: Vec<(&str, &str)> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("LONGSHORE_ENVIRONMENT", "staging"),
            ("LONGSHORE_REPO", "shop"),
            ("LONGSHORE_SHA", sha.as_str()),
            ("LONGSHORE_SIDE", "candidate"),
            ("LONGSHORE_VERSION", "v2"),
            ("LONGSHORE_WORKLOAD", "shop/checkout"),
        ]
    );
    assert!(
        judgements(&report).contains("cart: pass (exit code 0: 12 checks)"),
        "{report:#?}"
    );
}

#[tokio::test]
async fn a_command_that_fails_keeps_the_version_from_users() {
    let bench = with(Bench::new(), json!({"name": "cart", "command": "cart.sh"}));
    bench
        .probe
        .set("cart.sh", Answer::Says(3, "the cart is empty".to_owned()));
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    let why = "the smoke check failed: cart: exit code 3: the cart is empty";
    assert!(report.summary.contains(why), "{}", report.summary);
    assert_eq!((bench.shares(), bench.stands()), (vec![], runs("v1")));
}

#[tokio::test]
async fn a_command_that_this_worker_does_not_have_fails_the_deployment() {
    let bench = with(Bench::new(), json!({"command": "cart"}));
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    assert!(
        report.summary.contains("\"cart\" cannot be looked at"),
        "{}",
        report.summary
    );
    assert_eq!(bench.stands(), runs("v1"));
}

#[tokio::test]
async fn a_job_is_run_once_waited_for_and_linked() {
    let variables = json!({"VERSION": "${version}", "AT": "${environment} ${workload} ${sha}"});
    let smoke = json!({"name": "end to end", "job": {"workflow": "smoke.yml", "variables": variables}});
    let bench = with(Bench::new().built("v2", JobStatus::Succeeded), smoke);
    bench.forge.pipelines_end(JobStatus::Succeeded, 4);
    bench
        .forge
        .faults()
        .next(ForgeOp::StartPipeline, Fault::DoThenTimeout);
    bench.forge.faults().next(
        ForgeOp::Pipeline,
        Fault::Fail(domain::Error::unavailable("no route")),
    );
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
    let begun = bench.forge.begun();
    assert_eq!(begun.len(), 1, "{begun:?}");
    let wanted = &begun[0].wanted;
    assert_eq!(
        (wanted.git_ref.as_str(), wanted.workflow.as_deref()),
        ("v2", Some("smoke.yml"))
    );
    assert_eq!(wanted.variables["VERSION"], "v2");
    assert_eq!(
        wanted.variables["AT"],
        format!("staging shop/checkout {}", commit("v2").sha)
    );
    let id = begun[0].pipeline;
    let line =
        format!("end to end: pass (pipeline {id} passed: https://forge.example/group/shop/pipelines/{id})");
    assert!(judgements(&report).contains(&line), "{report:#?}");
}

#[tokio::test]
async fn a_job_that_fails_keeps_the_version_from_users() {
    let bench = with(Bench::new().built("v2", JobStatus::Failed), json!({"job": {}}));
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    let id = bench.forge.begun()[0].pipeline;
    let why = format!(
        "the smoke check failed: smoke job: pipeline {id} failed (smoke): https://forge.example/group/shop/pipelines/{id}"
    );
    assert!(report.summary.contains(&why), "{}", report.summary);
    assert_eq!((bench.shares(), bench.stands()), (vec![], runs("v1")));
    assert_eq!(bench.log.all()[0].outcome, Some(DeploymentOutcome::RolledBack));
}

#[tokio::test]
async fn a_job_that_does_not_end_is_not_waited_for_for_ever() {
    let bench = with(
        Bench::new().built("v2", JobStatus::Running),
        json!({"job": {"ref": "v2"}, "timeout": "10m"}),
    );
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK);
    assert!(
        report.summary.contains("was not over after 10m"),
        "{}",
        report.summary
    );
    let log = bench.log.all();
    let took = log[0].ended_at.expect("it ended") - log[0].started_at.expect("it began");
    assert!((600..700).contains(&took.num_seconds()), "{took}");
}

#[tokio::test]
async fn a_job_of_a_version_that_no_ref_is_known_of_is_refused_before_anything_is_touched() {
    let bench = with(Bench::new(), json!({"job": {}}));
    let mut payload = to("v2", "canary");
    let named_by_its_sha = ports::Commit {
        git_ref: commit("v2").sha,
        is_tag: false,
        ..commit("v2")
    };
    bench
        .environments
        .add_commit(&crate::bench::at(), named_by_its_sha);
    payload["commit"] = json!(commit("v2").sha);
    let (status, report) = bench.deploy(payload.clone()).await;
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    let said = format!("{} {}", report.summary, report.next_steps.join(" "));
    assert!(
        said.contains("nothing says which branch or tag v2 was made from"),
        "{said}"
    );
    assert!(said.contains("Set `ref` of the job"), "{said}");
    assert_eq!((bench.fleet.effects().len(), bench.forge.begun().len()), (0, 0));
    // A rolling deployment has no smoke test, so that nothing is missing.
    payload["strategy"] = json!("rolling");
    assert_eq!(bench.deploy(payload).await.0, TaskStatus::Completed);
}
