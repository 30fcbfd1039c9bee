//! docs/sql.md, run as it stands by the program that its readers have.

use std::io::Write;
use std::process::{Command, Stdio};

use store::cluster::Binaries;
use testkit::postgres;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sql.md");

/// The page's blocks of SQL, one after the other.
fn statements() -> String {
    let page = std::fs::read_to_string(PAGE).expect("read the page");
    let mut blocks = page.split("```sql\n").skip(1);
    let first = blocks
        .next()
        .and_then(|block| block.split_once("```"))
        .expect("a block")
        .0;
    blocks.fold(first.to_owned(), |all, block| {
        all + block.split_once("```").expect("its end").0
    })
}

#[tokio::test]
async fn the_pages_statements_make_the_tasks_that_it_shows() {
    let db = postgres::database().await;
    let psql = Binaries::find(None).expect("Postgres").dir().join("psql");
    let mut child = Command::new(psql)
        .args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname",
            db.url(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run psql");
    let sent = child
        .stdin
        .take()
        .expect("its input")
        .write_all(statements().as_bytes());
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        sent.is_ok() && output.status.success() && said.is_empty(),
        "{said}"
    );
    let rows = db
        .sql(
            "SELECT task_type, assigned_to, priority, coalesce(payload->>'instruction', payload->'pipeline'->>'id'), dedupe_key, status
               FROM tasks",
        )
        .await;
    let mut rows: Vec<String> = rows
        .iter()
        .map(|row| {
            row.iter()
                .map(|value| value.as_deref().unwrap_or("-"))
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect();
    let mut wanted = [
        "deploy|devops|7|deploy v1.4.2 to staging|-|pending",
        "deploy|devops|7|deploy v1.4.2 to production|-|pending",
        "fix_build|devops|5|4711|-|pending",
        "deploy|devops|7|deploy v1.4.3 to staging|-|pending",
        "fix_build|devops|5|4712|-|pending",
        "deploy|devops|7|deploy v1.4.4 to staging|-|pending",
        "fix_build|-|5|4713|-|pending",
        "deploy|-|5|deploy latest to staging|nightly staging|pending",
        "deploy|-|5|deploy latest to testing|nightly testing|pending",
        "deploy|-|5|deploy latest to demo|nightly demo|cancelled",
    ];
    rows.sort();
    wanted.sort();
    assert_eq!(rows, wanted);
}

#[tokio::test]
async fn a_finished_task_is_set_back_when_no_other_with_its_key_is_unfinished_and_else_refused_as_written() {
    let db = postgres::database().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, dedupe_key, status) VALUES
             ('first', 'deploy', 'nightly', 'failed'), ('other', 'deploy', 'nightly', 'pending')",
    )
    .await;
    let back = "UPDATE tasks SET status = 'pending' WHERE id = 'first'";
    let refused = db.try_sql(back).await.expect_err("two of one key");
    let page = std::fs::read_to_string(PAGE).expect("read the page");
    for named in ["23505", "longshore_tasks_dedupe"] {
        assert!(refused.contains(named), "{refused}");
        assert!(
            page.contains(&format!("`{named}`")),
            "the page does not name {named}"
        );
    }
    db.sql("UPDATE tasks SET status = 'cancelled' WHERE id = 'other'")
        .await;
    db.try_sql(back).await.expect("the other one is over");
}
