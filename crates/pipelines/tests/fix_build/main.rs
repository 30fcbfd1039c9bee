//! `fix_build` over a forge in memory: what it decides, does and says, and that no crash does it twice.

mod bench;
mod states;

use std::sync::Arc;

use domain::{NewTask, TaskStatus, Verdict};
use durable::memory::World;
use durable::{Attempt, CancelFlag, Limits, drive};
use ports::fake::{FakeForge, Fault, ForgeOp};
use ports::{Job, JobRef, JobStatus};
use serde_json::json;
use testkit::{Matrix, Scene};

use bench::{Bench, COMPILE_ERROR, NETWORK, at, fix_pipeline, forge, job, repo};

#[tokio::test]
async fn a_compile_error_is_explained_and_handed_to_the_builder() {
    let bench = Bench::of(forge(&[("build", COMPILE_ERROR)]));
    let (status, report) = bench.run(fix_pipeline()).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded)
    );
    assert_eq!(report.data["class"], "compile_error");
    assert_eq!(report.data["line"], 3);
    assert_eq!(report.data["exit_code"], 101);
    assert_eq!(report.follow_ons.len(), 1);
    assert_eq!(bench.follow_ons(), [report.follow_ons[0].task_id.to_string()]);
    assert!(bench.forge.retried().is_empty());
    insta::assert_json_snapshot!("compile_error_report", report);
}

#[tokio::test]
async fn a_network_fault_is_run_again_once_and_not_hidden_when_it_comes_back() {
    let bench = Bench::of(forge(&[("install", NETWORK)]));
    let (status, report) = bench.run(fix_pipeline()).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::Succeeded)
    );
    assert_eq!(report.data["action"], "retried");
    assert_eq!(report.data["flake"], true);
    assert_eq!(bench.forge.retried().len(), 1);
    assert!(bench.follow_ons().is_empty());
    // The new run fails the same way: a second task must not run it again.
    let again = bench.forge.retried()[0].made.at.clone();
    bench.forge.set_status(&again, JobStatus::Failed);
    bench.forge.set_log(&again, NETWORK);
    let (_, report) = bench.run(fix_pipeline()).await;
    assert_eq!(
        (report.verdict, &report.data["action"]),
        (Verdict::ActionNeeded, &json!("asked"))
    );
    assert_eq!(bench.forge.retried().len(), 1);
}

#[tokio::test]
async fn a_real_failure_beside_a_flaky_one_is_not_hidden_by_a_retry() {
    let bench = Bench::of(forge(&[("install", NETWORK), ("build", COMPILE_ERROR)]));
    let (_, report) = bench.run(fix_pipeline()).await;
    assert_eq!(
        (&report.data["class"], &report.data["action"]),
        (&json!("compile_error"), &json!("handed_over"))
    );
    assert!(bench.forge.retried().is_empty());
    assert!(
        report
            .facts
            .iter()
            .any(|fact| fact.value.contains("install: network")),
        "{:?}",
        report.facts
    );
}

#[tokio::test]
async fn a_spent_budget_and_a_ban_leave_the_job_alone() {
    let mut bench = Bench::of(forge(&[("install", NETWORK)]));
    bench.config.retries_per_day = 0;
    let (_, report) = bench.run(fix_pipeline()).await;
    assert_eq!(report.verdict, Verdict::ActionNeeded);
    assert!(
        report
            .facts
            .iter()
            .any(|f| f.label == "Not run again" && f.value.contains("0 retries a day"))
    );
    let bench = Bench::of(forge(&[("install", NETWORK)]));
    let (_, report) = bench.run(json!({"pipeline": {"id": 10}, "retry": false})).await;
    assert_eq!(report.verdict, Verdict::ActionNeeded);
    assert!(bench.forge.retried().is_empty());
}

#[tokio::test]
async fn an_inline_log_needs_no_forge() {
    let bench = Bench::of(FakeForge::new());
    let (status, report) = bench
        .run(json!({"log": COMPILE_ERROR, "job": {"name": "build", "stage": "build"}}))
        .await;
    assert_eq!(status, TaskStatus::Completed);
    assert_eq!(
        report.summary,
        "Job build failed: compile error (rustc E0425: cannot find value `totl` in this scope); handed to builder"
    );
    assert!(bench.forge.calls().is_empty());
    let (_, report) = bench.run(json!({"log": "all is well\nJob succeeded\n"})).await;
    assert_eq!(
        (report.verdict, report.data["class"].as_str()),
        (Verdict::Succeeded, Some("success"))
    );
    let (_, report) = bench.run(json!({"log": "doing things\nmore things\n"})).await;
    assert_eq!(
        (report.verdict, report.data["class"].as_str()),
        (Verdict::ActionNeeded, Some("unknown"))
    );
    assert!(
        report.summary.contains("the cause is not in its log"),
        "{}",
        report.summary
    );
}

