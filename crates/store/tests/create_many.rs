//! Many tasks made at once: all of them or none, each judged as a single one is.

use std::time::Duration;

use domain::{ErrorKind, NewTask, Priority, TaskId};
use futures_util::future::join_all;
use serde_json::json;
use store::{MAX_TASKS, Made, Store};
use testkit::postgres::{self, Database, PoolerSetup};

async fn start() -> (Database, Store) {
    let db = postgres::database().await;
    let store = db.store().await;
    (db, store)
}

fn deploy() -> NewTask {
    NewTask::new("deploy", json!({"instruction": "deploy v1 to staging"})).assigned_to("devops")
}

fn keyed(key: &str) -> NewTask {
    deploy().dedupe_key(key)
}

fn under(parent: &str) -> NewTask {
    NewTask {
        parent: Some(TaskId::from(parent)),
        ..deploy()
    }
}

async fn count(db: &Database) -> String {
    db.value("SELECT count(*) FROM tasks").await.unwrap()
}

#[tokio::test]
async fn all_that_a_task_says_is_stored_and_they_are_taken_in_the_order_in_which_they_were_sent() {
    let (db, store) = start().await;
    db.sql("INSERT INTO repos (id, name, active) VALUES ('r1', 'r', true); INSERT INTO tasks (id, task_type) VALUES ('p', 'plan')")
        .await;
    let full = NewTask {
        repo_id: Some("r1".to_owned()),
        created_by: Some("pm".to_owned()),
        priority: Priority::try_from(7).unwrap(),
        ..under("p").dedupe_key("k")
    };
    let bare = NewTask::new(
        "fix_build",
        json!({"log": "a\nb \"c\" é \\u0041", "n": [1, 2.5, null, {}]}),
    );
    let made = store
        .make_tasks(&[full.clone(), bare.clone(), deploy()])
        .await
        .unwrap();
    assert_eq!(made.len(), 3);
    assert_eq!(
        made[0],
        Made {
            id: made[0].id.clone(),
            exists: false,
            repo_id: full.repo_id,
            assigned_to: full.assigned_to
        }
    );
    let row = db
        .value(&format!(
            "SELECT concat_ws('|', repo_id, task_type, priority, payload->>'instruction', status, assigned_to, created_by, parent_task_id,
                              dedupe_key, live) FROM tasks WHERE id = '{}'",
            made[0].id
        ))
        .await;
    assert_eq!(
        row.as_deref(),
        Some("r1|deploy|7|deploy v1 to staging|pending|devops|pm|p|k|pending")
    );
    let read = store.task(&made[1].id).await.unwrap();
    assert_eq!((read.payload, read.priority), (Some(bare.payload), 5));
    assert_eq!(
        (read.assigned_to, read.repo_id, read.created_by),
        (None, None, None)
    );
    let order = db
        .sql("SELECT id FROM tasks WHERE id <> 'p' ORDER BY created_at, id")
        .await;
    let order: Vec<&str> = order.iter().map(|row| row[0].as_deref().unwrap()).collect();
    let sent: Vec<&str> = made.iter().map(|made| made.id.as_str()).collect();
    assert_eq!(order, sent);
    assert!(store.make_tasks(&[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn each_fault_is_told_with_its_place_and_nothing_is_stored() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, parent_task_id) VALUES ('a', 'x', 'b'), ('b', 'x', 'a'), ('tail', 'x', 'a'),
             ('orphan', 'x', 'deleted')",
    )
    .await;
    let before = count(&db).await;
    let with = |payload| NewTask { payload, ..deploy() };
    for (task, field, says) in [
        (NewTask::new(" ", json!({})), "type", "missing or blank"),
        (NewTask::new("a\0", json!({})), "type", "NUL"),
        (deploy().assigned_to(" "), "to", "blank"),
        (keyed(&"k".repeat(201)), "dedupe_key", "201 characters"),
        (keyed(" "), "dedupe_key", "blank"),
        (with(json!([1])), "payload", "not a JSON object"),
        (with(json!({"a": ["\0"]})), "payload.a[0]", "NUL"),
        (with(json!({"log": "x".repeat(1 << 20)})), "payload", "1 MiB"),
        (
            deploy().repo(Some("nowhere".to_owned())),
            "repo_id",
            "no repository has that id",
        ),
        (under("nobody"), "parent_task_id", "no such task"),
        (under("a"), "parent_task_id", "a -> b -> a"),
        (under("tail"), "parent_task_id", "tail -> a -> b -> a"),
    ] {
        let fault = store
            .make_tasks(&[deploy(), under("orphan"), task, keyed("k"), under("nobody")])
            .await
            .expect_err(says);
        assert_eq!(
            (fault.place, fault.field.as_deref()),
            (Some(2), Some(field)),
            "{fault:?}"
        );
        assert_eq!(fault.too_large, says == "1 MiB", "{fault:?}");
        assert!(
            fault.error.kind == ErrorKind::Invalid && fault.error.next.is_some(),
            "{fault:?}"
        );
        let error = domain::Error::from(fault).to_string();
        assert!(
            error.starts_with("tasks[2]: `") && error.contains(says),
            "{error}"
        );
    }
    // What only the table refuses: its own rules, which other programs may add to.
    db.sql("ALTER TABLE tasks ADD CONSTRAINT theirs CHECK (task_type <> 'forbidden')")
        .await;
    let fault = store
        .make_tasks(&[deploy(), NewTask::new("forbidden", json!({})), deploy()])
        .await
        .unwrap_err();
    assert_eq!(
        (fault.place, fault.field.as_deref()),
        (Some(1), None),
        "{fault:?}"
    );
    assert!(
        fault.error.to_string().contains("rule theirs refuses"),
        "{fault:?}"
    );
    assert_eq!(count(&db).await, before);
}

