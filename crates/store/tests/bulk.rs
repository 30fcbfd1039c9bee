//! Cancel and retry by filter, and the dead letters that they are used on.

use chrono::{DateTime, Utc};
use domain::{ErrorKind, TaskId, TaskStatus};
use store::{Bulk, BulkDone, BulkFilter, DeadFilter, State, Store};
use testkit::postgres::{self, Database};

async fn start() -> (Database, Store) {
    let db = postgres::database().await;
    let store = db.store().await;
    (db, store)
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect("a moment")
}

fn of_type(task_type: &str) -> BulkFilter {
    BulkFilter {
        task_type: Some(task_type.to_owned()),
        ..BulkFilter::default()
    }
}

/// Why tasks were left alone, and how many.
fn skipped(done: &BulkDone) -> Vec<(&str, u64)> {
    done.skipped
        .iter()
        .map(|skipped| (skipped.why.as_str(), skipped.count))
        .collect()
}

async fn rows(db: &Database, sql: &str) -> String {
    let rows = db.sql(sql).await;
    let texts = rows.into_iter().map(|row| {
        row.into_iter()
            .map(|v| v.unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" ")
    });
    texts.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_bulk_cancel_does_to_each_what_a_cancel_does_to_one() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, worker_id, wait) VALUES
             ('fresh', 'deploy', 'devops', 'pending', NULL, NULL), ('begun', 'deploy', 'devops', 'pending', NULL, NULL),
             ('running', 'deploy', 'devops', 'in_progress', 'w', NULL), ('parked', 'deploy', 'devops', 'waiting', NULL, '{}'),
             ('done', 'deploy', 'devops', 'completed', NULL, NULL), ('theirs', 'deploy', 'builder', 'pending', NULL, NULL),
             ('other', 'paint', 'devops', 'pending', NULL, NULL);
         INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, attempt) VALUES ('begun', 'run', 1, 'a', 'step', 1)",
    )
    .await;
    db.claimed().await;
    let before = rows(&db, "SELECT id, status FROM tasks ORDER BY id").await;
    let dry = store
        .bulk(Bulk::Cancel, &of_type("deploy"), None, true)
        .await
        .unwrap();
    assert_eq!((dry.matched, dry.changed), (5, 4));
    assert_eq!(skipped(&dry), [("it belongs to the agent builder", 1)]);
    assert_eq!(
        rows(&db, "SELECT id, status FROM tasks ORDER BY id").await,
        before,
        "nothing was changed"
    );

    let told = db.notifications().await;
    let done = store
        .bulk(Bulk::Cancel, &of_type("deploy"), None, false)
        .await
        .unwrap();
    assert_eq!(
        (done.matched, done.changed, skipped(&done)),
        (5, 4, skipped(&dry))
    );
    assert_eq!(
        rows(
            &db,
            "SELECT id, status, completed_at IS NOT NULL, wait IS NOT NULL FROM tasks ORDER BY id"
        )
        .await,
        "begun cancelled f t, done completed f f, fresh cancelled t f, other pending f f, parked cancelled f t, \
         running cancelled f f, theirs pending f f"
    );
    assert_eq!(
        db.value("SELECT count(*) FROM longshore.task_events WHERE kind = 'cancel asked'")
            .await
            .as_deref(),
        Some("4")
    );
    drop(told);
    // Once more finds nothing that is still to be cancelled.
    let again = store
        .bulk(Bulk::Cancel, &of_type("deploy"), None, false)
        .await
        .unwrap();
    assert_eq!((again.matched, again.changed), (1, 0));
}