#[tokio::test]
async fn what_is_asked_for_wrongly_fails_at_once_and_shows_the_right_forms() {
    let bench = Bench::of(FakeForge::new());
    let (status, report) = bench.run(json!({"instruction": "make it work"})).await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(
        report.summary.contains("\"make it work\" is not understood"),
        "{}",
        report.summary
    );
    assert!(report.next_steps[0].contains("`fix pipeline 4711`"));
    let (status, report) = bench.run(json!({"pipeline": {"id": 99}})).await;
    assert_eq!(status, TaskStatus::Failed);
    assert!(report.summary.contains("99"), "{}", report.summary);
}

#[tokio::test]
async fn wherever_it_is_killed_there_is_one_retry() {
    let scene = || scene(&[("install", NETWORK)]);
    let findings = Matrix::of(scene).run(async || world()).await;
    findings.assert_clean();
    assert!(findings.cases > 50, "{} cases", findings.cases);
}

#[tokio::test]
async fn wherever_it_is_killed_there_is_one_follow_on() {
    Matrix::of(|| scene(&[("build", COMPILE_ERROR)]))
        .run(async || world())
        .await
        .assert_clean();
}

fn world() -> World {
    let world = World::new();
    world.register(repo());
    world
}

fn scene(logs: &[(&str, &str)]) -> Scene {
    let bench = Bench::of(forge(logs));
    let forge = bench.forge.clone();
    Scene::new(bench.handler())
        .task(NewTask::new("fix_build", fix_pipeline()).repo(Some("app".to_owned())))
        .fingerprint(move || {
            json!(
                forge
                    .retried()
                    .iter()
                    .map(|retried| retried.of.id)
                    .collect::<Vec<_>>()
            )
        })
}

fn change(forge: &FakeForge, id: u64, name: &str, change: impl FnOnce(&mut Job)) {
    let mut changed = job(id, name);
    change(&mut changed);
    forge.add_job(changed);
}

