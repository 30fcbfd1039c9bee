//! What orchestrators send to the table, sent as they send it: text literals over the simple protocol.

use testkit::postgres;

const INSERT: &str = "INSERT INTO tasks (id, repo_id, task_type, priority, payload, status, assigned_to, created_by, created_at, parent_task_id)
VALUES ('6f0c2b1e-0000-4000-8000-000000000001', '0b1e0000-0000-4000-8000-000000000001', 'deploy', 7, '{\"instruction\": \"deploy v1.4.2 to staging\"}', 'pending', 'devops', 'pm', '2026-01-29T16:28:00.123456', NULL)";

/// Their start-up: each statement inside a savepoint, a failure rolled back to it.
const START_UP: [&str; 9] = [
    "CREATE TABLE IF NOT EXISTS tasks (id UUID PRIMARY KEY, repo_id UUID, task_type VARCHAR(50) NOT NULL, priority INTEGER DEFAULT 5, payload JSONB, status VARCHAR(20))",
    "CREATE TABLE IF NOT EXISTS repos (id UUID PRIMARY KEY, name TEXT NOT NULL)",
    "ALTER TABLE tasks ADD COLUMN team TEXT",
    "ALTER TABLE tasks ADD COLUMN result JSONB",
    "ALTER TABLE tasks ALTER COLUMN id TYPE TEXT",
    "ALTER TABLE tasks ALTER COLUMN repo_id TYPE TEXT",
    "ALTER TABLE repos ALTER COLUMN id TYPE TEXT",
    "CREATE INDEX IF NOT EXISTS idx_tasks_repo_id ON tasks(repo_id); CREATE INDEX IF NOT EXISTS idx_tasks_status ON tasks(status)",
    "CREATE INDEX IF NOT EXISTS idx_tasks_priority ON tasks(priority DESC)",
];

#[tokio::test]
async fn the_statements_of_the_contract_work_as_they_stand() {
    let db = postgres::database().await;
    db.sql(INSERT).await;
    db.sql("UPDATE tasks SET assigned_to = NULL, task_type = 'implement_fix'")
        .await;
    let claimed = db
        .sql(
            "UPDATE tasks SET status = 'claimed', assigned_to = 'builder', claimed_at = '2026-01-29T16:28:01.5'
              WHERE id = (SELECT id FROM tasks WHERE status = 'pending'
                            AND (assigned_to = 'builder' OR (assigned_to IS NULL AND task_type IN ('implement_fix')))
                          ORDER BY priority DESC, created_at ASC LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *",
        )
        .await;
    let row: Vec<&str> = claimed[0]
        .iter()
        .map(|value| value.as_deref().unwrap_or("NULL"))
        .collect();
    assert_eq!(
        row[..14],
        [
            "6f0c2b1e-0000-4000-8000-000000000001",
            "0b1e0000-0000-4000-8000-000000000001",
            "implement_fix",
            "7",
            "{\"instruction\": \"deploy v1.4.2 to staging\"}",
            "claimed",
            "builder",
            "pm",
            "2026-01-29 16:28:00.123456",
            "2026-01-29 16:28:01.5",
            "NULL",
            "NULL",
            "NULL",
            "NULL"
        ],
        "clients read rows by position"
    );
    db.sql(
        "UPDATE tasks SET status = 'completed', completed_at = '2026-01-29T16:30:00', result = '{\"ok\": true}', error = NULL
          WHERE id = '6f0c2b1e-0000-4000-8000-000000000001' AND assigned_to = 'builder'",
    )
    .await;
    let failed = db
        .sql("SELECT * FROM tasks WHERE repo_id = '0b1e0000-0000-4000-8000-000000000001' AND status = 'failed' ORDER BY priority DESC, created_at DESC LIMIT 50")
        .await;
    assert!(failed.is_empty());
    assert_eq!(
        db.value("SELECT status || (result->>'ok') FROM tasks")
            .await
            .as_deref(),
        Some("completedtrue")
    );
}

#[tokio::test]
async fn only_the_type_is_required() {
    let db = postgres::database().await;
    let row = &db
        .sql("INSERT INTO tasks (task_type) VALUES ('deploy') RETURNING priority, payload, status, id")
        .await[0];
    assert_eq!(
        row[..3],
        [
            Some("5".to_owned()),
            Some("{}".to_owned()),
            Some("pending".to_owned())
        ]
    );
    let id: uuid::Uuid = row[3].as_deref().unwrap().parse().expect("a UUID");
    assert_eq!(
        (id.get_version_num(), id.get_variant()),
        (7, uuid::Variant::RFC4122)
    );
    let made = db.value("SELECT abs(extract(epoch FROM created_at - (clock_timestamp() AT TIME ZONE 'UTC'))) < 60 FROM tasks").await;
    assert_eq!(made.as_deref(), Some("t"));
    assert!(
        db.try_sql("INSERT INTO tasks (priority) VALUES (1)")
            .await
            .unwrap_err()
            .contains("task_type")
    );
}

#[tokio::test]
async fn ids_that_the_table_chooses_sort_by_their_making() {
    let db = postgres::database().await;
    let sorted = db
        .value("SELECT bool_and(id > before) FROM (SELECT id, lag(id) OVER (ORDER BY n) AS before FROM (
                    SELECT n, longshore.uuid7() AS id FROM generate_series(1, 50) AS n, pg_sleep(0.0001 * (n - n + 1))) AS ids) AS pairs")
        .await;
    assert_eq!(sorted.as_deref(), Some("t"));
}

