//! What a worker asks again and again costs the same however much has been finished and whatever others have
//! pending.

use std::time::Duration;

use domain::TaskId;
use durable::{Journal, Lease, Outcome, Recorded, StepKind, StepRef};
use store::{Recorder, Settle, Settled, Store, TaskJournal};
use testkit::postgres::{self, Database};

use crate::common::{LONG, claim, register};

/// Rows read of `tasks` by scans of the whole table, and through indexes.
async fn read(db: &Database) -> (i64, i64) {
    let row = db
        .sql("SELECT seq_tup_read, idx_tup_fetch FROM pg_stat_user_tables WHERE relid = 'tasks'::regclass")
        .await
        .remove(0);
    let number = |at: usize| row[at].as_deref().unwrap_or("0").parse().expect("a number");
    (number(0), number(1))
}

/// Sessions write down what they read when they end.
async fn all_gone(db: &Database) {
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
}

/// The outcomes of tasks that all went well.
fn ended(leases: &[Lease]) -> Vec<Settle> {
    leases
        .iter()
        .map(|lease| Settle {
            lease: lease.clone(),
            parent: None,
            ticket: None,
            outcome: Outcome::Ended {
                status: domain::TaskStatus::Completed,
                report: Box::new(domain::Report::new(domain::Verdict::Succeeded, "done")),
                error: None,
            },
            delay: Duration::ZERO,
        })
        .collect()
}

async fn a_round(store: &Store) {
    register(store, "w", LONG).await;
    let mut claim = claim("w", 16);
    claim.oldest = 1;
    let claimed = store
        .claim(&claim, &store::Taken::default())
        .await
        .expect("claim");
    assert_eq!(claimed.len(), 16);
    let first: Vec<i64> = claimed.iter().map(|c| i64::from(c.info.priority.get())).collect();
    assert_eq!(
        first.iter().filter(|p| **p == 10).count(),
        4,
        "the tens are among them: {first:?}"
    );
    let leases: Vec<Lease> = claimed.iter().map(|c| c.lease.clone()).collect();
    store.heartbeat("w", LONG, &leases).await.expect("heartbeat");
    store
        .release_strays("w", &[], &leases)
        .await
        .expect("look for strays");
    store.next_due(&claim).await.expect("look for what is due");
    store.wake_waiters(&claim.agents).await.expect("wake");
    store
        .housekeeping(Duration::from_secs(600))
        .await
        .expect("tidy up");
    let settled = store.finish(&ended(&leases)).await.expect("finish");
    assert!(settled.iter().all(|s| *s == Settled::Written));
    store.cancel_task(&TaskId::from("mine 20")).await.expect("cancel");
}

#[tokio::test]
async fn a_workers_round_reads_its_own_live_rows_alone() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (task_type, assigned_to, status, priority, completed_at)
         SELECT 'deploy', 'devops', 'completed', 10, now() FROM generate_series(1, 30000);
         INSERT INTO tasks (task_type, assigned_to, priority) SELECT 'deploy', 'builder', 10 FROM generate_series(1, 20000);
         INSERT INTO tasks (task_type, priority) SELECT 'paint', 10 FROM generate_series(1, 10000);
         INSERT INTO tasks (task_type, assigned_to, status, run_at, wait)
         SELECT 'deploy', 'devops', 'waiting', 'infinity', '{\"signals\": [\"approval\"], \"why\": \"for approval\"}' FROM generate_series(1, 5000);
         INSERT INTO tasks (id, task_type, assigned_to, priority) SELECT 'mine ' || n, 'deploy', 'devops', 5 FROM generate_series(1, 40) n;
         INSERT INTO tasks (task_type, priority) SELECT 'fix_build', 10 FROM generate_series(1, 4);
         ANALYZE",
    )
    .await;
    all_gone(&db).await;
    let (scanned, fetched) = read(&db).await;
    let store = db.worker_store().await;
    a_round(&store).await;
    store.close().await;
    all_gone(&db).await;
    let (scanned, fetched) = {
        let (s, f) = read(&db).await;
        (s - scanned, f - fetched)
    };
    assert_eq!(scanned, 0, "no scan of the whole table");
    assert!(fetched > 16, "the numbers are counted at all: {fetched}");
    assert!(fetched < 1000, "{fetched} rows were looked at for 16 tasks");
}

