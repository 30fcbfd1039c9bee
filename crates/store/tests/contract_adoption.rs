//! Tables of an orchestrator that stand already: adopted in place with every row and column, or refused by name
//! and left exactly as they were.

use domain::{Error, NewTask};
use serde_json::json;
use testkit::postgres::{self, Database};

/// Everything as text, as some clients have it.
const TEXT: &str = "CREATE TABLE tasks (id TEXT PRIMARY KEY, repo_id TEXT, task_type TEXT NOT NULL, priority TEXT DEFAULT '5',
        payload TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'claimed', 'completed', 'failed')),
        assigned_to TEXT NOT NULL, created_by TEXT, created_at TEXT NOT NULL, claimed_at TEXT, completed_at TEXT, result TEXT,
        error TEXT, parent_task_id TEXT);
    INSERT INTO tasks VALUES ('a', 'r', 'deploy', '7', '{\"v\": 1}', 'completed', 'devops', 'pm', '2026-01-29T16:28:00.123456',
        '2026-01-29T18:28:01+02:00', '', '{\"ok\": true}', NULL, NULL), ('b', NULL, 'x', NULL, '', 'pending', 'other', NULL,
        '2026-01-29T16:28:00', NULL, NULL, NULL, NULL, 'a')";

/// Rich types, columns, keys and rules of their own, and only some columns of the contract.
const RICH: &str = "CREATE TYPE word AS ENUM ('pending', 'claimed', 'completed');
    CREATE TABLE repos (id uuid PRIMARY KEY, name varchar(80) NOT NULL, gitlab_project_id integer, active boolean NOT NULL DEFAULT true,
        created_at timestamptz DEFAULT now());
    CREATE TABLE tasks (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), title text NOT NULL, repo_id uuid REFERENCES repos (id) ON DELETE CASCADE,
        task_type varchar(50) NOT NULL, priority smallint NOT NULL DEFAULT 3 CHECK (priority BETWEEN 1 AND 5), payload json NOT NULL,
        status word NOT NULL DEFAULT 'pending', points integer CHECK (points >= 0), created_at timestamptz NOT NULL DEFAULT now(),
        started_at timestamptz, parent_task_id uuid REFERENCES tasks (id));
    CREATE INDEX by_title ON tasks (title);
    INSERT INTO repos VALUES ('00000000-0000-4000-8000-00000000000a', 'one', 17, false, '2026-01-01 01:00+02'),
        ('00000000-0000-4000-8000-00000000000b', 'two', 18, true, NULL);
    INSERT INTO tasks (id, title, repo_id, task_type, payload, points, created_at) VALUES
        ('00000000-0000-4000-8000-000000000001', 'first', '00000000-0000-4000-8000-00000000000a', 'deploy', '{\"a\":  1}', 3, '2026-01-29 16:28:00+01');
    INSERT INTO tasks (title, task_type, payload, parent_task_id) VALUES ('second', 'x', '[]', '00000000-0000-4000-8000-000000000001')";

async fn adopted(legacy: &str) -> Database {
    let db = postgres::empty_database().await;
    db.sql(legacy).await;
    db.store()
        .await
        .migrate()
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    both_sides_work(&db).await;
    db
}

async fn both_sides_work(db: &Database) {
    let store = db.store().await;
    let id = store
        .create_task(&NewTask::new("deploy", json!({"a": 1})))
        .await
        .expect("we write");
    assert!(
        store
            .tasks(&store::TaskFilter {
                limit: 100,
                ..Default::default()
            })
            .await
            .expect("we read")
            .len()
            > 1
    );
    store.cancel_task(&id).await.expect("we change");
    db.sql("INSERT INTO tasks (id, task_type, priority, payload, status, created_at) VALUES ('theirs', 'deploy', 10, '{}', 'waiting', '2026-01-29T16:28:00.5')").await;
    let error = db
        .try_sql("UPDATE tasks SET priority = 11 WHERE id = 'theirs'")
        .await
        .unwrap_err();
    assert!(error.contains("tasks_priority_from_1_to_10"), "{error}");
    db.sql(&format!("DELETE FROM tasks WHERE id IN ('theirs', '{id}')"))
        .await;
}