#[tokio::test]
async fn what_the_table_must_not_hold_is_refused_by_name() {
    let db = postgres::database().await;
    for priority in [0, 11] {
        let error = db
            .try_sql(&format!(
                "INSERT INTO tasks (task_type, priority) VALUES ('deploy', {priority})"
            ))
            .await
            .unwrap_err();
        assert!(error.contains("tasks_priority_from_1_to_10"), "{error}");
    }
    let error = db
        .try_sql("INSERT INTO tasks (task_type, status) VALUES ('deploy', 'done')")
        .await
        .unwrap_err();
    assert!(error.contains("tasks_status_known"), "{error}");
    let large = "INSERT INTO tasks (task_type, payload) VALUES ('deploy', jsonb_build_object('log', repeat('x', 1048576 - 10 - 1 + {extra})))";
    let error = db.try_sql(&large.replace("{extra}", "1")).await.unwrap_err();
    assert!(error.contains("tasks_payload_at_most_1_mib"), "{error}");
    db.sql(&large.replace("{extra}", "0")).await;
    db.sql("UPDATE tasks SET status = 'claimed'").await;
}

#[tokio::test]
async fn a_literal_without_a_zone_is_utc_in_every_session() {
    let db = postgres::database().await;
    let mut session = db.session().await;
    session.sql("SET timezone = 'Pacific/Auckland'").await;
    session.sql(INSERT).await;
    let store = db.store().await;
    let task = store
        .task(&"6f0c2b1e-0000-4000-8000-000000000001".into())
        .await
        .unwrap();
    assert_eq!(task.created_at.to_rfc3339(), "2026-01-29T16:28:00.123456+00:00");
    session
        .sql("INSERT INTO tasks (id, task_type) VALUES ('now', 'deploy')")
        .await;
    let off = session.sql("SELECT abs(extract(epoch FROM created_at - (clock_timestamp() AT TIME ZONE 'UTC'))) < 60 FROM tasks WHERE id = 'now'").await;
    assert_eq!(off[0][0].as_deref(), Some("t"), "so are the defaults");
}

#[tokio::test]
async fn a_statement_wakes_the_workers_once_and_theirs_do_not() {
    let db = postgres::database().await;
    let mut told = db.notifications().await;
    db.sql("INSERT INTO tasks (task_type) SELECT 'deploy' FROM generate_series(1, 20)")
        .await;
    assert_eq!(told.count().await, 1, "an INSERT of many rows");
    db.sql("UPDATE tasks SET status = 'cancelled'").await;
    assert_eq!(told.count().await, 1, "a change of status");
    db.sql("UPDATE tasks SET result = '{}'").await;
    assert_eq!(told.count().await, 0, "any other change");
    let mut worker = db.session().await;
    worker.sql("SET application_name = 'longshore-worker'").await;
    worker
        .sql("INSERT INTO tasks (task_type) VALUES ('deploy')")
        .await;
    worker.sql("UPDATE tasks SET status = 'in_progress'").await;
    assert_eq!(told.count().await, 0, "a worker's own statements");
}

#[tokio::test]
async fn an_orchestrator_that_starts_after_us_changes_nothing_that_we_need() {
    let db = postgres::database().await;
    let store = db.store().await;
    let id = store
        .create_task(&domain::NewTask::new("deploy", serde_json::json!({"a": 1})))
        .await
        .unwrap();
    let shape =
        "SELECT string_agg(attname || ' ' || atttypid::regtype, ', ' ORDER BY attnum) FROM pg_attribute
                  WHERE attrelid = 'tasks'::regclass AND attnum > 0 AND attname <> 'team'";
    let before = db.value(shape).await;

    let mut session = db.session().await;
    session.sql("BEGIN").await;
    for statement in START_UP {
        session.sql("SAVEPOINT s").await;
        if session.try_sql(statement).await.is_err() {
            session.sql("ROLLBACK TO SAVEPOINT s").await;
        }
    }
    session.sql("COMMIT").await;

    assert_eq!(db.value(shape).await, before);
    assert_eq!(
        db.value("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'idx_tasks_%'")
            .await
            .as_deref(),
        Some("3")
    );
    // The same connections, whose statements were prepared before the columns grew.
    let task = store.task(&id).await.expect("reads on");
    assert_eq!(task.payload, Some(serde_json::json!({"a": 1})));
    store
        .create_task(&domain::NewTask::new("deploy", serde_json::json!({})))
        .await
        .expect("writes on");
    db.sql(INSERT).await;
    assert_eq!(
        store
            .tasks(&store::TaskFilter {
                limit: 10,
                ..Default::default()
            })
            .await
            .unwrap()
            .len(),
        3
    );
    store.migrate().await.expect("and migrates again");
}

#[tokio::test]
async fn active_and_status_of_a_repository_follow_whichever_was_written_last() {
    let db = postgres::database().await;
    let state = "SELECT concat_ws(' ', status, active) FROM repos";
    for (statement, wanted) in [
        (
            "INSERT INTO repos (id, name, gitlab_project_id) VALUES ('r', 'one', 17)",
            "active t",
        ),
        ("UPDATE repos SET active = false", "paused f"),
        ("UPDATE repos SET active = true", "active t"),
        ("UPDATE repos SET status = 'archived'", "archived f"),
        ("UPDATE repos SET active = false", "archived f"),
        ("UPDATE repos SET status = 'active'", "active t"),
        (
            "DELETE FROM repos; INSERT INTO repos (name, active) VALUES ('two', false)",
            "paused f",
        ),
        (
            "DELETE FROM repos; INSERT INTO repos (name, status) VALUES ('three', 'archived')",
            "archived f",
        ),
    ] {
        db.sql(statement).await;
        assert_eq!(db.value(state).await.as_deref(), Some(wanted), "{statement}");
    }
}
