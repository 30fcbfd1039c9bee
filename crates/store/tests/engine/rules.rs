//! Limits and pauses, as claims keep them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use domain::{RepoStatus, Report, TaskStatus, Verdict};
use durable::{Lease, Outcome};
use store::{Claimed, HeldBy, RuleChange, Scope, Settle, Settled, Store};
use testkit::postgres::{self, Database};

use crate::common::{LONG, claim, register};

pub(crate) fn of_type(name: &str) -> Scope {
    Scope::Type(name.to_owned())
}

pub(crate) fn of_repo(id: &str) -> Scope {
    Scope::Repo(id.to_owned())
}

pub(crate) async fn limit(store: &Store, scope: &Scope, most: u32) {
    let change = RuleChange {
        max_running: Some(Some(most)),
        by: "a test".to_owned(),
        ..RuleChange::default()
    };
    store.set_rule(scope, &change).await.expect("a limit");
}

pub(crate) async fn pause(store: &Store, scope: &Scope, paused: bool) {
    let change = RuleChange {
        paused: Some(paused),
        reason: paused.then(|| Some("a test".to_owned())),
        by: "somebody".to_owned(),
        ..RuleChange::default()
    };
    store.set_rule(scope, &change).await.expect("a pause");
}

/// Repositories `a` and `b`, and a worker that serves `deploy` and `fix_build`.
pub(crate) async fn house() -> (Database, Store) {
    let db = postgres::database().await;
    db.sql("INSERT INTO repos (id, gitlab_project_id) VALUES ('a', 'group/a'), ('b', 'group/b')")
        .await;
    let store = db.worker_store().await;
    register(&store, "w", LONG).await;
    (db, store)
}

/// Pending tasks of a type and repository; none where it is empty.
pub(crate) async fn pending(db: &Database, name: &str, task_type: &str, repo: &str, number: u32) {
    db.sql(&format!(
        "INSERT INTO tasks (id, task_type, assigned_to, repo_id, created_at, run_at)
         SELECT '{name} ' || n, '{task_type}', 'devops', nullif('{repo}', ''), at, at
           FROM generate_series(1, {number}) n CROSS JOIN LATERAL (SELECT timestamp '2026-01-01' + make_interval(secs => n) AS at) AS moment"
    ))
    .await;
}

pub(crate) async fn take(store: &Store, limit: u32) -> Vec<Claimed> {
    store
        .claim(&claim("w", limit), &store::Taken::default())
        .await
        .expect("claim")
}