#[tokio::test]
async fn of_one_key_one_task_is_made_and_what_is_unfinished_is_answered() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, dedupe_key, status) VALUES
             ('open', 'deploy', 'builder', 'open', 'waiting'), ('over', 'deploy', NULL, 'over', 'completed')",
    )
    .await;
    let mut first = keyed("twice");
    first.assigned_to = Some("first".to_owned());
    // A key that is taken: what else the task names is not asked, as for a single one.
    let taken = keyed("open").repo(Some("nowhere".to_owned()));
    let tasks = [
        keyed("over"),
        first,
        deploy(),
        taken,
        keyed("twice"),
        keyed("open"),
    ];
    let made = store.make_tasks(&tasks).await.unwrap();
    let exists: Vec<bool> = made.iter().map(|made| made.exists).collect();
    assert_eq!(exists, [false, false, false, true, true, true]);
    assert_eq!(
        (made[3].id.as_str(), made[3].assigned_to.as_deref()),
        ("open", Some("builder"))
    );
    assert_eq!(
        (&made[4].id, made[4].assigned_to.as_deref()),
        (&made[1].id, Some("first"))
    );
    assert_eq!(made[5], made[3]);
    assert_eq!(count(&db).await, "5");
    let again = store.make_tasks(&tasks[..2]).await.unwrap();
    assert!(again.iter().all(|made| made.exists), "{again:?}");
    assert_eq!((&again[0].id, &again[1].id), (&made[0].id, &made[1].id));
}

#[tokio::test]
async fn ten_thousand_go_in_at_once_and_one_more_does_not() {
    let (db, store) = start().await;
    let mut told = db.notifications().await;
    let mut tasks: Vec<NewTask> = (0..MAX_TASKS)
        .map(|n| match n % 2 {
            0 => deploy(),
            _ => keyed(&format!("k{n}")),
        })
        .collect();
    let made = store.make_tasks(&tasks).await.unwrap();
    assert!(made.iter().all(|made| !made.exists));
    assert_eq!(count(&db).await, "10000");
    assert_eq!(told.count().await, 1, "the workers are told once");
    let again = store.make_tasks(&tasks).await.unwrap();
    assert_eq!(again.iter().filter(|made| made.exists).count(), 5000);
    assert!(
        again
            .iter()
            .zip(&made)
            .all(|(again, made)| !again.exists || again.id == made.id)
    );
    tasks.push(deploy());
    let fault = store.make_tasks(&tasks).await.unwrap_err();
    assert!(fault.too_large && fault.place.is_none(), "{fault:?}");
    assert!(fault.error.to_string().contains("at most 10000"), "{fault:?}");
    assert_eq!(count(&db).await, "15000");
}

