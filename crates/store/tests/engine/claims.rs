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
    let claimed = tokio::time::timeout(
        Duration::from_secs(10),
        store.claim(&claim, &store::Taken::default()),
    )
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
                let claimed = store
                    .claim(&claim, &store::Taken::default())
                    .await
                    .expect("claim");
                empty = if claimed.is_empty() { empty + 1 } else { 0 };
                mine.extend(claimed.into_iter().map(|c| (c.info.id.clone(), c.lease.attempt)));
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
    while let Some(claimed) = store
        .claim(&claim("w", 1), &store::Taken::default())
        .await
        .expect("claim")
        .pop()
    {
        order.push(claimed.info.id.to_string());
    }
    assert_eq!(order, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn as_many_of_the_oldest_as_asked_for_are_taken_whatever_their_priority() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, priority, created_at, run_at)
         VALUES ('oldest', 'deploy', 'devops', 1, '2026-01-01', '2026-01-01'),
                ('old, anyones', 'fix_build', NULL, 2, '2026-01-02', '2026-01-02'),
                ('theirs', 'knit', NULL, 1, '2025-01-01', '2025-01-01'),
                ('not yet', 'deploy', 'devops', 1, '2025-01-01', 'infinity'),
                ('old', 'deploy', 'devops', 2, '2026-01-03', '2026-01-03');
         INSERT INTO tasks (id, task_type, assigned_to, priority, created_at, run_at)
         SELECT 'ten ' || i, 'deploy', 'devops', 10, '2026-02-01', '2026-02-01' FROM generate_series(1, 20) i",
    )
    .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let mut claim = claim("w", 4);
    for (oldest, expected) in [
        (0, &[][..]),
        (2, &["old, anyones", "oldest"]),
        (4, &["old"]),
        (0, &[]),
    ] {
        claim.oldest = oldest;
        let claimed = store
            .claim(&claim, &store::Taken::default())
            .await
            .expect("claim");
        assert_eq!(claimed.len(), 4, "{oldest}: all slots are used");
        let mut aged: Vec<&str> = claimed.iter().map(|c| c.info.id.as_str()).collect();
        aged.retain(|id| !id.starts_with("ten"));
        aged.sort_unstable();
        assert_eq!(aged, expected, "{oldest}");
    }
}

#[tokio::test]
async fn an_oldest_row_that_is_held_keeps_the_next_oldest_from_nobody() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, priority, created_at, run_at)
         VALUES ('oldest', 'deploy', 'devops', 1, '2026-01-01', '2026-01-01'),
                ('old', 'deploy', 'devops', 1, '2026-01-02', '2026-01-02'),
                ('ten', 'deploy', 'devops', 10, '2026-01-03', '2026-01-03')",
    )
    .await;
    let mut other = db.session().await;
    other
        .sql("BEGIN; UPDATE tasks SET assigned_to = 'builder' WHERE id = 'oldest'")
        .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let mut claim = claim("w", 1);
    claim.oldest = 1;
    let claimed = store
        .claim(&claim, &store::Taken::default())
        .await
        .expect("claim");
    assert_eq!(claimed[0].info.id.as_str(), "old");
    other.sql("COMMIT").await;
    claim.limit = 9;
    let claimed = store
        .claim(&claim, &store::Taken::default())
        .await
        .expect("claim");
    let ids: Vec<&str> = claimed.iter().map(|c| c.info.id.as_str()).collect();
    assert_eq!(ids, ["ten"], "what went to somebody else is theirs");
}

#[tokio::test]
async fn a_lease_that_ran_out_is_not_prolonged_and_claims_nothing() {
    let db = postgres::database().await;
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('t', 'deploy', 'devops'), ('u', 'deploy', 'devops')")
        .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let first = store
        .claim(&claim("w", 1), &store::Taken::default())
        .await
        .expect("claim");
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
    assert!(
        store
            .claim(&claim("w", 1), &store::Taken::default())
            .await
            .expect("claim")
            .is_empty()
    );
    register(&store, "v", LONG).await;
    let taken = store
        .claim(&claim("v", 2), &store::Taken::default())
        .await
        .expect("claim");
    assert_eq!(taken.len(), 2, "another goes on with both");
}