#[tokio::test]
async fn text_becomes_the_contracts_types() {
    let db = adopted(TEXT).await;
    let rows = db.sql("SELECT id, priority, payload, status, created_at, claimed_at, completed_at, result, parent_task_id FROM tasks ORDER BY id").await;
    let rows: Vec<String> = rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|v| v.as_deref().unwrap_or("-"))
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect();
    assert_eq!(
        rows,
        [
            "a|7|{\"v\": 1}|completed|2026-01-29 16:28:00.123456|2026-01-29 16:28:01|-|{\"ok\": true}|-",
            "b|5|-|pending|2026-01-29 16:28:00|-|-|-|a"
        ]
    );
}

#[tokio::test]
async fn rich_types_keys_and_columns_of_theirs_are_carried_over() {
    let db = adopted(RICH).await;
    let first = db.sql("SELECT id, title, repo_id, priority, payload, status, points, created_at FROM tasks WHERE title = 'first'").await;
    let first: Vec<&str> = first[0].iter().flatten().map(String::as_str).collect();
    assert_eq!(
        first,
        [
            "00000000-0000-4000-8000-000000000001",
            "first",
            "00000000-0000-4000-8000-00000000000a",
            "3",
            "{\"a\": 1}",
            "pending",
            "3",
            "2026-01-29 15:28:00"
        ]
    );
    let repos = db
        .sql(
            "SELECT name, status, active, gitlab_project_id, created_at IS NOT NULL FROM repos ORDER BY name",
        )
        .await;
    let repos: Vec<String> = repos
        .iter()
        .map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(repos, ["one paused f 17 t", "two active t 18 t"]);
    assert!(
        db.try_sql("UPDATE tasks SET points = -1").await.is_err(),
        "their rule holds"
    );
    assert!(
        db.try_sql("UPDATE tasks SET parent_task_id = 'nobody'")
            .await
            .is_err(),
        "their key holds"
    );
    db.sql("DELETE FROM tasks WHERE title = 'second'; DELETE FROM repos WHERE name = 'one'")
        .await;
    assert_eq!(
        db.value("SELECT count(*) FROM tasks").await.as_deref(),
        Some("0"),
        "and cascades"
    );
}

#[tokio::test]
async fn their_own_words_for_a_status_stay_allowed() {
    let db = adopted(
        "CREATE TABLE tasks (id text PRIMARY KEY, task_type text NOT NULL, status varchar(20) CHECK (status IN ('pending', 'blocked')));
         INSERT INTO tasks VALUES ('a', 'deploy', 'blocked'), ('b', 'deploy', 'pending')",
    )
    .await;
    db.sql("UPDATE tasks SET status = 'blocked'").await;
    assert!(db.try_sql("UPDATE tasks SET status = 'nonsense'").await.is_err());
    let listed = db
        .store()
        .await
        .tasks(&store::TaskFilter {
            limit: 9,
            ..Default::default()
        })
        .await
        .unwrap();
    assert!(listed.is_empty(), "rows that only they understand are left out");
}

