//! What the shipped program began goes on: its journals, as it wrote them.

use std::sync::Arc;

use domain::{TaskStatus, Verdict};
use durable::{Journal, Outcome, Recorded, StepKind, StepRef, Wake};
use ports::Share;
use ports::fake::FleetEffect;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::bench::{Bench, route, runs, task, workload};
use crate::verifying::fact;

/// A canary that was judged bad and took itself back, by version 2 of the handler.
const CANARY_TAKEN_BACK: &str = include_str!("shipped/canary_taken_back.jsonl");
/// A rollback, by version 1.
const ROLLBACK: &str = include_str!("shipped/rollback.jsonl");

#[derive(Deserialize)]
struct Line {
    scope: String,
    seq: i32,
    key: String,
    kind: String,
    outcome: Option<Recorded>,
}

fn lines(journal: &str) -> Vec<Line> {
    let read = |line: &str| serde_json::from_str(line).expect("a line of a journal");
    journal.lines().map(read).collect()
}

/// Lets a task go on whose first steps another program did; the answer is every step that it has then.
async fn goes_on(
    bench: &Bench,
    task_type: &str,
    payload: Value,
    done: &[Line],
) -> (domain::TaskId, Vec<String>) {
    let world = bench.world();
    let id = world.enqueue(task(task_type, payload));
    let claimed = world.claim("shipped").expect("it is due");
    let journal: Arc<dyn Journal> = Arc::new(world.clone());
    for line in done {
        let at = StepRef {
            scope: line.scope.clone(),
            seq: line.seq,
            key: line.key.clone(),
        };
        let kind = StepKind::parse(&line.kind).expect("a kind of step");
        let outcome = line.outcome.as_ref().expect("each was done");
        let written = journal.done(&claimed.lease, &at, kind, outcome, Vec::new()).await;
        assert_eq!(written, Ok(()), "{}", line.key);
    }
    let now = Wake {
        at: Some(world.now()),
        ..Wake::default()
    };
    world.settle(&claimed.lease, Outcome::Park(now));
    bench.settle().await;
    let view = world.view(&id).expect("the task");
    assert_eq!(view.held, None, "it can be followed");
    (id, view.done)
}

const TOLD: &str =
    "v1 serves again; the task was begun by an older version of the program, which measured nothing of it";

#[tokio::test]
async fn a_canary_that_the_shipped_program_took_back_ends_in_its_steps() {
    let payload = json!({"version": "v2", "environment": "staging", "strategy": "canary",
        "steps": [{"set_weight": 20}, {"pause": "30s"}, {"analyse": {}}]});
    let journal = lines(CANARY_TAKEN_BACK);
    let bench = Bench::new().bad();
    let (id, done) = goes_on(&bench, "deploy", payload.clone(), &journal).await;
    let (its_own, added) = done.split_at(journal.len());
    let keys: Vec<String> = journal
        .iter()
        .map(|line| format!("{}/{}", line.scope, line.key))
        .collect();
    assert_eq!(its_own, keys);
    assert_eq!(
        added,
        ["unwind/post-mortem", "unwind/compared-with/1"],
        "what is only told"
    );
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::RolledBack)
    );
    assert_eq!(fact(&report, "Not verified"), TOLD);
    assert_eq!(bench.fleet.effects(), []);

    // Killed before it took anything back.
    let bench = Bench::new().bad();
    bench.fleet.meddle(&workload(), ports::Side::Candidate, "v2");
    bench.router.meddle(&route(), Share { part: 20, of: 100 });
    let run: Vec<Line> = lines(CANARY_TAKEN_BACK)
        .into_iter()
        .filter(|line| line.scope == "run")
        .collect();
    let (id, done) = goes_on(&bench, "deploy", payload, &run).await;
    let (status, report) = bench.report(&id);
    assert_eq!(
        (status, report.verdict),
        (TaskStatus::Failed, Verdict::RolledBack)
    );
    assert_eq!(fact(&report, "Not verified"), TOLD);
    assert_eq!((bench.shares(), bench.stands()), (vec![0.0], runs("v1")));
    assert!(done.len() > run.len() && done.iter().all(|step| !step.contains("verify")));
}

#[tokio::test]
async fn a_rollback_that_the_shipped_program_began_ends_in_its_steps() {
    let payload = json!({"environment": "staging", "reason": "slow"});
    // To its end, and killed before it touched anything.
    let undone = vec![FleetEffect::Undone("v1".to_owned())];
    for (steps, effects) in [(lines(ROLLBACK).len(), vec![]), (7, undone)] {
        let mut journal = lines(ROLLBACK);
        journal.truncate(steps);
        let bench = Bench::new();
        bench.fleet.add_running(&workload(), &["v0", "v1", "v2"], 4);
        let (id, done) = goes_on(&bench, "rollback", payload.clone(), &journal).await;
        let keys: Vec<String> = lines(ROLLBACK)
            .iter()
            .map(|line| format!("{}/{}", line.scope, line.key))
            .collect();
        assert_eq!(done, keys, "its steps and no other");
        let (status, report) = bench.report(&id);
        assert_eq!(
            (status, report.verdict),
            (TaskStatus::Completed, Verdict::RolledBack),
            "{report:#?}"
        );
        assert_eq!(fact(&report, "Not verified"), TOLD);
        assert_eq!(bench.fleet.effects(), effects);
    }
}
