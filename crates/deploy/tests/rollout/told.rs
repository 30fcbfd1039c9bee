//! What people are told at the end, whatever the end: what was judged and what was not, what let it through, and the draft
//! of a post-mortem where it went wrong.

use domain::{Report, TaskId, TaskStatus, Verdict};
use ports::fake::{Answer, Behaviour};
use ports::{JobStatus, Side};
use serde_json::{Value, json};

use crate::bench::{Bench, PREVIEW, runs, to, workload};
use crate::{GOOD, TAKEN_BACK};

fn fact<'a>(report: &'a Report, label: &str) -> &'a str {
    let found = report.facts.iter().find(|fact| fact.label == label);
    let found = found.unwrap_or_else(|| panic!("no {label}: {report:#?}"));
    &found.value
}

fn evidence<'a>(report: &'a Report, title: &str) -> &'a str {
    let mut all = report.evidence.iter();
    let found = all.find(|evidence| evidence.title.starts_with(title));
    &found.unwrap_or_else(|| panic!("no {title}: {report:#?}")).text
}

fn has_draft(report: &Report) -> bool {
    let mut all = report.evidence.iter();
    all.any(|evidence| evidence.title.starts_with("Post-mortem"))
}

fn dry(mut payload: Value) -> Value {
    payload["dry_run"] = json!(true);
    payload
}

/// The lines of the timeline, and that they are in order.
fn timeline(draft: &str) -> Vec<&str> {
    let (_, rest) = draft.split_once("Timeline (UTC)\n").expect("a timeline");
    let (lines, _) = rest.split_once("\n\n").expect("something after it");
    let lines: Vec<&str> = lines.lines().collect();
    let times: Vec<&str> = lines.iter().map(|line| &line[..19]).collect();
    assert!(times.is_sorted(), "{draft}");
    lines
}

/// Ada's answer, at the time at which she gives it.
async fn ada_says(bench: &Bench, id: &TaskId, decision: &str) {
    let (world, asked) = (bench.world(), bench.waits_for(id));
    let said = json!({"decision": decision, "by": "ada", "at": world.now(), "comment": "seen"});
    world.send_signal(id, asked.first().expect("a question"), said);
    bench.settle().await;
}

#[tokio::test]
async fn what_takes_itself_back_has_the_draft_of_a_post_mortem() {
    let bench = Bench::new().bad().ticking().with(|staging| {
        staging["approval"] = json!({"required": true, "approvers": ["ada"]});
    });
    let id = bench.enqueue("deploy", to("v2", "canary"));
    bench.settle().await;
    ada_says(&bench, &id, "approved").await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    let draft = evidence(&report, "Post-mortem");
    let lines = timeline(draft);
    let mut after = lines.iter();
    for words in [
        "v2 was to be deployed from commit 000000000000",
        "ada approved plan ",
        "its deployment began (canary)",
        "start 1 replica of v2 beside what serves",
        "send 10 % of the traffic to the new version",
        "judged: fail: error_rate: worse by +4.00 points",
        "it failed: v2 failed its judgement: error_rate",
        "send all traffic to the stable side",
        "v1 serves again",
        "take away what stands beside the stable side",
    ] {
        assert!(
            after.any(|line| line.contains(words)),
            "{words}, in this order: {draft}"
        );
    }
    let times: std::collections::BTreeSet<&str> = lines.iter().map(|line| &line[..19]).collect();
    assert!(times.len() > 7, "the clock moves: {draft}");
}

#[tokio::test]
async fn what_no_user_got_says_so_and_a_failed_check_is_evidence() {
    let bench = Bench::new().ticking();
    bench.probe.set(PREVIEW, Answer::Refuses);
    let (_, report) = bench.deploy(to("v2", "canary")).await;
    let draft = evidence(&report, "Post-mortem");
    assert!(
        draft.contains("No user got v2: it was taken back before any was sent to it."),
        "{draft}"
    );
    assert!(
        draft.contains("What was found against it:\n  the smoke check failed: preview: connection refused"),
        "{draft}"
    );
    let checks = timeline(draft)
        .iter()
        .filter(|line| line.contains("the smoke check failed: preview"))
        .count();
    assert_eq!(checks, 4, "three looks, and what it failed for: {draft}");

    let bench = Bench::new().ticking();
    let (_, report) = bench.deploy(to("broken", "rolling")).await;
    let draft = evidence(&report, "Post-mortem");
    let stable = bench.fleet.stands(&workload(), Side::Stable);
    assert_eq!(stable, runs("v1")[0]);
    assert!(
        draft.contains("\nCause\nBroken does not become ready: "),
        "{draft}"
    );
    assert!(draft.contains("at most 100 % of the traffic"), "{draft}");
}