#[tokio::test]
async fn a_cancel_that_comes_while_an_abandoned_task_is_taken_over_is_not_lost() {
    let db = postgres::database().await;
    // The claim stands still between its snapshot and the locking of rows, for as long as a lock is held.
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, worker_id, attempt, handler_version)
         VALUES ('t', 'deploy', 'devops', 'in_progress', 'gone', 1, 1);
         ALTER TABLE longshore.workers RENAME TO workers_beneath;
         CREATE FUNCTION longshore.stand_still() RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN true; END $$;
         CREATE VIEW longshore.workers AS SELECT * FROM longshore.workers_beneath WHERE longshore.stand_still();
         INSERT INTO longshore.workers_beneath (id, host, pid, agents, serves, lease_until)
         VALUES ('w', 'here', 1, '{devops}', '{deploy/1}', clock_timestamp() + interval '1 hour'),
                ('gone', 'there', 1, '{devops}', '{deploy/1}', '-infinity')",
    )
    .await;
    db.claimed().await;
    let store = db.worker_store().await;
    let mut gate = db.session().await;
    gate.sql("SELECT pg_advisory_lock(4711)").await;
    let claiming = tokio::spawn(async move { store.claim(&claim("w", 1), &store::Taken::default()).await });
    let stands_still = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    let waits = async {
        while db.value(stands_still).await.as_deref() != Some("1") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waits)
        .await
        .expect("the claim stands still");
    db.sql("UPDATE tasks SET status = 'cancelled' WHERE id = 't'")
        .await;
    gate.sql("SELECT pg_advisory_unlock(4711)").await;
    let taken = claiming.await.expect("no panic").expect("claim");
    assert_eq!(
        db.value("SELECT status FROM tasks").await.as_deref(),
        Some("cancelled")
    );
    assert!(
        taken.iter().all(|task| task.cancelled),
        "it is taken to be unwound"
    );
}

#[tokio::test]
async fn a_started_task_that_was_put_back_is_left_to_those_who_serve_its_version() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, claimed_at, handler_version)
         VALUES ('begun', 'deploy', 'devops', 'in_progress', longshore.utc_now() - interval '3 hours', 7),
                ('not begun', 'deploy', 'devops', 'in_progress', longshore.utc_now() - interval '3 hours', 7);
         INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, attempt) VALUES ('begun', 'run', 0, 'k', 'step', 1)",
    )
    .await;
    let store = db.worker_store().await;
    let reset = store.reset_stale(Duration::from_secs(3600)).await.expect("reset");
    assert_eq!(reset.len(), 2);
    register(&store, "w", LONG).await;
    let ids = |claimed: Vec<store::Claimed>| -> Vec<String> {
        claimed.into_iter().map(|c| c.info.id.to_string()).collect()
    };
    let first = store
        .claim(&claim("w", 4), &store::Taken::default())
        .await
        .expect("claim");
    assert_eq!(
        ids(first),
        ["not begun"],
        "nothing is recorded of it: any version may start it"
    );
    let mut newer = claim("w", 4);
    newer.served.iter_mut().for_each(|served| served.resumes.push(7));
    assert_eq!(
        ids(store
            .claim(&newer, &store::Taken::default())
            .await
            .expect("claim")),
        ["begun"]
    );
}

#[tokio::test]
async fn of_new_tasks_those_are_taken_that_are_pending_and_ours() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, priority, status, run_at) VALUES
         ('ours', 'deploy', 'devops', 5, 'pending', now()), ('urgent', 'deploy', 'devops', 9, 'pending', now()),
         ('anyones', 'fix_build', NULL, 8, 'pending', now()), ('not named', 'deploy', 'devops', 10, 'pending', now()),
         ('theirs', 'deploy', 'builder', 10, 'pending', now()), ('strange', 'knit', NULL, 10, 'pending', now()),
         ('begun', 'deploy', 'devops', 10, 'in_progress', now()), ('later', 'deploy', 'devops', 10, 'pending', now() + interval '1 hour'),
         ('soon', 'deploy', 'devops', 10, 'pending', now() + interval '20 seconds'), ('locked', 'deploy', 'devops', 10, 'pending', now())",
    )
    .await;
    let mut other = db.session().await;
    other
        .sql("BEGIN; SELECT FROM tasks WHERE id = 'locked' FOR UPDATE")
        .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let new = [
        "ours", "urgent", "anyones", "theirs", "strange", "begun", "later", "soon", "locked", "gone",
    ]
    .map(str::to_owned);
    let take = async |limit| {
        let claimed = store.claim_new(&claim("w", limit), &new).await.expect("a claim");
        let mut ids: Vec<_> = claimed.iter().map(|c| c.info.id.to_string()).collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(take(2).await, ["anyones", "urgent"]);
    assert_eq!(take(9).await, ["ours"]);
    assert!(take(9).await.is_empty());
    let running = "SELECT string_agg(task, ' ' ORDER BY task) FROM longshore.claims, unnest(tasks) AS task";
    assert_eq!(db.value(running).await.as_deref(), Some("anyones ours urgent"));
}

#[tokio::test]
async fn new_tasks_are_not_taken_by_the_short_way_where_there_are_rules() {
    let db = postgres::database().await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    db.sql("INSERT INTO tasks (id, task_type, assigned_to) VALUES ('new', 'deploy', 'devops')")
        .await;
    db.sql("INSERT INTO repos (id, name, status) VALUES ('r', 'r', 'paused')")
        .await;
    let claimed = store
        .claim_new(&claim("w", 9), &["new".to_owned()])
        .await
        .expect("a claim");
    assert!(claimed.is_empty(), "{claimed:?}");
    db.sql("DELETE FROM repos").await;
    let claimed = store
        .claim_new(&claim("w", 9), &["new".to_owned()])
        .await
        .expect("a claim");
    assert_eq!(claimed.len(), 1);
}
