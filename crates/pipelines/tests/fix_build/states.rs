//! Pipelines within pipelines, and pipelines that went on meanwhile.

use domain::{TaskStatus, Verdict};
use ports::fake::FakeForge;
use ports::{Job, JobStatus, Pipeline};
use serde_json::json;

use crate::bench::{Bench, COMPILE_ERROR, NETWORK, at, fix_pipeline, forge, job, pipeline};

/// A failed pipeline 20 whose child is pipeline 10.
fn with_parent(logs: &[(&str, &str)]) -> FakeForge {
    let forge = forge(logs);
    let url = "https://forge.example/group/app/pipelines/20".to_owned();
    let parent = Pipeline {
        id: 20,
        url,
        ..pipeline()
    };
    forge.add_pipeline(&at(), parent);
    forge.add_child((&at(), 20), (&at(), 10));
    forge
}

#[tokio::test]
async fn a_childs_failure_that_is_reported_for_its_parent_too_is_dealt_with_once() {
    for (log, follow_ons, retries) in [(COMPILE_ERROR, 1, 0), (NETWORK, 0, 1)] {
        let bench = Bench::of(with_parent(&[("unit", log)]));
        let (_, child) = bench.run(fix_pipeline()).await;
        let (_, parent) = bench.run(json!({"pipeline": {"id": 20}})).await;
        assert_eq!(bench.follow_ons().len(), follow_ons);
        assert_eq!(bench.forge.retried().len(), retries);
        assert_ne!(child.data["action"], "none");
        assert_eq!(parent.verdict, Verdict::Succeeded);
        assert_eq!(parent.data["action"], "none");
        if retries == 0 {
            assert_eq!(parent.data["elsewhere"], json!([1]), "{}", parent.summary);
            assert_eq!(parent.data["class"], "compile_error", "it is told all the same");
            assert!(
                parent.summary.ends_with("whose task acts on it"),
                "{}",
                parent.summary
            );
        } else {
            // The child's job runs again by now.
            assert!(parent.summary.contains("no failed job"), "{}", parent.summary);
        }
    }
}

#[tokio::test]
async fn a_parents_own_failure_is_dealt_with_beside_its_childs() {
    let forge = with_parent(&[("unit", COMPILE_ERROR)]);
    let own = Job {
        pipeline: 20,
        ..job(7, "lint")
    };
    forge.set_log(&own.at, COMPILE_ERROR);
    forge.add_job(own);
    let bench = Bench::of(forge);
    bench.run(fix_pipeline()).await;
    let (_, parent) = bench.run(json!({"pipeline": {"id": 20}})).await;
    assert_eq!(bench.follow_ons().len(), 2);
    assert!(parent.summary.contains("lint"), "{}", parent.summary);
    assert_eq!(parent.data["elsewhere"], json!([1]));
}

#[tokio::test]
async fn a_flaky_job_of_its_own_is_not_retried_beside_a_childs_real_failure() {
    let forge = with_parent(&[("unit", COMPILE_ERROR)]);
    let own = Job {
        pipeline: 20,
        ..job(7, "lint")
    };
    forge.set_log(&own.at, NETWORK);
    forge.add_job(own);
    let bench = Bench::of(forge);
    bench.run(fix_pipeline()).await;
    let (_, parent) = bench.run(json!({"pipeline": {"id": 20}})).await;
    assert!(bench.forge.retried().is_empty());
    assert_eq!(bench.follow_ons().len(), 1, "{}", parent.summary);
}

#[tokio::test]
async fn a_pipeline_that_runs_again_is_no_failure() {
    let forge = forge(&[]);
    for (status, words) in [
        (
            JobStatus::Running,
            "it runs, and none of its jobs has failed so far",
        ),
        (JobStatus::Succeeded, "it passed"),
    ] {
        forge.add_pipeline(&at(), Pipeline { status, ..pipeline() });
        let (status, report) = Bench::of(forge.clone()).run(fix_pipeline()).await;
        assert_eq!(
            (status, report.verdict),
            (TaskStatus::Completed, Verdict::Succeeded)
        );
        assert!(report.summary.ends_with(words), "{}", report.summary);
    }
}

#[tokio::test]
async fn what_a_passed_pipeline_tolerates_is_told_and_left_alone() {
    for log in [COMPILE_ERROR, NETWORK] {
        let forge = forge(&[("nightly", log)]);
        forge.add_pipeline(
            &at(),
            Pipeline {
                status: JobStatus::Succeeded,
                ..pipeline()
            },
        );
        let bench = Bench::of(forge);
        let (_, report) = bench.run(fix_pipeline()).await;
        assert_eq!(
            (report.verdict, &report.data["action"]),
            (Verdict::Succeeded, &json!("none"))
        );
        assert!(bench.follow_ons().is_empty() && bench.forge.retried().is_empty());
        assert!(
            report.summary.contains("the pipeline passed"),
            "{}",
            report.summary
        );
    }
}

#[tokio::test]
async fn a_retry_that_is_refused_because_it_was_done_counts_as_done() {
    let forge = forge(&[("unit", NETWORK)]);
    let mut later = job(5, "unit");
    later.status = JobStatus::Waiting;
    forge.add_job(later.clone());
    forge.link_retry(&job(1, "unit").at, &later.at);
    let (_, report) = Bench::of(forge.clone())
        .run(json!({"instruction": "retry job 1"}))
        .await;
    assert_eq!(report.data["retried_jobs"], json!([5]), "{}", report.summary);
    assert!(forge.retried().is_empty());
}

#[tokio::test]
async fn the_same_pipeline_may_be_looked_at_again() {
    let bench = Bench::of(forge(&[("unit", COMPILE_ERROR)]));
    bench.run(fix_pipeline()).await;
    let (_, again) = bench.run(fix_pipeline()).await;
    assert_eq!(again.data["action"], "handed_over");
}