#[tokio::test]
async fn what_the_target_said_is_evidence() {
    let bench = Bench::new().ticking();
    bench.fleet.add_version("v4", Behaviour::Crashing);
    let (status, report) = bench.deploy(to("v4", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    let draft = evidence(&report, "Post-mortem");
    assert!(draft.contains("What the target said:\n  "), "{draft}");
}

#[tokio::test]
async fn the_draft_of_a_rollback_has_its_times_too() {
    let bench = Bench::new().ticking();
    bench.deploy(to("v2", "rolling")).await;
    bench.deploy(to("v3", "canary")).await;
    bench.world().advance(std::time::Duration::from_secs(40 * 60));
    let payload = json!({"environment": "staging", "reason": "checkout is slow"});
    let (_, report) = bench.run("rollback", payload).await;
    let draft = evidence(&report, "Post-mortem");
    timeline(draft);
    insta::assert_snapshot!("post_mortem_of_a_rollback", draft);
}

#[tokio::test]
async fn what_is_only_not_wanted_has_no_post_mortem() {
    let bench = Bench::new();
    let mut payload = to("v2", "canary");
    payload["strategy"] = json!({"name": "canary", "steps": [{"set_weight": 10}, {"pause": {}}]});
    let id = bench.enqueue("deploy", payload);
    bench.settle().await;
    bench.world().cancel(&id);
    bench.settle().await;
    let (_, report) = bench.report(&id);
    assert_eq!(report.verdict, Verdict::Cancelled, "{report:#?}");
    assert!(!has_draft(&report), "{report:#?}");
    assert_eq!(fact(&report, "Strategy"), "canary");
}

#[tokio::test]
async fn without_metrics_a_step_is_judged_by_readiness_alone_and_says_so() {
    let words = "by readiness alone: no metric is declared";
    let unmeasured = || Bench::new().with(|staging| staging["analysis"] = json!({}));
    let (_, plan) = unmeasured().deploy(dry(to("v2", "canary"))).await;
    let steps = evidence(&plan, "Plan").matches(words).count();
    assert_eq!(steps, 3, "{plan:#?}");
    let (status, report) = unmeasured().deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD);
    assert_eq!(
        fact(&report, "Judged by"),
        "readiness alone: no metric is declared"
    );
    let judged = evidence(&report, "Judgements");
    assert_eq!(judged.matches(&format!("judged {words}")).count(), 3, "{judged}");

    let (_, report) = unmeasured().deploy(to("checkout-v2", "feature_flag")).await;
    let judged = evidence(&report, "Judgements");
    assert!(
        judged.contains("judged by nothing, for a flag has no readiness: no metric is declared"),
        "{judged}"
    );
}

#[tokio::test]
async fn a_metric_without_a_limit_is_not_judged_where_nothing_is_compared_and_says_so() {
    let left_out =
        "latency_p95 is not judged here, where nothing is compared, without `max`, `min` or a threshold";
    for (strategy, version, more) in [
        ("blue_green", "v2", json!({})),
        ("feature_flag", "checkout-v2", json!({})),
        ("rolling", "v2", json!({"watch": "10m"})),
    ] {
        let bench = || {
            Bench::new().with(|staging| {
                for (key, value) in more.as_object().expect("an object") {
                    staging[key] = value.clone();
                }
            })
        };
        let said = format!("by error_rate: {left_out}");
        let (_, plan) = bench().deploy(dry(to(version, strategy))).await;
        let steps = evidence(&plan, "Plan");
        assert!(
            steps.contains(&format!("judge the time since the last change {said}")),
            "{steps}"
        );
        let (status, report) = bench().deploy(to(version, strategy)).await;
        assert_eq!((status, report.verdict), GOOD, "{report:#?}");
        assert_eq!(fact(&report, "Judged by"), said.trim_start_matches("by "));
        let judged = evidence(&report, "Judgements");
        assert!(judged.contains(&format!("judged {said}")), "{judged}");
    }
    // Where no metric at all has a limit, nothing measured stops it: that is said as well.
    let bench = Bench::new().bad().with(|staging| {
        let metrics = staging["analysis"]["metrics"].as_array_mut().expect("a list");
        metrics[0].as_object_mut().expect("a metric").remove("max");
    });
    let (status, report) = bench.deploy(to("v2", "blue_green")).await;
    assert_eq!((status, report.verdict), GOOD);
    let by = fact(&report, "Judged by");
    assert!(
        by.starts_with("readiness alone: error_rate and latency_p95 are not judged here"),
        "{by}"
    );
}

#[tokio::test]
async fn a_plan_that_judges_nothing_says_so() {
    let (_, report) = Bench::new().deploy(to("v2", "rolling")).await;
    assert_eq!(
        fact(&report, "Judged by"),
        "readiness alone: no step of the plan judges error_rate and latency_p95"
    );
}

#[test]
fn a_flag_alone_has_no_use_for_a_metric_without_a_limit() {
    let settings = |metric: Value| json!({"environments": {"production": {"flag": {"store": "edge", "key": "new"}, "analysis": {"metrics": [metric]}}}});
    let refused = deploy::environments(&settings(json!({"name": "latency_p95", "query": "q"})), "shop");
    let said = refused.expect_err("it can never be judged").what;
    assert!(
        said.contains("metric \"latency_p95\" can never be judged"),
        "{said}"
    );
    let limited = settings(json!({"name": "latency_p95", "query": "q", "max": 1}));
    let all = deploy::environments(&limited, "shop").expect("settings");
    assert_eq!(all["production"].unjudged(), [""; 0]);
}

/// Lines of errors in the log, as a rate, beside what is measured elsewhere.
fn logged(stable: f64, candidate: f64) -> Bench {
    let bench = Bench::new().with(|staging| {
        let logged = json!({"name": "logged_errors", "source": "logs", "query": "lines ${side}", "max": 1});
        let metrics = staging["analysis"]["metrics"].as_array_mut().expect("a list");
        metrics.push(logged);
    });
    bench.metrics.set("lines stable", &[stable]);
    bench.metrics.set("lines candidate", &[candidate]);
    bench
}

#[tokio::test]
async fn a_rate_of_errors_in_the_log_takes_a_canary_back() {
    let bench = logged(0.5, 3.0);
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), TAKEN_BACK, "{report:#?}");
    assert_eq!((bench.shares(), bench.stands()), (vec![10.0, 0.0], runs("v1")));
    assert!(
        report
            .summary
            .contains("logged_errors: 1 of 1 values failed, the latest 3; 0 may"),
        "{}",
        report.summary
    );
    let judged = evidence(&report, "Judgements");
    assert!(judged.contains("error_rate: pass"), "the log alone: {judged}");
    // What serves logs more than that, which is not the candidate's fault.
    let (status, report) = logged(3.0, 0.5).deploy(to("v2", "canary")).await;
    assert_eq!((status, report.verdict), GOOD, "{report:#?}");
}