#[tokio::test]
async fn a_bulk_retry_takes_failed_and_held_tasks_unless_told_otherwise() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, attempt, error, run_at, wait, created_at) VALUES
             ('failed', 'deploy', 'devops', 'failed', 4, 'broke', now(), NULL, '2026-01-02'),
             ('held', 'deploy', 'devops', 'waiting', 2, NULL, 'infinity', '{\"held\": \"unsure\"}', '2026-01-03'),
             ('parked', 'deploy', 'devops', 'waiting', 2, NULL, 'infinity', '{\"signals\": [\"approval\"]}', '2026-01-03'),
             ('cancelled', 'deploy', 'devops', 'cancelled', 2, NULL, now(), NULL, '2026-01-03'),
             ('undoing', 'deploy', 'devops', 'cancelled', 2, NULL, now(), '{}', '2026-01-03'),
             ('old', 'deploy', 'devops', 'failed', 1, 'broke', now(), NULL, '2026-01-01');
         INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, attempt) VALUES ('failed', 'run', 1, 'a', 'step', 4)",
    )
    .await;
    let since = BulkFilter {
        created_after: Some(at("2026-01-02T00:00:00Z")),
        ..BulkFilter::default()
    };
    let done = store.bulk(Bulk::Retry, &since, None, false).await.unwrap();
    assert_eq!((done.matched, done.changed, skipped(&done)), (2, 2, vec![]));
    assert_eq!(
        rows(&db, "SELECT id, status, run_at <= longshore.utc_now() FROM tasks WHERE id IN ('failed', 'held', 'old', 'parked') ORDER BY id").await,
        "failed pending t, held waiting t, old failed t, parked waiting f"
    );
    assert!(
        store.steps(&"failed".into()).await.unwrap().is_empty(),
        "its journal is forgotten"
    );
    assert_eq!(store.task(&"held".into()).await.unwrap().held(), None);

    let cancelled = BulkFilter {
        states: vec![State::Status(TaskStatus::Cancelled)],
        ..BulkFilter::default()
    };
    let done = store.bulk(Bulk::Retry, &cancelled, None, false).await.unwrap();
    assert_eq!(
        (done.changed, skipped(&done)),
        (1, vec![("it is being cancelled", 1)])
    );
    for (what, state) in [
        (Bulk::Retry, "completed"),
        (Bulk::Retry, "in_progress"),
        (Bulk::Cancel, "failed"),
    ] {
        let filter = BulkFilter {
            states: vec![state.parse().unwrap()],
            ..BulkFilter::default()
        };
        let error = store.bulk(what, &filter, None, false).await.unwrap_err();
        assert!(
            error.kind == ErrorKind::Invalid && error.to_string().contains(state),
            "{error}"
        );
    }
}

#[tokio::test]
async fn of_several_failed_tasks_with_one_dedupe_key_the_newest_is_tried_again() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, dedupe_key, created_at) VALUES
             ('a1', 'x', 'devops', 'failed', 'a', '2026-01-01'), ('a2', 'x', 'devops', 'failed', 'a', '2026-01-02'),
             ('b1', 'x', 'devops', 'failed', 'b', '2026-01-01'), ('b2', 'x', 'devops', 'pending', 'b', '2026-01-02'),
             ('c1', 'x', 'devops', 'failed', NULL, '2026-01-01')",
    )
    .await;
    let done = store.bulk(Bulk::Retry, &of_type("x"), None, false).await.unwrap();
    assert_eq!((done.matched, done.changed), (4, 2));
    assert_eq!(
        skipped(&done),
        [(
            "another task with its dedupe key is unfinished, or is tried again",
            2
        )]
    );
    assert_eq!(done.skipped[0].task_ids, [TaskId::from("a1"), TaskId::from("b1")]);
    assert_eq!(
        rows(&db, "SELECT id FROM tasks WHERE status = 'failed' ORDER BY id").await,
        "a1, b1"
    );
    let error = store.retry_task(&"a1".into()).await.unwrap_err();
    assert!(
        error.kind == ErrorKind::Conflict && error.to_string().contains("dedupe key"),
        "{error}"
    );
}

#[tokio::test]
async fn thousands_are_done_call_by_call_to_the_end() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (task_type, assigned_to) SELECT 'x', 'devops' FROM generate_series(1, 11000);
            INSERT INTO tasks (task_type, assigned_to) SELECT 'x', 'builder' FROM generate_series(1, 1000)",
    )
    .await;
    let mut all = BulkDone::default();
    let mut calls = 0;
    loop {
        calls += 1;
        let from = all.next.take();
        all.add(
            store
                .bulk(Bulk::Cancel, &of_type("x"), from.as_ref(), false)
                .await
                .unwrap(),
        );
        if all.next.is_none() {
            break;
        }
    }
    assert_eq!((calls, all.matched, all.changed), (2, 12000, 11000));
    assert_eq!(skipped(&all), [("it belongs to the agent builder", 1000)]);
    assert_eq!(all.skipped[0].task_ids.len(), 5);
    assert_eq!(
        db.value("SELECT count(*) FROM tasks WHERE status = 'cancelled'")
            .await
            .as_deref(),
        Some("11000")
    );
}

