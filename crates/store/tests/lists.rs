//! Lists: page by page, whole, and at a cost that does not grow with what is over.

use std::time::{Duration, Instant};

use domain::TaskStatus;
use store::{Store, TaskFilter};
use testkit::postgres::{self, Database};

async fn start() -> (Database, Store) {
    let db = postgres::database().await;
    let store = db.store().await;
    (db, store)
}

/// All ids that the filter takes, and how many pages they took.
async fn walk(store: &Store, filter: &TaskFilter) -> (Vec<String>, usize) {
    let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.page(filter, cursor.as_ref()).await.unwrap();
        pages += 1;
        assert!(page.tasks.len() <= filter.limit as usize);
        seen.extend(page.tasks.into_iter().map(|task| task.id.to_string()));
        match page.next {
            // As a program hands it back.
            Some(next) => cursor = Some(next.to_string().parse().unwrap()),
            None => return (seen, pages),
        }
    }
}

#[tokio::test]
async fn every_filter_finds_all_of_its_tasks_once_and_in_order() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, repo_id, status, wait, created_at)
         SELECT 't' || n, CASE n % 3 WHEN 0 THEN 'a' ELSE 'b' END, CASE n % 5 WHEN 0 THEN 'builder' ELSE 'devops' END, 'r' || n % 4,
                (ARRAY['pending','claimed','in_progress','waiting','completed','failed','cancelled'])[1 + n % 7],
                CASE n % 7 WHEN 3 THEN '{}'::jsonb END,
                -- Several of one moment, and moments that no calendar shows.
                CASE WHEN n % 50 = 0 THEN 'infinity' WHEN n % 49 = 0 THEN '-infinity' ELSE timestamp '2026-01-01' + interval '1 microsecond' * (n / 3) END
           FROM generate_series(1, 300) n",
    )
    .await;
    let one_status = TaskStatus::ALL.map(|status| vec![status]);
    let several = [
        vec![],
        vec![TaskStatus::Failed, TaskStatus::Pending],
        vec![TaskStatus::Completed, TaskStatus::Waiting],
    ];
    for status in one_status.into_iter().chain(several) {
        for task_type in [None, Some("a".to_owned())] {
            for repo_id in [None, Some("r1".to_owned())] {
                let filter = TaskFilter {
                    status: status.clone(),
                    limit: 7,
                    task_type: task_type.clone(),
                    assigned_to: Some("devops".to_owned()),
                    repo_id: repo_id.clone(),
                };
                let words: Vec<String> = status.iter().map(|s| format!("'{s}'")).collect();
                let by_status = if words.is_empty() {
                    "true".to_owned()
                } else {
                    format!("status IN ({})", words.join(","))
                };
                let right: Vec<String> = db
                    .sql(&format!(
                        "SELECT id FROM tasks WHERE {by_status} AND assigned_to = 'devops' AND {} AND {}
                          ORDER BY created_at DESC, id DESC",
                        task_type
                            .as_ref()
                            .map_or("true".to_owned(), |t| format!("task_type = '{t}'")),
                        repo_id
                            .as_ref()
                            .map_or("true".to_owned(), |r| format!("repo_id = '{r}'")),
                    ))
                    .await
                    .into_iter()
                    .map(|mut row| row.remove(0).unwrap())
                    .collect();
                assert_eq!(walk(&store, &filter).await.0, right, "{filter:?}");
            }
        }
    }
}

#[tokio::test]
async fn large_payloads_and_results_are_left_out_of_lists_alone() {
    let (db, store) = start().await;
    // Text that does not compress.
    db.sql(
        "INSERT INTO tasks (id, task_type, status, payload, result)
         SELECT 'large', 'x', 'completed', jsonb_build_object('log', text), jsonb_build_object('verdict', 'succeeded', 'summary', 'all well', 'data', text)
           FROM (SELECT string_agg(md5(n::text), '') AS text FROM generate_series(1, 1000) n) AS noise;
         INSERT INTO tasks (id, task_type, payload) VALUES ('small', 'x', '{\"instruction\": \"go\"}')",
    )
    .await;
    let listed = store.tasks(&TaskFilter::default()).await.unwrap();
    assert_eq!(
        (
            listed[0].omitted,
            listed[0].payload.as_ref().unwrap()["instruction"].as_str()
        ),
        (false, Some("go"))
    );
    let large = &listed[1];
    assert_eq!((large.omitted, &large.payload), (true, &None));
    assert_eq!(large.result.as_ref().unwrap()["summary"], "all well");
    assert!(large.result.as_ref().unwrap().get("data").is_none());
    let whole = store.task(&large.id).await.unwrap();
    assert!(!whole.omitted && whole.payload.unwrap()["log"].as_str().unwrap().len() == 32_000);
    assert!(whole.result.unwrap()["data"].is_string());
}

