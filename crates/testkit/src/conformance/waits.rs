use std::time::Duration;

use domain::{NewTask, TaskId};
use durable::{Heard, Outcome, Recorded, SignalState, TimerState, Wake};
use serde_json::{Value, json};

use super::{Bench, at, for_signal};
use crate::backend::Backend;

const MINUTE: Duration = Duration::from_secs(60);

/// Timers are absolute, signals are taken once, and no wake-up is lost.
pub async fn waits<B: Backend>(b: B) {
    let bench = Bench::new(b);
    timers(&bench).await;
    signals(&bench).await;
    limits(&bench).await;
    several(&bench).await;
    later(&bench).await;
}

async fn timers<B: Backend>(bench: &Bench<B>) {
    let (lease, j) = (bench.running().await, &bench.journal);
    let bake = at("run", 0, "bake");
    let TimerState::Until(until) = j.timer(&lease, &bake, 10 * MINUTE).await.expect("timer") else {
        panic!("ten minutes are not over");
    };
    bench.b.advance(4 * MINUTE).await;
    // A later attempt, even one that asks for longer, waits for the same moment.
    let next = bench
        .b
        .take_over(&lease.task, "next")
        .await
        .expect("take over")
        .lease;
    assert_eq!(
        j.timer(&next, &bake, 99 * MINUTE).await,
        Ok(TimerState::Until(until))
    );
    bench
        .settle(
            &next,
            Outcome::Park(Wake {
                at: Some(until),
                ..Wake::default()
            }),
        )
        .await;
    bench.b.advance(6 * MINUTE - Duration::from_secs(1)).await;
    bench.nothing_is_due().await;
    bench.b.advance(Duration::from_secs(1)).await;
    let woken = bench.claimed(&lease.task).await.lease;
    assert_eq!(j.timer(&woken, &bake, 10 * MINUTE).await, Ok(TimerState::Due));
    assert_eq!(
        j.timer(&woken, &bake, 10 * MINUTE).await,
        Ok(TimerState::Due),
        "done stays done"
    );
    assert_eq!(
        j.timer(&woken, &at("run", 1, "none"), Duration::ZERO).await,
        Ok(TimerState::Due)
    );
    assert_eq!(outcomes(bench, &woken.task).await, ["run/bake", "run/none"]);
    bench.end(&woken).await;
}

/// A new task may be for later.
async fn later<B: Backend>(bench: &Bench<B>) {
    let (lease, j) = (bench.running().await, &bench.journal);
    let timer = j.timer(&lease, &at("run", 0, "ten"), 10 * MINUTE).await;
    let TimerState::Until(until) = timer.expect("timer") else {
        panic!("ten minutes are not over");
    };
    bench.end(&lease).await;
    let new = NewTask {
        run_at: Some(until),
        ..NewTask::new("work", json!({}))
    };
    let id = bench.b.enqueue(new).await;
    bench.b.advance(10 * MINUTE - Duration::from_secs(1)).await;
    bench.nothing_is_due().await;
    bench.b.advance(Duration::from_secs(1)).await;
    let due = bench.claimed(&id).await.lease;
    bench.end(&due).await;
}

async fn signals<B: Backend>(bench: &Bench<B>) {
    let (lease, j) = (bench.running().await, &bench.journal);
    let waiting = Ok(SignalState::Waiting { until: None });
    // Sent before the wait; the oldest first, each once.
    bench.b.signal(&lease.task, "go", json!("first")).await;
    bench.b.signal(&lease.task, "go", json!("second")).await;
    bench.b.signal(&lease.task, "other", json!("other")).await;
    let go = at("run", 0, "go");
    assert_eq!(
        j.take_signal(&lease, &go, &[], None).await,
        Ok(SignalState::Received(json!("first")))
    );
    assert_eq!(
        j.take_signal(&lease, &go, &[], None).await,
        Ok(SignalState::Received(json!("first"))),
        "a repeated question gets the same answer and takes nothing"
    );
    assert_eq!(
        j.take_signal(&lease, &at("run/left", 0, "go"), &[], None).await,
        Ok(SignalState::Received(json!("second")))
    );
    assert_eq!(
        j.take_signal(&lease, &at("run/right", 0, "go"), &[], None).await,
        waiting
    );
    let history = j.history(&lease).await.expect("history");
    let first = history.iter().find(|record| record.at == go).expect("the wait");
    assert_eq!(first.outcome, Some(Recorded::Ok(json!("first"))));

    // Between the question and the parking.
    bench.b.signal(&lease.task, "go", json!("third")).await;
    bench.settle(&lease, for_signal("go")).await;
    let woken = bench.claimed(&lease.task).await.lease;
    assert_eq!(
        j.take_signal(&woken, &at("run/right", 0, "go"), &[], None).await,
        Ok(SignalState::Received(json!("third")))
    );
    // After it; another name wakes nobody.
    assert_eq!(
        j.take_signal(&woken, &at("run", 1, "late"), &[], None).await,
        waiting
    );
    bench.settle(&woken, for_signal("late")).await;
    bench.b.signal(&lease.task, "not-it", json!(0)).await;
    bench.nothing_is_due().await;
    bench.b.signal(&lease.task, "late", Value::Null).await;
    let woken = bench.claimed(&lease.task).await.lease;
    assert_eq!(
        j.take_signal(&woken, &at("run", 1, "late"), &[], None).await,
        Ok(SignalState::Received(Value::Null))
    );
    bench.end(&woken).await;
}

