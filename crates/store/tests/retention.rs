//! Retention: our own trees that are over for long go with all that belongs to them, and nothing else does.

use std::time::Duration;

use futures_util::future::join_all;
use store::{Store, Swept};
use testkit::postgres::{self, Database};

const MONTH: Duration = Duration::from_secs(30 * 86400);

async fn start() -> (Database, Store) {
    let db = postgres::database().await;
    let store = db.worker_store().await;
    (db, store)
}

/// Sweeps until nothing is left for now; answers what went.
async fn sweep(store: &Store) -> Swept {
    let (mut all, agents) = (Swept::default(), ["devops".to_owned()]);
    loop {
        let swept = store.sweep(&agents, MONTH).await.unwrap();
        all.tasks += swept.tasks;
        all.events += swept.events;
        if !swept.more {
            return all;
        }
    }
}

async fn left(db: &Database) -> Vec<String> {
    let rows = db.sql("SELECT id FROM tasks ORDER BY id").await;
    rows.into_iter().map(|mut row| row.remove(0).unwrap()).collect()
}

/// Days ago, in the public columns' terms.
const ROWS: &str = "INSERT INTO tasks (id, task_type, assigned_to, parent_task_id, status, worker_id, wait, attempt, created_at, completed_at)
     SELECT id, 'x', agent, parent, status, worker, wait::jsonb, 1, longshore.utc_now() - made * interval '1 day', longshore.utc_now() - ended * interval '1 day'
       FROM (VALUES ";

async fn insert(db: &Database, rows: &str) {
    db.sql(&format!(
        "{ROWS} {rows}) AS r(id, agent, parent, status, worker, wait, made, ended)"
    ))
    .await;
}

#[tokio::test]
async fn our_trees_that_are_over_for_long_go_and_all_else_stays() {
    let (db, store) = start().await;
    insert(
        &db,
        "('old', 'devops', NULL, 'completed', NULL, NULL, 40, 40), ('old-child', 'devops', 'old', 'failed', NULL, NULL, 40, 39),
         ('old-grandchild', 'devops', 'old-child', 'cancelled', NULL, NULL, 40, 39), ('orphan', 'devops', 'nobody', 'completed', NULL, NULL, 40, 40),
         ('under-theirs', 'devops', 'their-plan', 'completed', NULL, NULL, 40, 40), ('their-plan', 'pm', NULL, 'completed', NULL, NULL, 41, 40),
         ('builders-part', 'builder', 'fixed', 'completed', NULL, NULL, 40, 40), ('fixed', 'devops', NULL, 'completed', NULL, NULL, 40, 40),
         ('keep-young', 'devops', NULL, 'completed', NULL, NULL, 40, 29), ('keep-running', 'devops', NULL, 'in_progress', 'w', NULL, 40, NULL),
         ('keep-waiting', 'devops', NULL, 'waiting', NULL, '{}', 40, NULL), ('keep-undoing', 'devops', NULL, 'cancelled', NULL, '{}', 40, NULL),
         ('keep-parent', 'devops', NULL, 'completed', NULL, NULL, 40, 40), ('keep-parent-child', 'devops', 'keep-parent', 'pending', NULL, NULL, 40, NULL),
         ('keep-with-theirs', 'devops', NULL, 'completed', NULL, NULL, 40, 40), ('theirs-running', 'builder', 'keep-with-theirs', 'claimed', NULL, NULL, 40, NULL),
         ('keep-below-theirs', 'devops', 'their-running-plan', 'completed', NULL, NULL, 40, 40), ('their-running-plan', 'pm', NULL, 'claimed', NULL, NULL, 41, NULL),
         ('keep-far-below', 'devops', 'their-finished-plan', 'completed', NULL, NULL, 40, 40), ('their-finished-plan', 'pm', 'keep-waiting', 'completed', NULL, NULL, 41, 40),
         ('keep-noted', 'devops', NULL, 'completed', NULL, NULL, 40, 40), ('theirs', 'builder', NULL, 'completed', NULL, NULL, 90, 90),
         ('keep-above', 'devops', NULL, 'completed', NULL, NULL, 42, 42), ('theirs-between', 'builder', 'keep-above', 'completed', NULL, NULL, 41, 41),
         ('keep-noted-below', 'devops', 'theirs-between', 'completed', NULL, NULL, 40, 40), ('anyones', NULL, NULL, 'cancelled', NULL, NULL, 90, 90), ('given-up', 'devops', NULL, 'completed', NULL, NULL, 40, 40)",
    )
    .await;
    db.sql(
        "INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, attempt) SELECT id, 'run', 1, 'a', 'step', 1 FROM tasks;
         INSERT INTO longshore.task_events (task_id, kind, attempt, summary) SELECT id, 'told', 1, '' FROM tasks;
         INSERT INTO longshore.signals (task_id, name, value) SELECT id, 'approval', '1' FROM tasks;
         INSERT INTO longshore.ticket_outbox (task_id, moment, ticket, host, report, due_at, failed) VALUES
             ('keep-noted', 0, '{}', 'h', '{}', now(), NULL), ('keep-noted-below', 0, '{}', 'h', '{}', now(), NULL), ('old', 0, '{}', 'h', '{}', NULL, NULL), ('given-up', 0, '{}', 'h', '{}', NULL, 'gone');
         INSERT INTO longshore.inbox (source, delivery, event, body, received_at) VALUES
             ('gitlab', 'old', 'x', '{}', now() - interval '31 days'), ('gitlab', 'young', 'x', '{}', now())",
    )
    .await;
    let swept = sweep(&store).await;
    assert_eq!((swept.tasks, swept.events), (7, 1));
    let stays = [
        "anyones",
        "builders-part",
        "keep-above",
        "keep-below-theirs",
        "keep-far-below",
        "keep-noted",
        "keep-noted-below",
        "keep-parent",
        "keep-parent-child",
        "keep-running",
        "keep-undoing",
        "keep-waiting",
        "keep-with-theirs",
        "keep-young",
        "their-finished-plan",
        "their-plan",
        "their-running-plan",
        "theirs",
        "theirs-between",
        "theirs-running",
    ];
    assert_eq!(left(&db).await, stays);
    for table in ["task_steps", "task_events", "signals"] {
        let rows = db.value(&format!("SELECT count(*) FROM longshore.{table}")).await;
        assert_eq!(rows, Some(stays.len().to_string()), "{table}");
    }
    assert_eq!(
        db.value("SELECT string_agg(task_id, ',' ORDER BY task_id) FROM longshore.ticket_outbox")
            .await
            .as_deref(),
        Some("keep-noted,keep-noted-below")
    );
}

#[tokio::test]
async fn what_another_program_ran_under_our_name_stays() {
    let (db, store) = start().await;
    let names = "('theirs', 'devops', NULL, 'completed', NULL, NULL, 40, 40), ('never-started', 'devops', NULL, 'cancelled', NULL, NULL, 40, 40),
                 ('given-back', 'devops', NULL, 'cancelled', NULL, NULL, 40, 40), ('ours', 'devops', NULL, 'completed', NULL, NULL, 40, 40)";
    insert(&db, names).await;
    db.sql(
        "UPDATE tasks SET attempt = 0 WHERE id <> 'ours';
         UPDATE tasks SET claimed_at = longshore.utc_now() WHERE id IN ('theirs', 'given-back')",
    )
    .await;
    assert_eq!(sweep(&store).await.tasks, 2);
    assert_eq!(left(&db).await, ["given-back", "theirs"]);
}

#[tokio::test]
async fn a_foreign_key_keeps_what_it_needs_and_no_more() {
    let (db, store) = start().await;
    db.sql(
        "CREATE TABLE bills (task text REFERENCES tasks (id));
         ALTER TABLE tasks ADD CONSTRAINT theirs FOREIGN KEY (parent_task_id) REFERENCES tasks (id) ON DELETE CASCADE",
    )
    .await;
    insert(
        &db,
        "('billed', 'devops', NULL, 'completed', NULL, NULL, 40, 40), ('free', 'devops', NULL, 'completed', NULL, NULL, 40, 40),
         ('free-child', 'devops', 'free', 'completed', NULL, NULL, 40, 40), ('above', 'devops', NULL, 'completed', NULL, NULL, 40, 40),
         ('builders', 'builder', 'above', 'completed', NULL, NULL, 40, 40)",
    )
    .await;
    db.sql("INSERT INTO bills VALUES ('billed')").await;
    assert_eq!(sweep(&store).await.tasks, 2);
    assert_eq!(left(&db).await, ["above", "billed", "builders"]);
}

#[tokio::test]
async fn what_was_passed_by_goes_a_day_later_when_it_may() {
    let (db, store) = start().await;
    let clock = db.manual_clock(chrono::Utc::now()).await;
    insert(&db, "('late', 'devops', NULL, 'completed', NULL, NULL, 40, 40), ('old', 'devops', NULL, 'completed', NULL, NULL, 41, 41)").await;
    db.sql("INSERT INTO longshore.ticket_outbox (task_id, moment, ticket, host, report) VALUES ('late', 0, '{}', 'h', '{}')").await;
    assert_eq!(sweep(&store).await.tasks, 1);
    db.sql("UPDATE longshore.ticket_outbox SET due_at = NULL").await;
    // What comes of age is found at once, what was passed by with the next day's walk.
    insert(
        &db,
        "('new', 'devops', NULL, 'completed', NULL, NULL, 29.99, 29.99)",
    )
    .await;
    clock.advance(Duration::from_secs(3600)).await;
    assert_eq!(sweep(&store).await.tasks, 1);
    assert_eq!(left(&db).await, ["late"]);
    clock.advance(Duration::from_secs(24 * 3600)).await;
    assert_eq!(sweep(&store).await.tasks, 1);
}

#[tokio::test]
async fn several_workers_share_the_work_and_one_that_is_tried_again_stays() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, attempt, created_at, completed_at)
         SELECT 't' || n, 'x', 'devops', 'failed', 1, longshore.utc_now() - interval '40 days', longshore.utc_now() - interval '40 days' FROM generate_series(1, 1200) n",
    )
    .await;
    // Somebody has it in hand at this moment, to try it again.
    let mut session = db.session().await;
    session
        .sql("BEGIN; UPDATE tasks SET status = 'pending', completed_at = NULL WHERE id = 't7'")
        .await;
    let workers = join_all((0..4).map(|_| db.worker_store())).await;
    let blocked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let (swept, ()) = tokio::join!(join_all(workers.iter().map(sweep)), async {
        let waits = async {
            while db.value(blocked).await.as_deref() != Some("t") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waits)
            .await
            .expect("it waits for the row");
        session.sql("COMMIT").await;
    });
    let by_them: u64 = swept.iter().map(|swept| swept.tasks).sum();
    let rest = sweep(&store).await.tasks;
    assert_eq!(by_them + rest, 1199);
    assert_eq!(left(&db).await, ["t7"]);
}

