//! Gates that ask what the commit's scans found and whether there is a way back.

use domain::{Report, TaskStatus};
use ports::{Job, JobRef, JobStatus, Pipeline};
use serde_json::{Value, json};

use crate::bench::{Bench, at, commit, to, workload};

fn gated(gates: Value) -> Bench {
    Bench::new().with(|staging| staging["gates"] = gates)
}

fn evidence(report: &Report, gate: &str) -> String {
    let label = format!("Gate {gate}");
    let found = report.facts.iter().find(|fact| fact.label == label);
    found
        .unwrap_or_else(|| panic!("no {label}: {report:#?}"))
        .value
        .clone()
}

async fn shut(bench: &Bench) -> String {
    let (status, report) = bench.deploy(to("v2", "rolling")).await;
    assert_eq!(status, TaskStatus::Failed, "{report:#?}");
    assert_eq!(bench.fleet.effects(), []);
    format!("{} {}", report.summary, report.next_steps.join(" "))
}

fn pipeline(bench: &Bench, id: u64, jobs: &[(&str, JobStatus)]) {
    let url = format!("https://forge.example/{id}");
    let sha = commit("v2").sha;
    bench.forge.add_pipeline(
        &at(),
        Pipeline {
            id,
            status: JobStatus::Failed,
            git_ref: "main".to_owned(),
            sha: sha.clone(),
            url: url.clone(),
        },
    );
    for (number, (name, status)) in (1..).zip(jobs) {
        bench.forge.add_job(Job {
            at: JobRef {
                repo: at(),
                id: id * 10 + number,
            },
            name: (*name).to_owned(),
            stage: "test".to_owned(),
            status: *status,
            pipeline: id,
            attempt: 1,
            git_ref: "main".to_owned(),
            sha: sha.clone(),
            url: format!("{url}/{name}"),
            allow_failure: true,
            failure_reason: None,
            exit_code: None,
            started_at: None,
            finished_at: None,
            duration: None,
        });
    }
}

#[tokio::test]
async fn every_scan_must_have_passed_in_the_newest_pipeline_that_has_it() {
    use JobStatus::{Failed, Running, Succeeded};
    let bench = gated(json!({"security_scan": ["sast", "container_scanning"]}));
    let said = shut(&bench).await;
    assert!(
        said.contains("\"security scan\" is shut: no pipeline of v2 has a job sast; no pipeline of v2 has a job container"),
        "{said}"
    );
    pipeline(
        &bench,
        1,
        &[("sast", Succeeded), ("container_scanning", Succeeded)],
    );
    // A later pipeline finds something, which is not outweighed by the earlier one.
    pipeline(
        &bench,
        2,
        &[("sast 1/2", Succeeded), ("sast 2/2", Failed), ("unit", Failed)],
    );
    let said = shut(&bench).await;
    assert!(
        said.contains("sast 2/2 failed: https://forge.example/2/sast 2/2"),
        "{said}"
    );
    pipeline(&bench, 3, &[("sast", Running)]);
    assert!(shut(&bench).await.contains("sast still runs"));
    // What else the newest pipeline does is another gate's business.
    pipeline(&bench, 4, &[("sast", Succeeded), ("unit", Failed)]);
    let (status, report) = bench.deploy(to("v2", "rolling")).await;
    assert_eq!(status, TaskStatus::Completed, "{report:#?}");
    assert_eq!(
        evidence(&report, "security scan"),
        "open: sast passed: https://forge.example/4/sast; container_scanning passed: \
         https://forge.example/1/container_scanning"
    );
}

#[tokio::test]
async fn a_version_without_a_commit_was_scanned_by_nobody() {
    let bench = gated(json!({"security_scan": ["sast"]}));
    bench.fleet.add_version("v7", ports::fake::Behaviour::Healthy);
    let (status, report) = bench.deploy(to("v7", "rolling")).await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("the forge knows no commit"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn a_flag_is_measured_by_its_own_name() {
    let bench = gated(json!({"monitoring": true}));
    bench.metrics.set("errors stable", &[]);
    let (status, report) = bench.deploy(to("checkout-v2", "feature_flag")).await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("nothing is measured for error_rate"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn our_own_smoke_pipelines_are_no_build() {
    let bench = gated(json!({"pipeline": true})).built("v2", JobStatus::Failed);
    let bench = bench.with(|staging| staging["smoke"] = json!([{"job": {}}]));
    let (status, _) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, bench.forge.begun().len()), (TaskStatus::Failed, 1));
    let mut plan = to("v2", "canary");
    plan["dry_run"] = json!(true);
    let (_, report) = bench.deploy(plan).await;
    let evidence = evidence(&report, "pipeline passed");
    assert!(evidence.starts_with("open: pipeline 7 passed"), "{evidence}");
}

#[tokio::test]
async fn there_must_be_a_way_back() {
    for wanted in ["required", "unless_first"] {
        let bench = gated(json!({"rollback_plan": wanted}));
        let (status, report) = bench.deploy(to("v2", "rolling")).await;
        assert_eq!(status, TaskStatus::Completed, "{report:#?}");
        let evidence = evidence(&report, "rollback plan");
        assert!(
            evidence.starts_with("open: back to v1, which cluster has, which it keeps as revision "),
            "{evidence}"
        );
    }
    // What serves cannot be had any more.
    let bench = gated(json!({"rollback_plan": "unless_first"}));
    bench.fleet.add_running(&workload(), &["lost"], 4);
    let said = shut(&bench).await;
    assert!(
        said.contains("lost serves and could not be brought out again"),
        "{said}"
    );
}

#[tokio::test]
async fn a_first_deployment_has_no_way_back_and_goes_where_the_settings_say_so() {
    let bench = gated(json!({"rollback_plan": "required"}));
    bench.fleet.add_empty(&workload());
    let said = shut(&bench).await;
    assert!(
        said.contains("nothing runs yet") && said.contains("\"unless_first\""),
        "{said}"
    );
    let bench = gated(json!({"rollback_plan": "unless_first"}));
    bench.fleet.add_empty(&workload());
    let (status, report) = bench.deploy(to("v2", "rolling")).await;
    assert_eq!(status, TaskStatus::Completed, "{report:#?}");
    assert!(evidence(&report, "rollback plan").starts_with("open: nothing runs yet"));
}

#[tokio::test]
async fn a_tag_that_it_was_started_by_must_be_one_and_of_that_commit() {
    let of = |tag: &str, sha: String| {
        let mut payload = to("v2", "rolling");
        payload["tag"] = json!(tag);
        payload["commit"] = json!(sha);
        payload
    };
    let bench = Bench::new();
    let branch = ports::Commit {
        is_tag: false,
        ..commit("v9")
    };
    bench.environments.add_commit(&at(), branch);
    for (payload, words) in [
        (of("v9", commit("v9").sha), "v9 is no tag of group/shop"),
        (of("nowhere", commit("v2").sha), "nowhere is no tag"),
        (
            of("v2", commit("v1").sha),
            "the tag v2 of group/shop is of commit",
        ),
    ] {
        let (status, report) = bench.deploy(payload).await;
        assert_eq!(status, TaskStatus::Failed);
        assert!(report.summary.contains(words), "{}", report.summary);
        assert_eq!(bench.fleet.effects(), []);
    }
    let (status, report) = bench.deploy(of("v2", commit("v2").sha)).await;
    assert_eq!(status, TaskStatus::Completed, "{report:#?}");
}