#[tokio::test]
async fn what_was_planned_while_the_table_was_small_does_not_read_all_of_it_later() {
    let db = postgres::database().await;
    db.sql("ALTER TABLE tasks SET (autovacuum_enabled = false)").await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let recorder = Recorder::start(store.clone());
    // Claims three tasks, writes a step of each and ends them, on the connections that the rounds before used.
    let round = async || {
        db.sql(
            "INSERT INTO tasks (task_type, assigned_to) SELECT 'deploy', 'devops' FROM generate_series(1, 3)",
        )
        .await;
        let claimed = store
            .claim(&claim("w", 3), &store::Taken::default())
            .await
            .expect("claim");
        let leases: Vec<Lease> = claimed.iter().map(|c| c.lease.clone()).collect();
        assert_eq!(leases.len(), 3);
        let steps = leases.iter().map(|lease| {
            let journal = TaskJournal::new(store.clone(), recorder.clone(), None);
            async move {
                let at = StepRef {
                    scope: "run".to_owned(),
                    seq: 0,
                    key: "step".to_owned(),
                };
                let done = Recorded::Ok(serde_json::Value::Null);
                journal
                    .done(lease, &at, StepKind::Step, &done, Vec::new())
                    .await
                    .expect("record a step");
            }
        });
        futures_util::future::join_all(steps).await;
        let settled = store.finish(&ended(&leases)).await.expect("finish");
        assert!(settled.iter().all(|s| *s == Settled::Written));
    };
    for _ in 0..10 {
        round().await;
    }
    db.sql(
        "INSERT INTO tasks (task_type, assigned_to, status, completed_at)
         SELECT 'deploy', 'devops', 'completed', now() FROM generate_series(1, 30000)",
    )
    .await;
    for _ in 0..10 {
        round().await;
    }
    store.close().await;
    all_gone(&db).await;
    let (scanned, fetched) = read(&db).await;
    assert!(
        scanned < 1000,
        "{scanned} rows were looked at by scans of the whole table"
    );
    assert!(fetched >= 60, "the numbers are counted at all: {fetched}");
    assert!(fetched < 1000, "{fetched} rows were looked at for 60 tasks");
}

#[tokio::test]
async fn a_new_task_is_looked_up_by_its_key() {
    for finished in [0, 30_000] {
        let db = postgres::database().await;
        db.sql(&format!(
            "INSERT INTO tasks (task_type, assigned_to, status, completed_at)
             SELECT 'deploy', 'devops', 'completed', now() FROM generate_series(1, {finished});
             ANALYZE;
             INSERT INTO tasks (id, task_type, assigned_to) VALUES ('new', 'deploy', 'devops')"
        ))
        .await;
        let store = db.worker_store().await;
        register(&store, "w", LONG).await;
        let claimed = store
            .claim_new(&claim("w", 1), &["new".to_owned()])
            .await
            .expect("claim");
        assert_eq!(claimed.len(), 1);
        store.close().await;
        all_gone(&db).await;
        let used = "SELECT string_agg(indexrelname, ' ') FROM pg_stat_user_indexes
                     WHERE relid = 'tasks'::regclass AND idx_scan > 0";
        assert_eq!(
            db.value(used).await.as_deref(),
            Some("tasks_pkey"),
            "of {finished} tasks"
        );
    }
}