#[tokio::test]
async fn calls_with_the_same_keys_in_any_order_make_each_task_once() {
    let (db, store) = start().await;
    let forth: Vec<NewTask> = (0..200).map(|n| keyed(&format!("k{n}"))).collect();
    let back: Vec<NewTask> = forth.iter().rev().cloned().collect();
    for _ in 0..5 {
        let calls = [&forth, &back, &forth, &back].map(|tasks| store.make_tasks(tasks));
        let mut made: Vec<Vec<Made>> = join_all(calls)
            .await
            .into_iter()
            .map(|made| made.expect("no error"))
            .collect();
        made[1].reverse();
        made[3].reverse();
        for n in 0..200 {
            assert!(made.iter().all(|call| call[n].id == made[0][n].id), "k{n}");
            assert_eq!(made.iter().filter(|call| !call[n].exists).count(), 1, "k{n}");
        }
        assert_eq!(count(&db).await, "200");
        db.sql("TRUNCATE tasks").await;
    }
}

#[tokio::test]
async fn behind_a_pooler_in_transaction_mode_it_is_the_same() {
    let db = postgres::database().await;
    // Fewer sessions than calls: each transaction may come to another one than the call's last.
    let pooler = db
        .pooler(PoolerSetup {
            sessions: 2,
            ..PoolerSetup::default()
        })
        .await;
    let store = Store::connect(pooler.config()).await.expect("connect");
    db.sql("INSERT INTO tasks (id, task_type, dedupe_key) VALUES ('open', 'deploy', 'k150')")
        .await;
    let calls: Vec<Vec<NewTask>> = (0..6)
        .map(|call| {
            let keys = (0..200).map(|n| keyed(&format!("k{}", n + 10 * call)));
            keys.chain([deploy(), deploy()]).collect()
        })
        .collect();
    let made: Vec<Vec<Made>> = join_all(calls.iter().map(|tasks| store.make_tasks(tasks)))
        .await
        .into_iter()
        .map(|made| made.expect("no error"))
        .collect();
    for n in 0..250 {
        let of_key: Vec<&Made> = made
            .iter()
            .enumerate()
            .filter_map(|(call, made)| made[..200].get(usize::checked_sub(n, 10 * call)?))
            .collect();
        let new = of_key.iter().filter(|made| !made.exists).count();
        assert_eq!(new, usize::from(n != 150), "k{n}");
        assert!(of_key.iter().all(|made| made.id == of_key[0].id), "k{n}");
    }
    assert_eq!(count(&db).await, "262", "250 keys, and two without in each call");

    let all: Vec<NewTask> = (0..MAX_TASKS).map(|_| deploy()).collect();
    assert_eq!(store.make_tasks(&all).await.expect("many").len(), MAX_TASKS);
    let fault = store
        .make_tasks(&[deploy(), under("nobody")])
        .await
        .expect_err("no such parent");
    assert_eq!(fault.place, Some(1), "{fault:?}");
    assert_eq!(count(&db).await, "10262", "nothing of what is refused is stored");
    let left = db
        .value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'")
        .await;
    assert_eq!(left.as_deref(), Some("0"), "no session is left in a transaction");
    store.close().await;
}

#[tokio::test]
async fn whoever_writes_in_another_order_is_made_way_for() {
    let (db, store) = start().await;
    let mut theirs = db.session().await;
    theirs
        .sql("SET deadlock_timeout = '1min'; BEGIN; INSERT INTO tasks (id, task_type, dedupe_key) VALUES ('theirs', 'deploy', 'b')")
        .await;
    let tasks = [keyed("a"), keyed("b"), deploy()];
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let (made, ()) = tokio::join!(store.make_tasks(&tasks), async {
        let waiting = async {
            while db.value(waits).await.as_deref() != Some("1") {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("ours waits for b");
        // Now each waits for the other, and Postgres ends ours, which looks for that sooner.
        theirs
            .sql("INSERT INTO tasks (id, task_type, dedupe_key) VALUES ('theirs too', 'deploy', 'a')")
            .await;
        theirs.sql("COMMIT").await;
    });
    let made = made.expect("it is tried again");
    assert_eq!((made[0].id.as_str(), made[0].exists), ("theirs too", true));
    assert_eq!((made[1].id.as_str(), made[1].exists), ("theirs", true));
    assert!(!made[2].exists);
    assert_eq!(count(&db).await, "3", "nothing is left of the first try");
}