/// With `#` for its digits a token would look like none.
#[tokio::test]
async fn no_part_of_a_token_is_left_in_what_errors_have_in_common() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, error, wait) VALUES
             ('1', 'deploy', 'devops', 'failed', E'the token glpat-AbCdEf0123456789xyzW was refused\\nlong story', NULL),
             ('2', 'deploy', 'devops', 'waiting', NULL, '{\"held\": \"asked with glpat-AbCdEf0123456789xyzW\"}')",
    )
    .await;
    let filter = DeadFilter {
        limit: 10,
        ..DeadFilter::default()
    };
    let groups = store.dead_letters(&filter).await.unwrap().groups;
    assert_eq!(groups.len(), 2);
    for group in groups {
        assert!(
            group.error.contains("[redacted") && !group.error.contains("AbCdEf"),
            "{}",
            group.error
        );
    }
}

#[tokio::test]
async fn dead_letters_are_grouped_by_what_their_errors_have_in_common_and_retried_by_it() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, error, wait, created_at, completed_at) VALUES
             ('1', 'deploy', 'devops', 'failed', E'could not reach 10.0.0.7:6443\\nlong story', NULL, '2026-01-01', '2026-01-01 01:00'),
             ('2', 'deploy', 'devops', 'failed', 'could not reach 10.0.13.9:6443', NULL, '2026-01-02', '2026-01-02 01:00'),
             ('3', 'deploy', 'devops', 'failed', 'commit 1a2b3c4d of 019bff00-1111-7222-8333-444455556666 is gone', NULL, '2026-01-03', '2026-01-03'),
             ('4', 'fix_build', 'devops', 'failed', 'could not reach 10.0.0.7:6443', NULL, '2026-01-04', '2026-01-04'),
             ('5', 'deploy', 'devops', 'waiting', NULL, '{\"held\": \"10 workers died on it\"}', '2026-01-05', NULL),
             ('6', 'deploy', 'builder', 'failed', 'theirs', NULL, '2026-01-06', '2026-01-06'),
             ('7', 'deploy', 'devops', 'completed', NULL, NULL, '2026-01-06', '2026-01-06'),
             ('8', 'deploy', 'devops', 'waiting', NULL, '{\"signals\": [\"approval\"]}', '2026-01-06', NULL)",
    )
    .await;
    let filter = DeadFilter {
        limit: 10,
        ..DeadFilter::default()
    };
    let dead = store.dead_letters(&filter).await.unwrap();
    let shown: Vec<_> = dead
        .groups
        .iter()
        .map(|g| (g.state.as_str(), g.task_type.as_str(), g.error.as_str(), g.count))
        .collect();
    assert_eq!(
        shown,
        [
            ("held", "deploy", "# workers died on it", 1),
            ("failed", "fix_build", "could not reach #.#.#.#:#", 1),
            ("failed", "deploy", "commit # of # is gone", 1),
            ("failed", "deploy", "could not reach #.#.#.#:#", 2),
        ]
    );
    assert_eq!((dead.total, dead.complete), (5, true));
    let group = &dead.groups[3];
    assert_eq!(group.task_ids, [TaskId::from("2"), TaskId::from("1")]);
    assert_eq!(
        (group.first_seen, group.last_seen),
        (at("2026-01-01T01:00:00Z"), at("2026-01-02T01:00:00Z"))
    );
    let one = store
        .dead_letters(&DeadFilter {
            task_type: Some("fix_build".to_owned()),
            ..filter
        })
        .await
        .unwrap();
    assert_eq!(one.groups.len(), 1);

    // By the class that was shown, or by one of the errors themselves.
    for (error, retried) in [
        ("could not reach 10.9.9.9:1", 2),
        ("# workers died on it", 1),
        ("commit # of # is gone", 1),
    ] {
        let filter = BulkFilter {
            error: Some(error.to_owned()),
            ..of_type("deploy")
        };
        assert_eq!(
            store
                .bulk(Bulk::Retry, &filter, None, false)
                .await
                .unwrap()
                .changed,
            retried,
            "{error}"
        );
    }
    assert_eq!(
        rows(&db, "SELECT id FROM tasks WHERE status = 'failed' ORDER BY id").await,
        "4, 6"
    );
}