/// Rows of `tasks` that one claim under rules reads: looked up by indexes, and all entries of these that it went through.
async fn read_by_a_limited_claim(saturated: u32) -> (i64, i64, i64) {
    let db = postgres::database().await;
    db.sql(&format!(
        "INSERT INTO repos (id) VALUES ('full'), ('resting'), ('free');
         UPDATE repos SET status = 'paused' WHERE id = 'resting';
         INSERT INTO longshore.queue_rules (kind, name, max_running) VALUES ('repo', 'full', 2);
         INSERT INTO longshore.queue_rules (kind, name, paused_at) VALUES ('type', 'fix_build', now());
         INSERT INTO tasks (task_type, assigned_to, repo_id, priority)
         SELECT 'deploy', 'devops', 'full', 10 FROM generate_series(1, {saturated});
         INSERT INTO tasks (task_type, assigned_to, repo_id, priority)
         SELECT 'deploy', 'devops', 'resting', 10 FROM generate_series(1, {saturated} / 2);
         INSERT INTO tasks (task_type, repo_id, priority) SELECT 'fix_build', 'free', 10 FROM generate_series(1, {saturated} / 2);
         INSERT INTO tasks (task_type, assigned_to, repo_id, priority)
         SELECT 'deploy', 'devops', 'free', 1 + n % 3 FROM generate_series(1, 40) n;
         ANALYZE"
    ))
    .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    let mut claim = claim("w", 8);
    claim.oldest = 2;
    // The first fills the limit; the second is the one that is judged.
    assert_eq!(
        store
            .claim(&claim, &store::Taken::default())
            .await
            .expect("claim")
            .len(),
        8
    );
    store.close().await;
    all_gone(&db).await;
    let entries =
        "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes WHERE relid = 'tasks'::regclass";
    let number = |text: Option<String>| text.unwrap_or_default().parse::<i64>().expect("a number");
    let (scanned, fetched) = read(&db).await;
    let before = number(db.value(entries).await);
    let store = db.worker_store().await;
    assert_eq!(
        store
            .claim(&claim, &store::Taken::default())
            .await
            .expect("claim")
            .len(),
        8
    );
    store.close().await;
    all_gone(&db).await;
    let (s, f) = read(&db).await;
    (s - scanned, f - fetched, number(db.value(entries).await) - before)
}

#[tokio::test]
async fn what_a_limit_or_a_pause_holds_back_is_not_read() {
    let (_, few_rows, few_entries) = read_by_a_limited_claim(10).await;
    let (scanned, rows, entries) = read_by_a_limited_claim(20_000).await;
    assert_eq!(scanned, 0, "no scan of the whole table");
    assert!(
        rows > 8 && entries > 8,
        "the numbers are counted at all: {rows}, {entries}"
    );
    assert!(
        rows <= few_rows + 60 && entries <= few_entries + 60,
        "{rows} rows and {entries} entries instead of {few_rows} and {few_entries} with ten pending"
    );
}

#[tokio::test]
async fn how_far_a_task_is_costs_the_same_however_many_steps_it_has() {
    let db = postgres::database().await;
    let store = db.store().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, status) VALUES ('long', 'x', 'waiting'), ('new', 'x', 'pending');
         INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, attempt, started_at, done_at)
         SELECT 'long', scope, n, scope || n, 'step', 1, now() + n * interval '1 s' + more, CASE WHEN n < last THEN now() END
           FROM (VALUES ('run', 20000, interval '0'), ('run/canary', 300, interval '1 year'), ('run/b', 1, interval '0')) AS s(scope, last, more),
                generate_series(0, last) AS n;
         ANALYZE longshore.task_steps",
    )
    .await;
    let ids = ["long", "new"].map(TaskId::from);
    for _ in 0..10 {
        let mut progress = store.progress(&ids).await.expect("progress");
        progress.sort_by(|a, b| a.task.id.cmp(&b.task.id));
        let told: Vec<_> = progress
            .iter()
            .map(|progress| (progress.steps_done, progress.step.as_deref()))
            .collect();
        assert_eq!(told, [(20301, Some("run/canary300")), (0, None)]);
    }
    store.close().await;
    all_gone(&db).await;
    let fetched = db
        .value("SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relid = 'longshore.task_steps'::regclass")
        .await
        .expect("a count");
    let fetched: i64 = fetched.parse().expect("a number");
    assert!(
        fetched < 100 + 20_303,
        "{fetched} rows were read, of which ANALYZE's count for all"
    );
}
