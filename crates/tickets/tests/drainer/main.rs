//! From the outbox to the ticket: whatever a drainer is killed in, one note for each marker stands at the end.

mod bench;
mod running;

use std::time::Duration;

use bench::{Bench, CrashAt, report};
use domain::{Error, Verdict};
use ports::fake::{Fault, TicketOp};

#[tokio::test]
async fn a_task_that_only_ends_has_one_note_and_its_result_says_where() {
    let bench = Bench::new().await;
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    assert_eq!(bench.ticket_state("t1").await, "pending");
    bench.drain().await;
    let notes = bench.notes();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].body.contains("it broke"), "{}", notes[0].body);
    assert_eq!(
        bench.ticket_state("t1").await,
        format!("posted {}", notes[0].url.as_deref().unwrap())
    );
}

#[tokio::test]
async fn progress_is_edited_in_place_and_the_end_calls_with_a_note_of_its_own() {
    let bench = Bench::new().await;
    bench.running("t1").await;
    bench
        .tell("t1", &report(Verdict::Running, "reading the log"))
        .await;
    bench.drain().await;
    bench.tell("t1", &report(Verdict::Waiting, "behind t0")).await;
    bench.drain().await;
    assert_eq!(bench.notes().len(), 1, "an edit calls nobody");
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    bench.tell("t1", &report(Verdict::Failed, "it broke")).await;
    bench.drain().await;
    let notes = bench.notes();
    assert_eq!(notes.len(), 2, "the same moment told twice is one note");
    assert!(
        notes[0].body.contains("it broke") && notes[0].body.contains("reading the log"),
        "{}",
        notes[0].body
    );
    assert!(notes[0].body.trim_end().ends_with("kind=living -->"));
    assert!(notes[1].body.trim_end().ends_with("kind=moment:1 -->"));
    assert!(bench.ticket_state("t1").await.starts_with("posted"));
}

#[tokio::test]
async fn what_was_told_before_the_first_post_needs_no_second_note() {
    let bench = Bench::new().await;
    bench.running("t1").await;
    bench
        .tell("t1", &report(Verdict::Running, "reading the log"))
        .await;
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    bench.drain().await;
    assert_eq!(bench.notes().len(), 1);
}

/// Every call of the outbox and of the far side is a place to die, before it and after it.
#[tokio::test]
async fn killed_at_every_point_once_and_twice_one_note_stands() {
    let bench = Bench::new().await;
    let points = bench.points().await;
    assert!(points >= 12, "only {points} places to die were seen");
    for first in 0..points {
        for (nth, second) in [None, Some(0), Some(3), Some(first)].into_iter().enumerate() {
            let id = format!("k{first}-{nth}");
            bench.fresh_ticket();
            bench.end(&id, &report(Verdict::Failed, "it broke")).await;
            bench.crash(CrashAt(first)).await;
            if let Some(second) = second {
                bench.crash(CrashAt(second)).await;
            }
            bench.drain().await;
            let notes = bench.notes();
            assert_eq!(notes.len(), 1, "killed at {first} and {second:?}: {notes:#?}");
            assert!(
                bench.ticket_state(&id).await.starts_with("posted"),
                "killed at {first} and {second:?}"
            );
        }
    }
}

/// A process that was stopped, or a machine that slept: what it was about to do has been done by others since.
#[tokio::test]
async fn stalled_at_any_point_until_others_have_done_it_a_drainer_writes_nothing_more() {
    let bench = Bench::new().await;
    let points = bench.points().await;
    for point in 0..2 * points {
        let id = format!("s{point}");
        bench.fresh_ticket();
        bench.running(&id).await;
        bench
            .tell(&id, &report(Verdict::Running, "reading the log"))
            .await;
        // An odd one has a note already, which is edited.
        if point % 2 == 1 {
            bench.drain().await;
        }
        bench.end(&id, &report(Verdict::Failed, "it broke")).await;
        let later = bench.stall(CrashAt(point / 2)).await;
        assert!(later.is_empty(), "stalled at {point}: {later:?}");
        bench.drain().await;
        let notes = bench.notes();
        assert_eq!(notes.len(), 1 + point % 2, "stalled at {point}: {notes:#?}");
        assert!(
            notes[0].body.contains("it broke"),
            "stalled at {point}: {}",
            notes[0].body
        );
    }
}

