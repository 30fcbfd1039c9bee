//! Several claim at once.

use std::collections::HashSet;
use std::time::Duration;

use store::Beat;
use testkit::postgres;

use crate::common::{LONG, claim, register};

#[tokio::test]
async fn a_claim_does_not_wait_for_rows_that_others_hold() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, priority) VALUES
         ('held', 'deploy', 'devops', 10), ('free', 'deploy', 'devops', 1), ('held too', 'deploy', NULL, 10), ('anyones', 'deploy', NULL, 1)",
    )
    .await;
    let mut other = db.session().await;
    other
        .sql("BEGIN; SELECT FROM tasks WHERE id IN ('held', 'held too') FOR UPDATE")
        .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let claim = claim("w", 4);
    let claimed = tokio::time::timeout(Duration::from_secs(10), store.claim(&claim))
        .await
        .expect("it does not wait")
        .expect("claim");
    let mut ids: Vec<&str> = claimed.iter().map(|c| c.info.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["anyones", "free"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_several_claim_at_once_each_has_alone() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (task_type, assigned_to) SELECT 'deploy', 'devops' FROM generate_series(1, 150);
         INSERT INTO tasks (task_type) SELECT 'fix_build' FROM generate_series(1, 150)",
    )
    .await;
    let mut workers = Vec::new();
    for n in 0..4 {
        let store = db.worker_store().await;
        workers.push(tokio::spawn(async move {
            let name = format!("worker {n}");
            register(&store, &name, LONG).await;
            let (claim, mut mine, mut empty) = (claim(&name, 3), Vec::new(), 0);
            // Rows that a rival looks at are passed over, so one empty answer is not the end.
            while empty < 20 {
                let claimed = store.claim(&claim).await.expect("claim");
                empty = if claimed.is_empty() { empty + 1 } else { 0 };
                mine.extend(claimed.into_iter().map(|c| (c.info.id, c.lease.attempt)));
            }
            mine
        }));
    }
    let (mut seen, mut all) = (HashSet::new(), 0);
    for worker in workers {
        for (id, attempt) in worker.await.expect("a worker") {
            assert_eq!(attempt, 1, "{id} was taken from somebody alive");
            assert!(seen.insert(id), "two have the same task");
            all += 1;
        }
    }
    assert_eq!(all, 300);
}

#[tokio::test]
async fn the_most_urgent_comes_first_whether_it_is_assigned_or_anyones() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, priority, created_at) VALUES
         ('a', 'deploy', 'devops', 10, '2026-01-01'), ('b', 'fix_build', NULL, 9, '2026-01-01'),
         ('c', 'deploy', 'devops', 8, '2026-01-02'), ('d', 'deploy', NULL, 8, '2026-01-03'), ('e', 'knit', 'devops', 7, '2026-01-01')",
    )
    .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let mut order = Vec::new();
    while let Some(claimed) = store.claim(&claim("w", 1)).await.expect("claim").pop() {
        order.push(claimed.info.id.to_string());
    }
    assert_eq!(order, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_not_prolonged_and_claims_nothing() {
    let db = postgres::database().await;
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('t', 'deploy', 'devops'), ('u', 'deploy', 'devops')")
        .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let first = store.claim(&claim("w", 1)).await.expect("claim");
    let leases = [first.first().expect("a task").lease.clone()];
    let alive = Beat::Alive {
        cancelled: vec![],
        lost: vec![],
    };
    assert_eq!(store.heartbeat("w", LONG, &leases).await.expect("beat"), alive);
    db.sql("UPDATE longshore.workers SET lease_until = clock_timestamp()")
        .await;
    assert_eq!(
        store.heartbeat("w", LONG, &leases).await.expect("beat"),
        Beat::Expired
    );
    assert!(store.claim(&claim("w", 1)).await.expect("claim").is_empty());
    register(&store, "v", LONG).await;
    let taken = store.claim(&claim("v", 2)).await.expect("claim");
    assert_eq!(taken.len(), 2, "another goes on with both");
}