/// On a Friday afternoon, with a pipeline that must have passed, and a person who must agree.
fn guarded() -> Bench {
    let bench = Bench::new().built("v2", JobStatus::Succeeded).with(|staging| {
        staging.as_object_mut().expect("an object").remove("freeze");
        staging["gates"] = json!({"pipeline": true, "deployments_per_day": 5});
        staging["approval"] = json!({"required": true, "approvers": ["ada"]});
    });
    bench
        .world()
        .advance(std::time::Duration::from_secs(36 * 60 * 60));
    bench
}

fn overriding(strategy: &str) -> Value {
    let mut payload = to("v2", strategy);
    payload["override_freeze"] = json!({"name": "ada", "reason": "the shop is down"});
    payload
}

/// What an auditor asks for.
fn assert_accounted_for(report: &Report) {
    let frozen =
        "open: Friday afternoon, until Sat 1970-01-03 00:00 UTC, overridden by ada: the shop is down";
    assert_eq!(fact(report, "Gate no freeze"), frozen);
    assert_eq!(
        fact(report, "Gate pipeline passed"),
        "open: pipeline 7 passed: https://forge.example/7"
    );
    assert_eq!(
        fact(report, "Gate deployments per day"),
        "open: 0 in the last 24 hours, of at most 5"
    );
    assert_eq!(fact(report, "Served before"), "v1");
    assert!(evidence(report, "Plan ").starts_with("1. start 1 replica of v2"));
}