/// Postgres keeps repetitions and large numbers in a hundredth of their text.
#[tokio::test]
async fn what_is_large_as_text_alone_is_left_out_of_lists_too() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, payload) VALUES
             ('text', 'x', jsonb_build_object('log', repeat('z', 300000))),
             ('numbers', 'x', jsonb_build_object('a', (SELECT jsonb_agg(1e308) FROM generate_series(1, 200)))),
             ('small', 'x', jsonb_build_object('log', repeat('z', 16000)))",
    )
    .await;
    let packed = "SELECT max(pg_column_size(payload)) < 4096 FROM tasks";
    assert_eq!(db.value(packed).await.as_deref(), Some("t"));
    let mut left_out: Vec<String> = Vec::new();
    for task in store.page(&TaskFilter::default(), None).await.unwrap().tasks {
        assert_eq!(task.omitted, task.payload.is_none(), "{task:?}");
        left_out.extend(task.omitted.then(|| task.id.to_string()));
    }
    left_out.sort();
    assert_eq!(left_out, ["numbers", "text"]);
}

#[tokio::test]
async fn a_page_of_much_text_ends_early_and_goes_on() {
    let (db, store) = start().await;
    db.sql("INSERT INTO tasks (id, task_type, status, error) SELECT 't' || n, 'x', 'failed', repeat('e', 60000) FROM generate_series(1, 250) n")
        .await;
    let filter = TaskFilter {
        limit: 1000,
        ..TaskFilter::default()
    };
    let page = store.page(&filter, None).await.unwrap();
    assert!(
        page.tasks.len() < 250 && page.next.is_some(),
        "{}",
        page.tasks.len()
    );
    let (seen, pages) = walk(&store, &filter).await;
    assert_eq!((seen.len(), pages), (250, 3));
}

#[tokio::test]
async fn what_is_over_costs_neither_lists_nor_counts_nor_dead_letters() {
    let (db, store) = start().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, status, created_at, completed_at)
         SELECT 'over ' || n, 'deploy', 'devops', 'completed', timestamp '2026-01-01' + interval '1 second' * n, '2026-02-01'
           FROM generate_series(1, 105000) n;
         INSERT INTO tasks (id, task_type, assigned_to, status, error, created_at) VALUES
             ('failed', 'deploy', 'devops', 'failed', 'broke', '2025-01-01'), ('rare', 'paint', 'devops', 'completed', NULL, '2025-01-01'),
             ('pending', 'deploy', 'devops', 'pending', NULL, '2025-01-01');
         ANALYZE tasks",
    )
    .await;
    let read = async || {
        let row = db
            .sql("SELECT seq_tup_read, idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relid = 'tasks'::regclass")
            .await
            .remove(0);
        let number = |at: usize| -> i64 { row[at].as_deref().unwrap_or("0").parse().unwrap() };
        (number(0), number(1))
    };
    store.close().await;
    // Sessions write down what they read when they end.
    let gone = async || {
        let others = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
        let wait = async {
            while db.value(others).await.as_deref() != Some("0") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait)
            .await
            .expect("all sessions end");
    };
    gone().await;
    let (scanned, all) = read().await;
    let store = db.store().await;
    for status in ["pending", "failed", "cancelled", "waiting", "in_progress"] {
        let filter = TaskFilter {
            status: vec![status.parse().unwrap()],
            ..TaskFilter::default()
        };
        let found = walk(&store, &filter).await;
        assert_eq!(
            found.0.len(),
            usize::from(status == "pending" || status == "failed"),
            "{status}"
        );
    }
    let counts = store.task_counts().await.unwrap();
    assert!(counts.estimated);
    assert_eq!(
        (
            counts.by_status["pending"],
            counts.by_status["failed"],
            counts.by_status["waiting"]
        ),
        (1, 1, 0)
    );
    let completed = counts.by_status["completed"];
    assert!((100_000..110_000).contains(&completed), "{completed}");
    let dead = store
        .dead_letters(&store::DeadFilter {
            limit: 5,
            ..Default::default()
        })
        .await
        .unwrap();
    assert_eq!(dead.total, 1);
    store.close().await;
    gone().await;
    let (scanned_now, all_now) = read().await;
    assert_eq!(scanned_now - scanned, 0, "no scan of the whole table");
    let read = all_now - all;
    assert!(
        (1..15_000).contains(&read),
        "{read} rows were read for six short answers"
    );

    // What only a long look finds comes after pages that are short of tasks, each of them cheap.
    let store = db.store().await;
    let rare = TaskFilter {
        task_type: Some("paint".to_owned()),
        ..TaskFilter::default()
    };
    let begun = Instant::now();
    let first = store.page(&rare, None).await.unwrap();
    assert!(first.tasks.is_empty() && first.next.is_some(), "{first:?}");
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(walk(&store, &rare).await, (vec!["rare".to_owned()], 2));
}