#[tokio::test]
async fn a_step_reads_few_rows_however_many_are_kept() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, created_at, completed_at)
         SELECT 'kept ' || n, 'x', 'devops', 'completed', longshore.utc_now(), longshore.utc_now() FROM generate_series(1, 12000) n;
         INSERT INTO tasks (id, task_type, assigned_to, status, created_at, completed_at)
         SELECT 'theirs ' || n, 'x', 'builder', 'completed', longshore.utc_now() - interval '50 days', longshore.utc_now() FROM generate_series(1, 12000) n;
         ANALYZE tasks",
    )
    .await;
    store.close().await;
    let read = async || -> i64 {
        let others = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let gone = async {
            while db.value(others).await.as_deref() != Some("0") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone)
            .await
            .expect("all sessions end");
        let rows = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relid = 'tasks'::regclass";
        db.value(rows).await.unwrap().parse().unwrap()
    };
    let before = read().await;
    let store = db.worker_store().await;
    let agents = ["devops".to_owned()];
    assert!(store.sweep(&agents, MONTH).await.unwrap().more);
    store.close().await;
    let step = read().await - before;
    assert!((500..3000).contains(&step), "{step} rows were read in one step");
    let store = db.worker_store().await;
    assert_eq!(sweep(&store).await.tasks, 0);
    store.close().await;
    let before = read().await;
    let store = db.worker_store().await;
    assert_eq!(store.sweep(&agents, MONTH).await.unwrap(), Swept::default());
    store.close().await;
    let idle = read().await - before;
    assert!(idle < 10, "{idle} rows were read with nothing to do");
}