#[tokio::test]
async fn two_drainers_at_once_write_one_note_for_each_task() {
    let bench = Bench::new().await;
    for i in 0..20 {
        bench
            .end(
                &format!("t{i}"),
                &report(Verdict::Failed, &format!("task {i} broke")),
            )
            .await;
    }
    let (a, b) = (bench.drainer(), bench.drainer());
    for _ in 0..20 {
        let (a, b) = tokio::join!(a.drain_once(), b.drain_once());
        if a.unwrap() + b.unwrap() == 0 {
            break;
        }
    }
    // What a busy machine did not get written in time is due again later.
    bench.drain().await;
    assert_eq!(bench.notes().len(), 20);
}

#[tokio::test]
async fn an_answer_that_never_came_is_looked_for_before_a_second_note_is_written() {
    for fault in [
        Fault::DoThenTimeout,
        Fault::DoThenHang,
        Fault::Hang,
        Fault::Fail(Error::timeout("cut")),
    ] {
        let bench = Bench::new().await;
        bench.end("t1", &report(Verdict::Failed, "it broke")).await;
        bench.tickets.faults().next(TicketOp::CreateNote, fault.clone());
        bench.drain_now().await;
        let creates = bench.creates();
        bench.drain_now().await;
        assert_eq!(
            bench.creates(),
            creates,
            "{fault:?}: not before the far side has forgotten the first"
        );
        bench.drain().await;
        assert_eq!(bench.notes().len(), 1, "{fault:?}");
        assert!(bench.ticket_state("t1").await.starts_with("posted"), "{fault:?}");
    }
}

#[tokio::test]
async fn a_host_that_asks_to_wait_is_left_alone_so_long_and_others_are_not() {
    let bench = Bench::new().await;
    let other = bench.other_host();
    bench.tickets.faults().next(
        TicketOp::CreateNote,
        Fault::Fail(Error::rate_limited("slow down", Some(Duration::from_secs(60)))),
    );
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    bench.drain_now().await;
    bench.end("t2", &report(Verdict::Failed, "it broke too")).await;
    bench
        .end_at("t3", &other, &report(Verdict::Failed, "elsewhere"))
        .await;
    bench.drain_now().await;
    assert_eq!(bench.notes().len(), 0, "the host asked for a minute");
    assert_eq!(bench.tickets.notes(&other).len(), 1);
    bench.clock.advance(Duration::from_secs(59)).await;
    bench.drain_now().await;
    assert_eq!(bench.notes().len(), 0);
    bench.clock.advance(Duration::from_secs(2)).await;
    bench.drain_now().await;
    assert_eq!(bench.notes().len(), 2);
}

#[tokio::test]
async fn a_ticket_that_takes_no_notes_is_an_error_in_the_result_and_not_a_lost_result() {
    type Break = fn(&Bench);
    let breaks: [(&str, Break); 3] = [
        ("deleted", |b| b.tickets.delete_ticket(&b.at)),
        ("locked", |b| b.tickets.alter(&b.at, |t| t.locked = true)),
        ("denied", |b| b.tickets.deny_writes()),
    ];
    for (how, break_it) in breaks {
        let bench = Bench::new().await;
        break_it(&bench);
        bench.end("t1", &report(Verdict::Failed, "it broke")).await;
        let before = bench.result_but_ticket("t1").await;
        bench.drain().await;
        let state = bench.ticket_state("t1").await;
        assert!(
            state.starts_with("failed the comment on issue 12 of shop/web could not be written"),
            "{how}: {state}"
        );
        assert_eq!(bench.result_but_ticket("t1").await, before, "{how}");
    }
    let bench = Bench::new().await;
    bench
        .tickets
        .alter(&bench.at, |t| t.state = ports::TicketState::Closed);
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    bench.drain().await;
    assert_eq!(bench.notes().len(), 1, "a closed ticket still takes notes");
}

