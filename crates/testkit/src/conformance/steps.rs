use domain::{Error, Report, Staged, Verdict};
use durable::{JournalError, Recorded, StepKind};
use serde_json::json;

use super::{Bench, at};
use crate::backend::Backend;

/// Steps are recorded once, in order, with what they gave and what they remember.
pub async fn steps<B: Backend>(b: B) {
    let bench = Bench::new(b);
    let (lease, j) = (bench.running().await, &bench.journal);
    assert_eq!(j.history(&lease).await, Ok(vec![]));

    // Begun twice is begun once; done makes it done, twice changes nothing.
    let launch = at("run", 1, "launch");
    j.start(&lease, &launch).await.expect("start");
    j.start(&lease, &launch).await.expect("start again");
    let history = j.history(&lease).await.expect("history");
    assert_eq!(history.len(), 1);
    assert_eq!((history[0].kind, &history[0].outcome), (StepKind::Effect, &None));
    let staged = |sha: &str| Staged {
        memory: "flake".into(),
        record: json!({"repo_id": "r", "job": "j", "git_ref": "main", "sha": sha, "class": "c", "retried": true, "task_id": "t"}),
    };
    let first = Recorded::Ok(json!({"weight": 30, "deep": [null, "ü\u{1F600}"]}));
    j.done(&lease, &launch, StepKind::Effect, &first, vec![staged("1")])
        .await
        .expect("done");
    j.done(
        &lease,
        &launch,
        StepKind::Effect,
        &Recorded::Ok(json!("other")),
        vec![staged("2")],
    )
    .await
    .expect("a repeated done");
    j.start(&lease, &launch).await.expect("a late start");
    assert_eq!(
        j.history(&lease).await.expect("history")[0].outcome,
        Some(first.clone()),
        "the first outcome stays"
    );
    assert_eq!(
        bench.b.staged().await.len(),
        1,
        "what a step remembers commits with it, once"
    );

    // Without a start; an error is an outcome.
    let error = Error::rejected("the judge said no").next("Look at the chart");
    let judge = at("run", 0, "judge");
    j.done(
        &lease,
        &judge,
        StepKind::Step,
        &Recorded::Err(error.clone()),
        vec![],
    )
    .await
    .expect("done");
    // Scopes are apart, and each in order of its places.
    for (scope, seq, key) in [("run/left", 1, "b"), ("run/left", 0, "a"), ("unwind", 0, "cause")] {
        let ok = Recorded::Ok(json!(key));
        j.done(&lease, &at(scope, seq, key), StepKind::Step, &ok, vec![])
            .await
            .expect("done in a scope");
    }
    let history = j.history(&lease).await.expect("history");
    let of = |scope: &str| -> Vec<_> {
        let own = history.iter().filter(|record| record.at.scope == scope);
        let mut own: Vec<_> = own
            .map(|record| (record.at.seq, record.at.key.as_str()))
            .collect();
        own.sort_unstable();
        own
    };
    assert_eq!(of("run"), [(0, "judge"), (1, "launch")]);
    assert_eq!(of("run/left"), [(0, "a"), (1, "b")]);
    assert_eq!(of("unwind"), [(0, "cause")]);
    let judged = history
        .iter()
        .find(|record| record.at == judge)
        .expect("the judge's step");
    assert_eq!(
        judged.outcome,
        Some(Recorded::Err(error)),
        "an error comes back as it was"
    );

    // A place has one key.
    let other = at("run", 1, "land");
    let refused = j.start(&lease, &other).await;
    assert!(
        matches!(refused, Err(JournalError::Broken(_))),
        "two keys at one place: {refused:?}"
    );
    let refused = j.done(&lease, &other, StepKind::Step, &first, vec![]).await;
    assert!(
        matches!(refused, Err(JournalError::Broken(_))),
        "two keys at one place: {refused:?}"
    );

    // Telling is a step: twice tells once.
    let half = at("run", 2, "half");
    let report = Report::new(Verdict::Running, "half way");
    j.tell(&lease, &half, &report).await.expect("tell");
    j.tell(&lease, &half, &report).await.expect("tell again");
    assert_eq!(bench.b.told(&lease.task).await.len(), 1);

    // All of it is there for the next worker.
    let before = j.history(&lease).await.expect("history");
    let next = bench.b.take_over(&lease.task, "next").await.expect("take over");
    assert_eq!(j.history(&next.lease).await.expect("history"), before);
}