#[tokio::test]
async fn what_let_it_through_stands_in_the_note_whatever_the_end() {
    for (errors, verdict) in [(0.01, Verdict::Succeeded), (0.05, Verdict::RolledBack)] {
        let bench = guarded();
        bench.metrics.set("errors candidate", &[errors]);
        let id = bench.enqueue("deploy", overriding("canary"));
        bench.settle().await;
        bench.answer(&id, "approved").await;
        let (_, report) = bench.report(&id);
        assert_eq!(report.verdict, verdict, "{report:#?}");
        assert_accounted_for(&report);
        assert_eq!(fact(&report, "Approved by"), "ada");
        assert_eq!(has_draft(&report), verdict == Verdict::RolledBack);
    }
    // Left half out, since somebody changed it by hand.
    let bench = guarded();
    let mut payload = overriding("canary");
    payload["strategy"] =
        json!({"name": "canary", "steps": [{"set_weight": 10}, {"pause": {}}, {"set_weight": 50}]});
    let id = bench.enqueue("deploy", payload);
    bench.settle().await;
    bench.answer(&id, "approved").await;
    bench.fleet.meddle(&workload(), Side::Candidate, "v3");
    bench.answer(&id, "approved").await;
    bench.answer(&id, "rejected").await;
    let (status, report) = bench.report(&id);
    assert_eq!((status, report.verdict), (TaskStatus::Failed, Verdict::Failed));
    assert!(report.summary.contains("half out"), "{}", report.summary);
    assert_accounted_for(&report);
    assert_eq!(fact(&report, "Approved by"), "ada");
    // Nobody agreed.
    let bench = guarded();
    let id = bench.enqueue("deploy", overriding("canary"));
    bench.settle().await;
    bench.answer(&id, "rejected").await;
    let (_, report) = bench.report(&id);
    assert!(
        report.summary.contains("nothing was touched"),
        "{}",
        report.summary
    );
    assert_accounted_for(&report);
    assert!(report.facts.iter().all(|fact| fact.label != "Approved by"));
}

#[tokio::test]
async fn what_was_refused_shows_every_gate() {
    let bench = guarded();
    let (status, report) = bench.deploy(to("v2", "canary")).await;
    assert_eq!(status, TaskStatus::Failed);
    assert_eq!(
        fact(&report, "Gate no freeze"),
        "shut: Friday afternoon, until Sat 1970-01-03 00:00 UTC"
    );
    assert!(fact(&report, "Gate pipeline passed").starts_with("open: pipeline 7 passed"));
    // A yes that came too late is one all the same.
    let bench = Bench::new().with(|staging| {
        staging.as_object_mut().expect("an object").remove("freeze");
        staging["approval"] = json!({"required": true, "approvers": ["ada"], "within": "7d"});
    });
    let id = bench.enqueue("deploy", to("v2", "canary"));
    bench.settle().await;
    bench
        .world()
        .advance(std::time::Duration::from_secs(36 * 60 * 60));
    bench.answer(&id, "approved").await;
    let (_, report) = bench.report(&id);
    assert!(fact(&report, "Gate no freeze").starts_with("shut: Friday afternoon"));
    assert_eq!(fact(&report, "Approved by"), "ada");
}

#[tokio::test]
async fn a_dry_run_names_the_gate_that_would_stop_it() {
    let bench = guarded();
    let (status, report) = bench.deploy(dry(to("v2", "canary"))).await;
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Completed, Verdict::ActionNeeded)
    );
    assert!(
        report.summary.ends_with(
            "would take 18 steps and at least 15m6s, but it would be refused now: the gate \"no freeze\" is shut: \
             Friday afternoon, until Sat 1970-01-03 00:00 UTC"
        ),
        "{}",
        report.summary
    );
    assert!(report.next_steps[0].contains("override_freeze"), "{report:#?}");
    // With an override it is let through.
    let (_, report) = bench.deploy(dry(overriding("canary"))).await;
    assert_eq!(report.verdict, Verdict::Succeeded, "{report:#?}");
    // Of a group, too.
    let group = json!({"strategy": "group", "dry_run": true, "services": {"staging": {"version": "v2"}}});
    let (_, report) = bench.deploy(group).await;
    assert_eq!(report.verdict, Verdict::ActionNeeded);
    assert!(
        report
            .summary
            .contains("all would be refused now for staging: the gate \"no freeze\" is shut"),
        "{}",
        report.summary
    );
}