/// The oldest of several names counts, and the record says which one it was.
async fn several<B: Backend>(bench: &Bench<B>) {
    let (lease, j) = (bench.running().await, &bench.journal);
    let (one, two) = (at("run", 0, "answer"), at("run", 1, "answer again"));
    let others = ["newer"];
    assert_eq!(
        j.take_signal(&lease, &one, &others, None).await,
        Ok(SignalState::Waiting { until: None })
    );
    let both = Outcome::Park(Wake {
        signals: vec!["answer".to_owned(), "newer".to_owned()],
        ..Wake::default()
    });
    bench.settle(&lease, both).await;
    bench.nothing_is_due().await;
    bench.b.signal(&lease.task, "newer", json!(1)).await;
    let lease = bench.claimed(&lease.task).await.lease;
    bench.b.signal(&lease.task, "answer again", json!(2)).await;
    bench.b.signal(&lease.task, "newer", json!(3)).await;
    let heard = Ok(SignalState::Other(Heard {
        signal: "newer".to_owned(),
        value: json!(1),
    }));
    assert_eq!(j.take_signal(&lease, &one, &others, None).await, heard);
    assert_eq!(
        j.take_signal(&lease, &one, &others, None).await,
        heard,
        "a repeated question gets the same answer and takes nothing"
    );
    assert_eq!(
        j.take_signal(&lease, &two, &others, None).await,
        Ok(SignalState::Received(json!(2)))
    );
    assert_eq!(
        j.take_signal(&lease, &two, &others, None).await,
        Ok(SignalState::Received(json!(2)))
    );
    let three = at("run", 2, "never");
    assert!(matches!(
        j.take_signal(&lease, &three, &others, None).await,
        Ok(SignalState::Other(_))
    ));
    let four = at("run", 3, "over");
    let over = j.take_signal(&lease, &four, &others, Some(Duration::ZERO)).await;
    assert_eq!(over, Ok(SignalState::TimedOut));
    assert_eq!(
        j.take_signal(&lease, &four, &others, None).await,
        Ok(SignalState::TimedOut)
    );
    let records = j.history(&lease).await.expect("history");
    let recorded: Vec<_> = records.into_iter().filter_map(|record| record.outcome).collect();
    let said = |signal: &str, value: u32| Recorded::Ok(json!({"signal": signal, "value": value}));
    assert_eq!(
        recorded,
        [
            said("newer", 1),
            said("answer again", 2),
            said("newer", 3),
            Recorded::Ok(Value::Null)
        ]
    );
    bench.end(&lease).await;
}

async fn limits<B: Backend>(bench: &Bench<B>) {
    let (lease, j) = (bench.running().await, &bench.journal);
    let veto = at("run", 0, "veto");
    let Ok(SignalState::Waiting { until: Some(until) }) =
        j.take_signal(&lease, &veto, &[], Some(MINUTE)).await
    else {
        panic!("a limited wait says until when");
    };
    bench.b.advance(MINUTE / 2).await;
    assert_eq!(
        j.take_signal(&lease, &veto, &[], Some(9 * MINUTE)).await,
        Ok(SignalState::Waiting { until: Some(until) }),
        "the limit counts from the first question"
    );
    let wake = Wake {
        at: Some(until),
        signals: vec!["veto".into()],
        ..Wake::default()
    };
    bench.settle(&lease, Outcome::Park(wake)).await;
    bench.nothing_is_due().await;
    bench.b.advance(MINUTE / 2).await;
    let woken = bench.claimed(&lease.task).await.lease;
    assert_eq!(
        j.take_signal(&woken, &veto, &[], Some(MINUTE)).await,
        Ok(SignalState::TimedOut)
    );
    // Too late: the wait is over, the signal stays for the next.
    bench.b.signal(&lease.task, "veto", json!("late")).await;
    let history = j.history(&woken).await.expect("history");
    assert_eq!(history[0].outcome, Some(Recorded::Ok(Value::Null)));
    assert_eq!(
        j.take_signal(&woken, &at("run/next", 0, "veto"), &[], None).await,
        Ok(SignalState::Received(json!("late")))
    );
    bench.end(&woken).await;
}

async fn outcomes<B: Backend>(bench: &Bench<B>, task: &TaskId) -> Vec<String> {
    bench.b.one(task).await.done
}
