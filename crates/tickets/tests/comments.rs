//! The comments as people read them.

use chrono::{DateTime, Duration, Utc};
use domain::{Evidence, FollowOn, Report, TaskId, Verdict};
use store::outbox::Earlier;
use tickets::render::{Subject, living, moment};

const LIMIT: usize = 1_000_000;

fn at() -> DateTime<Utc> {
    "2026-01-29T16:28:00Z".parse().unwrap()
}

fn note(report: &Report, history: &[Earlier]) -> String {
    let task = TaskId::from("018f3c2e-7b1a-7cc4-9f53-2d0c6f1a5b7e");
    living(
        &Subject {
            task: &task,
            report,
            history,
            at: at(),
        },
        LIMIT,
    )
}

fn earlier(minutes: i64, verdict: Verdict, summary: &str) -> Earlier {
    Earlier {
        at: at() - Duration::minutes(minutes),
        verdict,
        summary: summary.to_owned(),
    }
}

fn failed_build() -> Report {
    let mut report = Report::new(
        Verdict::ActionNeeded,
        "Pipeline 4711 failed: `src/cart.rs` does not compile",
    )
    .linked_fact(
        "Pipeline",
        "4711 on feature/checkout",
        "https://git.example.com/shop/web/-/pipelines/4711",
    )
    .linked_fact(
        "Job",
        "unit-tests (stage test)",
        "https://git.example.com/shop/web/-/jobs/991",
    )
    .fact("Class", "compile_error (confidence 0.97)")
    .fact("Exit code", "101")
    .why("The compiler stopped at the first type error, and no test was run after it.")
    .next_step("Correct the type of `total` in `src/cart.rs`, line 88; the follow-on task is on it.")
    .who("builder");
    report.version = Some("9fceb02d0ae5".into());
    report.evidence.push(Evidence {
        title: "Log of unit-tests".into(),
        text: [
            "   Compiling shop-web v1.4.2 (/builds/shop/web)",
            "error[E0308]: mismatched types",
            "  --> src/cart.rs:88:17",
            "   |",
            "88 |     let total: u32 = sum(&items);",
            "   |                ---   ^^^^^^^^^^^ expected `u32`, found `u64`",
            "error: could not compile `shop-web` (lib) due to 1 previous error",
        ]
        .join("\n"),
        first_line: Some(408),
        deciding_line: Some(409),
        link: Some("https://git.example.com/shop/web/-/jobs/991#L409".into()),
    });
    report.follow_ons.push(FollowOn {
        task_id: "018f3c31-0001-7000-8000-000000000001".into(),
        task_type: "implement_fix".into(),
        agent: Some("builder".into()),
        why: "correct the compile error".into(),
    });
    report
}

#[test]
fn a_failed_build() {
    let history = [
        earlier(
            2,
            Verdict::Waiting,
            "Pending, behind task 018f3c2d-aaaa-7000-8000-00000000000a",
        ),
        earlier(1, Verdict::Running, "Reading the log of job unit-tests"),
    ];
    insta::assert_snapshot!(note(&failed_build(), &history));
}

#[test]
fn a_flaky_build_that_was_retried() {
    let report = Report::new(
        Verdict::Succeeded,
        "Job e2e failed by a flaky test and was retried; the retry passed",
    )
    .linked_fact(
        "Job",
        "e2e (stage test)",
        "https://git.example.com/shop/web/-/jobs/992",
    )
    .fact("Class", "flaky_test (confidence 0.88)")
    .fact(
        "Retries",
        "1 of 2 for pipeline 4711; 3 of 20 for the repository today",
    )
    .why("test_checkout_timeout failed in 4 of the last 50 runs and passed on the same commit each time.")
    .next_step("Nothing now. At the fifth time the test is due for repair.");
    insta::assert_snapshot!(note(&report, &[]));
}

#[test]
fn pending_behind_another_task() {
    let mut report = Report::new(
        Verdict::Waiting,
        "Pending, behind task 018f3c2d-aaaa-7000-8000-00000000000a",
    );
    report.environment = Some("production".into());
    report.version = Some("v1.4.2".into());
    insta::assert_snapshot!(note(&report, &[]));
}

#[test]
fn an_approval_is_needed() {
    let mut report = Report::new(
        Verdict::NeedsApproval,
        "The canary is healthy at 50 %; taking all traffic needs an approval",
    )
    .fact("Error rate", "0.12 % (stable 0.13 %)")
    .fact("Latency p95", "212 ms (stable 219 ms)")
    .who("release manager")
    .next_step("To go on: `longshore tasks approve 018f3c2e-7b1a-7cc4-9f53-2d0c6f1a5b7e`")
    .next_step("To go back: `longshore tasks cancel 018f3c2e-7b1a-7cc4-9f53-2d0c6f1a5b7e`");
    report.environment = Some("production".into());
    report.version = Some("v1.4.2".into());
    let history = [
        earlier(30, Verdict::Running, "Canary at 10 %"),
        earlier(15, Verdict::Running, "Canary at 50 %"),
    ];
    insta::assert_snapshot!(note(&report, &history));
}

#[test]
fn held_for_a_person() {
    let report = Report::new(Verdict::Held, "Held: it is not known whether job 991 was retried")
        .who("a person who knows the system")
        .next_step("Look whether job 991 runs again, then let it go on with `longshore tasks retry 018f3c2e`")
        .next_step("Or undo what was done with `longshore tasks cancel 018f3c2e`");
    insta::assert_snapshot!(note(&report, &[]));
}

#[test]
fn an_instruction_that_is_not_understood() {
    let report = Report::new(
        Verdict::Failed,
        "The instruction \"please ship it @everyone\" was not understood: which version, and to which environment?",
    )
    .who("pm")
    .next_step("`deploy VERSION to ENV [with STRATEGY]`, as in `deploy v1.4.2 to staging with canary`")
    .next_step("`rollback ENV [to VERSION]`, as in `rollback production to v1.4.1`")
    .next_step("`fix pipeline ID`, as in `fix pipeline 4711`")
    .next_step("`retry job ID`, as in `retry job 991`");
    insta::assert_snapshot!(note(&report, &[]));
}

#[test]
fn cancelled() {
    let mut report = Report::new(
        Verdict::Cancelled,
        "Cancelled on request; the canary was taken down",
    );
    report.environment = Some("staging".into());
    report.version = Some("v1.4.2".into());
    insta::assert_snapshot!(note(&report, &[earlier(4, Verdict::Running, "Canary at 10 %")]));
}

#[test]
fn the_note_that_calls_a_person() {
    let task = TaskId::from("018f3c2e-7b1a-7cc4-9f53-2d0c6f1a5b7e");
    let report = failed_build();
    let subject = Subject {
        task: &task,
        report: &report,
        history: &[],
        at: at(),
    };
    insta::assert_snapshot!(moment(
        &subject,
        1,
        Some("https://git.example.com/shop/web/-/issues/12#note_77"),
        LIMIT
    ));
}

#[test]
fn a_long_log_is_cut_around_the_deciding_line_and_says_so() {
    let mut report = Report::new(Verdict::Failed, "Too long a log");
    report.evidence.push(Evidence {
        title: "Log".into(),
        text: (1..=500)
            .map(|n| format!("line number {n} ``` of the log"))
            .collect::<Vec<_>>()
            .join("\n"),
        first_line: Some(1),
        deciding_line: Some(300),
        link: None,
    });
    let task = TaskId::from("t-1");
    let subject = Subject {
        task: &task,
        report: &report,
        history: &[],
        at: at(),
    };
    insta::assert_snapshot!(living(&subject, 900));
}