#[tokio::test]
async fn a_job_that_failed_is_never_called_passed_whatever_its_log_says() {
    let bench = Bench::of(forge(&[("test", "all is well\nJob succeeded\n")]));
    let (_, report) = bench.run(fix_pipeline()).await;
    assert_eq!(
        (report.verdict, &report.data["class"]),
        (Verdict::ActionNeeded, &json!("unknown"))
    );
    assert!(
        report
            .why
            .unwrap()
            .contains("it ends well, and yet the job failed")
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_read_hides_neither_its_job_nor_the_others() {
    for refusal in [
        domain::Error::denied("could not read the log of job 1").next("Give the token more rights"),
        domain::Error::not_found("could not read the log of job 1").next("Run the job again"),
    ] {
        let bench = Bench::of(forge(&[("gone", NETWORK), ("build", COMPILE_ERROR)]));
        bench
            .forge
            .faults()
            .next(ForgeOp::Log, Fault::Fail(refusal.clone()));
        let (status, report) = bench.run(fix_pipeline()).await;
        assert_eq!(status, TaskStatus::Completed, "{report:?}");
        assert_eq!(report.data["class"], "compile_error");
        assert_eq!(report.data["action"], "handed_over");

        let bench = Bench::of(forge(&[("gone", NETWORK)]));
        bench
            .forge
            .faults()
            .next(ForgeOp::Log, Fault::Fail(refusal.clone()));
        let (_, report) = bench.run(fix_pipeline()).await;
        assert_eq!(
            (report.verdict, &report.data["class"]),
            (Verdict::ActionNeeded, &json!("unknown"))
        );
        let why = report.why.unwrap();
        assert!(
            why.starts_with("The log cannot be read: could not read the log of job 1"),
            "{why}"
        );
        assert_eq!(report.next_steps, [refusal.next.unwrap()]);
    }
}

#[tokio::test]
async fn the_forges_own_reason_counts_where_the_log_says_nothing() {
    for (reason, class, action) in [
        ("runner_system_failure", "infra_runner", "retried"),
        ("stuck_or_timeout_failure", "infra_runner", "retried"),
        ("no_matching_runner", "infra_runner", "asked"),
        ("job_execution_timeout", "timeout", "asked"),
        ("missing_dependency_failure", "artifact", "asked"),
        ("startup_failure", "config_error", "asked"),
        ("script_failure", "unknown", "asked"),
        ("a_word_of_next_year", "unknown", "asked"),
    ] {
        let bench = Bench::of(forge(&[("build", "")]));
        change(&bench.forge, 1, "build", |job| {
            job.failure_reason = Some(reason.to_owned())
        });
        let (_, report) = bench.run(fix_pipeline()).await;
        assert_eq!(
            (&report.data["class"], &report.data["action"]),
            (&json!(class), &json!(action)),
            "{reason}"
        );
    }
    // What the log itself says is never overruled: a retry would hide it.
    let bench = Bench::of(forge(&[("build", COMPILE_ERROR)]));
    change(&bench.forge, 1, "build", |job| {
        job.failure_reason = Some("runner_system_failure".to_owned())
    });
    let (_, report) = bench.run(fix_pipeline()).await;
    assert_eq!(report.data["class"], "compile_error");
    assert!(bench.forge.retried().is_empty());
}

#[tokio::test]
async fn what_was_not_looked_at_is_not_hidden_by_a_retry_and_is_counted() {
    let mut bench = Bench::of(forge(&[("a", NETWORK), ("b", NETWORK), ("c", COMPILE_ERROR)]));
    bench.config.jobs = 2;
    let (_, report) = bench.run(fix_pipeline()).await;
    assert!(bench.forge.retried().is_empty());
    assert_eq!(report.verdict, Verdict::ActionNeeded);
    let unread = report
        .facts
        .iter()
        .find(|fact| fact.label == "Not looked at")
        .unwrap();
    assert_eq!(unread.value, "1 more failed jobs");
}

#[tokio::test]
async fn jobs_that_are_run_again_together_know_of_each_other() {
    let bench = Bench::of(forge(&[("a", NETWORK), ("b", NETWORK)]));
    bench.run(fix_pipeline()).await;
    let asked: Vec<(u64, Vec<u64>)> = bench
        .forge
        .retried()
        .iter()
        .map(|retried| (retried.of.id, retried.beside.iter().map(|job| job.id).collect()))
        .collect();
    assert_eq!(asked, [(1, vec![2]), (2, vec![1])]);
}

#[tokio::test]
async fn a_pipeline_that_stays_red_after_half_its_retries_calls_a_person() {
    let mut bench = Bench::of(forge(&[("a", NETWORK), ("b", NETWORK)]));
    bench.config.retries_per_pipeline = 1;
    let (_, report) = bench.run(fix_pipeline()).await;
    assert_eq!(bench.forge.retried().len(), 1);
    assert_eq!(
        (report.verdict, &report.data["action"]),
        (Verdict::ActionNeeded, &json!("retried"))
    );
    assert!(report.why.unwrap().contains("the pipeline stays failed"));
    assert!(
        report
            .facts
            .iter()
            .any(|fact| fact.label == "Not run again" && fact.value.starts_with("b: "))
    );
}

#[tokio::test]
async fn a_retry_that_was_asked_for_by_name_is_done_for_a_job_that_may_fail_too() {
    let bench = Bench::of(forge(&[("optional", NETWORK)]));
    change(&bench.forge, 1, "optional", |job| job.allow_failure = true);
    let (_, report) = bench.run(json!({"instruction": "retry job 1"})).await;
    assert_eq!(bench.forge.retried().len(), 1, "{report:?}");
    assert_eq!(report.verdict, Verdict::Succeeded);
}

#[tokio::test]
async fn half_a_log_is_not_judged() {
    let bench = Bench::of(forge(&[("build", "so far so good\n")]));
    bench
        .forge
        .set_status(&JobRef { repo: at(), id: 1 }, JobStatus::Running);
    bench
        .world
        .enqueue(NewTask::new("fix_build", json!({"job": {"id": 1}})).repo(Some("app".to_owned())));
    let claimed = bench.world.claim("w").unwrap();
    let attempt = Attempt {
        task: claimed.info,
        lease: claimed.lease.clone(),
        first: false,
        journal: Arc::new(bench.world.clone()),
        cancel: CancelFlag::default(),
        limits: Limits::default(),
    };
    let outcome = format!("{:?}", drive(&bench.handler(), attempt).await);
    assert!(
        outcome.contains("has not ended yet") && outcome.contains("Unavailable"),
        "{outcome}"
    );
}