#[tokio::test]
async fn a_note_that_a_person_deleted_is_not_fought_for() {
    let bench = Bench::new().await;
    bench.running("t1").await;
    bench.tell("t1", &report(Verdict::Running, "one")).await;
    bench.drain().await;
    ports::Tickets::delete_note(&bench.tickets, &bench.at, bench.notes()[0].id)
        .await
        .unwrap();
    bench.tell("t1", &report(Verdict::Running, "two")).await;
    bench.drain().await;
    assert_eq!(bench.notes().len(), 0, "progress does not bring it back");
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    bench.drain().await;
    assert_eq!(bench.notes().len(), 1, "the next moment has a note of its own");
    assert!(bench.ticket_state("t1").await.starts_with("posted https://"));
}

#[tokio::test]
async fn the_sweep_removes_a_duplicate_and_keeps_the_lowest() {
    let bench = Bench::new().await;
    bench.end("t1", &report(Verdict::Failed, "it broke")).await;
    bench
        .tickets
        .faults()
        .next(TicketOp::CreateNote, Fault::DoThenTimeout);
    bench.drain_now().await;
    let first = bench.notes()[0].clone();
    // The list does not show it yet, so a second one is written.
    bench.hide_notes_once();
    bench.wait_out_doubt().await;
    assert_eq!(bench.notes().len(), 2);
    bench.drain().await;
    bench.clock.advance(Duration::from_secs(11 * 60)).await;
    bench.drain().await;
    let left = bench.notes();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, first.id);
    let state = bench.ticket_state("t1").await;
    assert_eq!(state, format!("posted {}", first.url.unwrap()));
}

#[tokio::test]
async fn labels_follow_the_verdict_and_the_report() {
    let bench = Bench::new().await;
    bench.running("t1").await;
    bench.tell("t1", &report(Verdict::Running, "reading")).await;
    bench.drain().await;
    assert_eq!(bench.tickets.labels(&bench.at), ["theirs", "ops::running"]);
    let mut end = report(Verdict::Failed, "it broke");
    end.labels.add = vec!["flaky".to_owned()];
    bench.end("t1", &end).await;
    bench.drain().await;
    assert_eq!(
        bench.tickets.labels(&bench.at),
        ["theirs", "flaky", "ops::failed"]
    );
}

#[tokio::test]
async fn no_secret_reaches_a_note() {
    let bench = Bench::new().await;
    let token = format!("{}-{}", "glpat", "x1Y2".repeat(6));
    let mut said = report(Verdict::Failed, &format!("could not push with {token}"));
    said.data = serde_json::json!({"password": "hunter2", "log": token});
    bench.tell("t1", &said).await;
    bench.drain().await;
    assert!(
        bench.notes()[0].body.contains("redacted: gitlab token"),
        "{}",
        bench.notes()[0].body
    );
    let stored = bench
        .db
        .value("SELECT string_agg(o::text, ' ') FROM longshore.ticket_outbox o")
        .await
        .unwrap();
    assert!(
        !stored.contains(&token) && !stored.contains("hunter2"),
        "{stored}"
    );
}

#[tokio::test]
async fn labels_that_may_not_be_changed_do_not_unsay_the_comment() {
    let bench = Bench::new().await;
    bench.tickets.faults().next(
        TicketOp::ChangeLabels,
        Fault::Fail(Error::denied("could not change the labels")),
    );
    let mut report = report(Verdict::Failed, "it broke");
    report.labels.add.push("flaky".to_owned());
    bench.end("t1", &report).await;
    bench.drain().await;
    assert_eq!(bench.notes().len(), 1);
    let state = bench.ticket_state("t1").await;
    assert!(
        state.contains("is written, but its labels could not be changed")
            && !state.contains("could not be written"),
        "{state}"
    );
}

#[tokio::test]
async fn an_absurd_wait_is_kept_within_reason() {
    for asked in [Duration::ZERO, Duration::from_secs(20 * 365 * 24 * 3600)] {
        let bench = Bench::new().await;
        bench.tickets.faults().next(
            TicketOp::CreateNote,
            Fault::Fail(Error::rate_limited("slow down", Some(asked))),
        );
        bench.end("t1", &report(Verdict::Failed, "it broke")).await;
        bench.drain_now().await;
        let creates = bench.creates();
        bench.drain_now().await;
        assert_eq!(bench.creates(), creates, "not at once again");
        bench.clock.advance(Duration::from_secs(3601)).await;
        bench.drain().await;
        assert_eq!(bench.notes().len(), 1, "after {asked:?}");
    }
}