#[tokio::test]
async fn what_cannot_be_carried_over_is_named_and_nothing_changes() {
    // One for all, as each refusal must leave it as it was.
    let db = postgres::empty_database().await;
    let base = "CREATE TABLE tasks (id uuid PRIMARY KEY, task_type text NOT NULL, payload text, created_at text, status text, priority int);";
    let row = |values: &str| {
        format!("{base} INSERT INTO tasks VALUES ('00000000-0000-4000-8000-000000000001', 'x', {values})")
    };
    for (legacy, named) in [
        (row("'not json', NULL, 'pending', 1"), vec!["tasks.payload", "not json"]),
        (row("NULL, 'yesterday-ish', 'pending', 1"), vec!["tasks.created_at", "yesterday-ish"]),
        (row("NULL, NULL, 'lost', 1"), vec!["tasks.status", "lost"]),
        (row("NULL, NULL, NULL, 1"), vec!["tasks.status", "empty"]),
        (row("NULL, NULL, 'pending', 11"), vec!["tasks.priority", "11"]),
        (format!("{base} CREATE VIEW overview AS SELECT id FROM tasks"), vec!["overview"]),
        (format!("{base} CREATE TABLE notes (task_id uuid CONSTRAINT notes_of_task REFERENCES tasks (id))"), vec!["notes_of_task", "notes"]),
        (
            format!("{base} CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                     CREATE TRIGGER audit BEFORE UPDATE OF payload ON tasks FOR EACH ROW EXECUTE FUNCTION f()"),
            vec!["audit"],
        ),
        ("CREATE VIEW tasks AS SELECT 1 AS id".to_owned(), vec!["tasks", "ordinary table"]),
        (
            "CREATE TABLE tasks (id text PRIMARY KEY, task_type text NOT NULL, worker_id text); INSERT INTO tasks VALUES ('a', 'x', 'them')".to_owned(),
            vec!["tasks.worker_id", "them"],
        ),
        (
            "CREATE TABLE tasks (id text, task_type text NOT NULL); INSERT INTO tasks VALUES ('twice', 'x'), ('twice', 'x')".to_owned(),
            vec!["tasks.id", "twice"],
        ),
    ] {
        db.sql(&format!("DROP SCHEMA public CASCADE; CREATE SCHEMA public; {legacy}"))
            .await;
        let before = catalogue(&db).await;
        let error: Error = db.store().await.migrate().await.expect_err(&legacy);
        for name in named {
            assert!(error.to_string().contains(name), "{error}\ndoes not name {name} of {legacy}");
        }
        assert!(error.to_string().contains("nothing was changed"), "{error}");
        assert_eq!(catalogue(&db).await, before, "{legacy}");
    }
}

#[tokio::test]
async fn a_table_that_is_in_use_is_waited_for_only_so_long() {
    let db = postgres::empty_database().await;
    db.sql(TEXT).await;
    let mut busy = db.session().await;
    busy.sql("BEGIN; LOCK TABLE tasks IN ROW EXCLUSIVE MODE").await;
    let error = db.store().await.migrate().await.expect_err("the table is locked");
    assert!(error.is_transient(), "{error}");
    busy.sql("ROLLBACK").await;
    db.store().await.migrate().await.expect("once it is free");
}

#[tokio::test]
async fn two_programs_that_migrate_at_once_do_it_once() {
    let db = postgres::empty_database().await;
    db.sql(RICH).await;
    let (one, two) = (db.store().await, db.store().await);
    let (one, two) = tokio::join!(one.migrate(), two.migrate());
    one.and(two).expect("both succeed");
    both_sides_work(&db).await;
}

/// Every object, column and row of the database, as text.
async fn catalogue(db: &Database) -> Vec<postgres::Row> {
    let mut all = db
        .sql("SELECT n.nspname || '.' || c.relname || ' ' || c.relkind::text || ' ' || coalesce(string_agg(a.attname || ' ' || a.atttypid::regtype::text || a.attnotnull::text, ', ' ORDER BY a.attnum), '')
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
               WHERE n.nspname NOT LIKE 'pg_%' AND n.nspname <> 'information_schema' GROUP BY c.oid, c.relkind, n.nspname, c.relname ORDER BY 1")
        .await;
    all.extend(db.sql("SELECT nspname FROM pg_namespace ORDER BY 1").await);
    all.extend(db.sql("SELECT t::text FROM tasks t ORDER BY 1").await);
    all
}