pub(crate) fn ids(claimed: &[Claimed]) -> Vec<&str> {
    let mut ids: Vec<&str> = claimed.iter().map(|claimed| claimed.info.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

async fn finish(store: &Store, leases: impl IntoIterator<Item = &Lease>) {
    let batch: Vec<Settle> = leases
        .into_iter()
        .map(|lease| Settle {
            lease: lease.clone(),
            parent: None,
            ticket: None,
            outcome: Outcome::Ended {
                status: TaskStatus::Completed,
                report: Box::new(Report::new(Verdict::Succeeded, "done")),
                error: None,
            },
            delay: Duration::ZERO,
        })
        .collect();
    let settled = store.finish(&batch).await.expect("finish");
    assert!(settled.iter().all(|settled| *settled == Settled::Written));
}

#[tokio::test]
async fn a_type_and_a_repository_have_so_many_places_and_no_more() {
    let (db, store) = house().await;
    pending(&db, "da", "deploy", "a", 5).await;
    pending(&db, "db", "deploy", "b", 5).await;
    pending(&db, "fa", "fix_build", "a", 5).await;
    pending(&db, "f", "fix_build", "", 2).await;
    limit(&store, &of_type("deploy"), 3).await;
    limit(&store, &of_repo("a"), 4).await;
    let first = take(&store, 20).await;
    let mut kinds = BTreeMap::new();
    for claimed in &first {
        let repo = claimed.info.repo.as_ref().map_or("", |repo| repo.id.as_str());
        *kinds.entry((claimed.info.task_type.as_str(), repo)).or_insert(0) += 1;
    }
    let deploys = kinds[&("deploy", "a")] + kinds.get(&("deploy", "b")).copied().unwrap_or(0);
    assert_eq!(deploys, 3, "{kinds:?}");
    assert_eq!(
        kinds[&("deploy", "a")] + kinds[&("fix_build", "a")],
        4,
        "{kinds:?}"
    );
    assert_eq!(
        kinds[&("fix_build", "")],
        2,
        "what no rule is about is not held back"
    );
    assert!(take(&store, 20).await.is_empty(), "all places are taken");

    let deploy = first
        .iter()
        .find(|claimed| claimed.info.task_type == "deploy")
        .expect("a deploy");
    finish(&store, [&deploy.lease]).await;
    assert!(!take(&store, 20).await.is_empty(), "its place is the next one's");
    let listed = store.queue().await.expect("the rules").rules;
    let running: Vec<(&str, i64)> = listed
        .iter()
        .map(|rule| (rule.label.as_str(), rule.running))
        .collect();
    assert_eq!(running, [("deploy", 3), ("group/a", 4)]);
}

#[tokio::test]
async fn a_limit_on_everything_is_one_too() {
    let (db, store) = house().await;
    pending(&db, "d", "deploy", "", 3).await;
    pending(&db, "f", "fix_build", "b", 3).await;
    limit(&store, &Scope::All, 4).await;
    assert_eq!(take(&store, 20).await.len(), 4);
    assert!(take(&store, 20).await.is_empty());
}

#[tokio::test]
async fn the_best_of_what_has_room_comes_first_and_the_oldest_as_the_claim_says() {
    let (db, store) = house().await;
    db.sql(
        "INSERT INTO tasks (id, task_type, assigned_to, repo_id, priority, created_at) VALUES
         ('a ten', 'deploy', 'devops', 'a', 10, '2026-01-05'), ('a nine', 'deploy', 'devops', 'a', 9, '2026-01-01'),
         ('b eight', 'deploy', 'devops', 'b', 8, '2026-01-04'), ('anyones eight', 'fix_build', NULL, NULL, 8, '2026-01-03'),
         ('none seven', 'knit', 'devops', NULL, 7, '2026-01-02'), ('b one', 'deploy', 'devops', 'b', 1, '2025-12-31'),
         ('theirs', 'deploy', 'builder', 'b', 10, '2025-01-01'), ('later', 'deploy', 'devops', 'b', 10, '2025-01-01')",
    )
    .await;
    db.sql(
        "UPDATE tasks SET run_at = created_at;
         UPDATE tasks SET run_at = CASE id WHEN 'later' THEN timestamp 'infinity' ELSE '2026-01-02 12:00' END
          WHERE id IN ('later', 'none seven')",
    )
    .await;
    limit(&store, &of_repo("a"), 1).await;
    let (mut order, mut oldest) = (Vec::new(), 0);
    loop {
        let mut next = claim("w", 1);
        // As for the third of three.
        next.oldest = u32::from(oldest == 2);
        oldest += 1;
        let Some(claimed) = store
            .claim(&next, &store::Taken::default())
            .await
            .expect("claim")
            .pop()
        else {
            break;
        };
        order.push(claimed.info.id.to_string());
    }
    assert_eq!(
        order,
        ["a ten", "anyones eight", "b one", "b eight", "none seven"]
    );
}

#[tokio::test]
async fn a_pause_starts_nothing_and_lets_what_was_begun_go_on() {
    let (db, store) = house().await;
    pending(&db, "d", "deploy", "a", 2).await;
    let begun = take(&store, 1).await;
    store
        .release(&[begun[0].lease.clone()])
        .await
        .expect("hand it back");
    for scope in [Scope::All, of_type("deploy"), of_repo("a")] {
        pause(&store, &scope, true).await;
        let task = store.task(&"d 2".into()).await.expect("a task");
        let held = task.held_back.expect("it is held back");
        assert_eq!(held.by, HeldBy::Pause);
        assert!(
            held.why.contains("by somebody since") && held.why.ends_with(": a test"),
            "{}",
            held.why
        );
        let resumed = take(&store, 9).await;
        assert_eq!(ids(&resumed), ["d 1"], "{scope}");
        store
            .release(&[resumed[0].lease.clone()])
            .await
            .expect("hand it back");
        pause(&store, &scope, false).await;
    }
    assert_eq!(
        ids(&take(&store, 9).await),
        ["d 1", "d 2"],
        "nothing is paused any more"
    );
    assert!(store.queue().await.expect("the rules").rules.is_empty());
}

#[tokio::test]
async fn a_repository_whose_row_says_so_rests_and_wakes() {
    let (db, store) = house().await;
    pending(&db, "a", "deploy", "a", 1).await;
    pending(&db, "b", "deploy", "b", 1).await;
    db.sql("UPDATE repos SET active = false WHERE id = 'a'").await;
    assert_eq!(ids(&take(&store, 9).await), ["b 1"]);
    let held = store.task(&"a 1".into()).await.expect("a task").held_back;
    assert_eq!(held.expect("held back").why, "its repository is paused");
    db.sql("UPDATE repos SET status = 'archived' WHERE id = 'a'")
        .await;
    assert!(take(&store, 9).await.is_empty());
    let wake = RuleChange {
        paused: Some(false),
        ..RuleChange::default()
    };
    let refused = store.set_rule(&of_repo("a"), &wake).await.expect_err("archived");
    assert!(refused.to_string().contains("archived"), "{refused}");
    store
        .set_repo_status("a", RepoStatus::Paused)
        .await
        .expect("pause its row");
    assert!(take(&store, 9).await.is_empty());
    store.set_rule(&of_repo("a"), &wake).await.expect("wake it");
    assert_eq!(ids(&take(&store, 9).await), ["a 1"]);
    let mut heard = db.notifications().await;
    db.sql("UPDATE repos SET status = 'paused' WHERE id = 'b'").await;
    assert_eq!(heard.count().await, 1, "a repository's state may let tasks begin");
    store.set_rule(&of_repo("b"), &wake).await.expect("wake it");
    assert!(heard.count().await > 0, "workers are told");
    assert_eq!(
        db.value("SELECT status || active FROM repos WHERE id = 'a'")
            .await
            .as_deref(),
        Some("activetrue")
    );
}

#[tokio::test]
async fn a_dead_workers_tasks_keep_their_places_until_they_are_taken_over() {
    let (db, store) = house().await;
    pending(&db, "d", "deploy", "a", 6).await;
    limit(&store, &of_repo("a"), 3).await;
    register(&store, "dies", LONG).await;
    let theirs = store
        .claim(&claim("dies", 2), &store::Taken::default())
        .await
        .expect("claim");
    db.sql("UPDATE longshore.workers SET lease_until = clock_timestamp() - interval '1 s' WHERE id = 'dies'")
        .await;
    let ours = take(&store, 1).await;
    assert_eq!(
        ids(&ours),
        [theirs[0].info.id.as_str()],
        "the dead worker's come first"
    );
    let ours = take(&store, 9).await;
    assert_eq!(
        ours.len(),
        2,
        "one to take over, and one free place: {:?}",
        ids(&ours)
    );
    assert_eq!(ours.iter().filter(|claimed| claimed.crashes == 1).count(), 1);
    assert!(take(&store, 9).await.is_empty());
}

#[tokio::test]
async fn what_goes_on_needs_a_place_and_comes_before_what_starts() {
    let (db, store) = house().await;
    pending(&db, "d", "deploy", "a", 4).await;
    let begun = take(&store, 3).await;
    let leases: Vec<Lease> = begun.iter().map(|claimed| claimed.lease.clone()).collect();
    store.release(&leases).await.expect("hand them back");
    store.cancel_task(&begun[2].info.id).await.expect("cancel");
    limit(&store, &of_type("deploy"), 2).await;
    pause(&store, &Scope::All, true).await;
    let first = take(&store, 9).await;
    assert_eq!(first.len(), 2);
    assert_eq!(
        first.iter().filter(|claimed| claimed.cancelled).count(),
        1,
        "undoing goes on"
    );
    assert!(take(&store, 9).await.is_empty());
    finish(
        &store,
        first
            .iter()
            .filter(|claimed| !claimed.cancelled)
            .map(|claimed| &claimed.lease),
    )
    .await;
    let next = take(&store, 9).await;
    assert_eq!(next.len(), 1);
    assert_ne!(
        next[0].info.id.as_str(),
        "d 4",
        "what was begun comes first, and nothing starts"
    );
}

#[tokio::test]
async fn a_row_that_somebody_else_holds_costs_no_place() {
    let (db, store) = house().await;
    pending(&db, "d", "deploy", "a", 3).await;
    limit(&store, &of_repo("a"), 1).await;
    let mut other = db.session().await;
    other
        .sql("BEGIN; SELECT FROM tasks WHERE id = 'd 1' FOR UPDATE")
        .await;
    assert_eq!(ids(&take(&store, 9).await), ["d 2"]);
    other.sql("ROLLBACK").await;
    assert!(take(&store, 9).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_claim_at_once_never_exceed_a_limit() {
    let (db, store) = house().await;
    pending(&db, "da", "deploy", "a", 60).await;
    pending(&db, "db", "deploy", "b", 60).await;
    pending(&db, "fb", "fix_build", "b", 60).await;
    limit(&store, &of_type("deploy"), 5).await;
    limit(&store, &of_repo("b"), 3).await;
    let mut workers = Vec::new();
    for n in 0..3 {
        let store = db.worker_store().await;
        workers.push(tokio::spawn(async move {
            let name = format!("worker {n}");
            register(&store, &name, LONG).await;
            let (mut done, mut idle) = (0, 0);
            while idle < 30 {
                let claimed = store
                    .claim(&claim(&name, 4), &store::Taken::default())
                    .await
                    .expect("claim");
                idle = if claimed.is_empty() { idle + 1 } else { 0 };
                done += claimed.len();
                finish(&store, claimed.iter().map(|claimed| &claimed.lease)).await;
            }
            done
        }));
    }
    let over = Arc::new(AtomicBool::new(false));
    let watch = {
        let (db, over) = (db.session().await, over.clone());
        tokio::spawn(watch(db, over))
    };
    let mut done = 0;
    for worker in workers {
        done += worker.await.expect("a worker");
    }
    over.store(true, Ordering::SeqCst);
    let (looks, most_deploys, most_of_b) = watch.await.expect("the watch");
    assert_eq!(done, 180, "nothing is left behind");
    assert!(looks > 10, "{looks} looks");
    assert!(
        most_deploys <= 5 && most_of_b <= 3,
        "{most_deploys} deploys, {most_of_b} of b"
    );
    assert!(most_deploys >= 2, "places were used at all: {most_deploys}");
}

/// The most that ran at once, in each look's one snapshot.
async fn watch(mut session: testkit::postgres::Session, over: Arc<AtomicBool>) -> (u32, i64, i64) {
    let mut seen = (0, 0, 0);
    while !over.load(Ordering::SeqCst) {
        let row = session
            .sql(
                "SELECT count(*) FILTER (WHERE task_type = 'deploy'), count(*) FILTER (WHERE repo_id = 'b')
                   FROM tasks WHERE status = 'in_progress'",
            )
            .await
            .remove(0);
        let number = |at: usize| row[at].as_deref().unwrap_or("0").parse().expect("a number");
        seen = (seen.0 + 1, seen.1.max(number(0)), seen.2.max(number(1)));
        tokio::task::yield_now().await;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_starts_after_the_answer_that_all_is_paused() {
    let (db, store) = house().await;
    pending(&db, "d", "deploy", "a", 4000).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for n in 0..3 {
        let (store, over) = (db.worker_store().await, over.clone());
        workers.push(tokio::spawn(async move {
            let name = format!("worker {n}");
            register(&store, &name, LONG).await;
            while !over.load(Ordering::SeqCst) {
                store
                    .claim(&claim(&name, 2), &store::Taken::default())
                    .await
                    .expect("claim");
            }
        }));
    }
    let started = "SELECT count(*) FROM tasks WHERE status = 'in_progress'";
    let mut before = 0;
    for _ in 0..10 {
        let begun: i64 = loop {
            let begun = db
                .value(started)
                .await
                .expect("a number")
                .parse()
                .expect("a number");
            if begun > before {
                break begun;
            }
        };
        pause(&store, &Scope::All, true).await;
        let at: i64 = db
            .value(started)
            .await
            .expect("a number")
            .parse()
            .expect("a number");
        assert!(at >= begun);
        // Each of the three asks again and again meanwhile.
        for _ in 0..20 {
            before = db
                .value(started)
                .await
                .expect("a number")
                .parse()
                .expect("a number");
            assert_eq!(before, at, "tasks were started under the pause");
        }
        pause(&store, &Scope::All, false).await;
    }
    over.store(true, Ordering::SeqCst);
    for worker in workers {
        worker.await.expect("a worker");
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_the_first_pause_stays_on_record() {
    let (db, store) = house().await;
    let none = RuleChange {
        max_running: Some(Some(0)),
        ..RuleChange::default()
    };
    let error = store.set_rule(&Scope::All, &none).await.expect_err("0");
    assert!(
        error
            .next
            .is_some_and(|next| next.starts_with("Pause it instead"))
    );
    let unknown = RuleChange {
        paused: Some(true),
        ..RuleChange::default()
    };
    let error = store
        .set_rule(&of_repo("nowhere"), &unknown)
        .await
        .expect_err("unknown");
    assert_eq!(error.kind, domain::ErrorKind::NotFound);
    assert!(store.clear_rule(&Scope::All).await.is_err(), "there is none");

    pause(&store, &of_repo("a"), true).await;
    let again = RuleChange {
        paused: Some(true),
        by: "another".to_owned(),
        ..RuleChange::default()
    };
    let rule = store
        .set_rule(&of_repo("a"), &again)
        .await
        .expect("again")
        .expect("it stands");
    let first = rule.paused.expect("paused");
    assert_eq!(
        (first.by.as_deref(), first.reason.as_deref()),
        (Some("somebody"), Some("a test"))
    );
    limit(&store, &of_repo("a"), 2).await;
    db.sql("DELETE FROM repos WHERE id = 'a'").await;
    store.clear_rule(&of_repo("a")).await.expect("its rule can go");
    assert!(!store.is_ruled() || take(&store, 1).await.is_empty());
}
