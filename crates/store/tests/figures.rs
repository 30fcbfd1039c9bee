//! What monitoring reads, and what it costs.

use testkit::postgres::{self, Database};

async fn rows_scanned(db: &Database) -> (u64, bool) {
    let row = db
        .sql(
            "SELECT seq_tup_read, coalesce(idx_scan, 0) > 0 FROM pg_stat_user_tables WHERE relname = 'tasks'",
        )
        .await
        .remove(0);
    let number = row[0].as_deref().expect("a count").parse().expect("a number");
    (number, row[1].as_deref() == Some("t"))
}

#[tokio::test]
async fn live_tasks_notes_and_workers_are_counted() {
    let db = postgres::database().await;
    db.manual_clock("2026-01-29T16:28:00Z".parse().unwrap()).await;
    db.sql(
        r#"INSERT INTO tasks (id, task_type, status, run_at, wait, worker_id) VALUES
           ('a', 'deploy', 'pending', '2026-01-29 16:27:00', NULL, NULL),
           ('b', 'deploy', 'pending', '2026-01-29 16:26:30', NULL, NULL),
           ('c', 'deploy', 'pending', '2026-01-29 17:00:00', NULL, NULL),
           ('d', 'deploy', 'pending', 'infinity', NULL, NULL),
           ('e', 'deploy', 'waiting', 'infinity', '{"held": "look"}', NULL),
           ('f', 'deploy', 'waiting', 'infinity', '{"signals": ["go"]}', NULL),
           ('g', 'fix_build', 'in_progress', DEFAULT, NULL, 'w1'),
           ('h', 'fix_build', 'claimed', DEFAULT, NULL, NULL),
           ('i', 'fix_build', 'completed', DEFAULT, NULL, NULL),
           ('j', 'fix_build', 'failed', DEFAULT, NULL, NULL);
           INSERT INTO longshore.ticket_outbox (task_id, moment, ticket, host, report, due_at, error, failed) VALUES
           ('a', 0, '{}', 'h', '{}', '2026-01-29 16:27:30Z', NULL, NULL),
           ('b', 0, '{}', 'h', '{}', '2026-01-29 16:29:00Z', 'the host is down', NULL),
           ('c', 0, '{}', 'h', '{}', NULL, NULL, NULL),
           ('d', 0, '{}', 'h', '{}', NULL, 'no such ticket', 'no such ticket');
           INSERT INTO longshore.workers (id, host, pid, agents, serves, lease_until) VALUES
           ('w1', 'h', 1, '{devops}', '{}', clock_timestamp() + interval '1 hour'),
           ('w2', 'h', 2, '{devops}', '{}', clock_timestamp() - interval '1 second')"#,
    )
    .await;
    db.claimed().await;
    let figures = db.store().await.figures().await.unwrap();
    let told: Vec<String> = figures
        .tasks
        .iter()
        .map(|live| {
            format!(
                "{} {} {} {}",
                live.task_type, live.state, live.count, live.oldest_s
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "deploy pending 4 90",
            "deploy held 1 0",
            "deploy waiting 1 0",
            "fix_build claimed 1 0",
            "fix_build in_progress 1 0"
        ]
    );
    let notes = figures.notes;
    assert_eq!(
        (notes.due, notes.failing, notes.given_up, notes.oldest_s),
        (2, 1, 1, 30.0)
    );
    assert_eq!(figures.workers, 1);
}

#[tokio::test]
async fn tasks_that_are_over_cost_nothing() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, status) SELECT 'old-' || n, 'deploy', 'completed' FROM generate_series(1, 20000) n;
         INSERT INTO tasks (id, task_type) VALUES ('new', 'deploy');
         ANALYZE tasks",
    )
    .await;
    // A session's counts are in the view for certain once it has ended, or has been asked to hand them in.
    let (before, _) = rows_scanned(&db).await;
    let store = db.store().await;
    let figures = store.figures().await.unwrap();
    assert_eq!(figures.tasks.len(), 1);
    store.close().await;
    let (after, indexed) = loop {
        let (after, indexed) = rows_scanned(&db).await;
        if indexed || after != before {
            break (after, indexed);
        }
        tokio::task::yield_now().await;
    };
    assert!(indexed);
    assert!(after - before < 20_000, "{} rows were read", after - before);
}
