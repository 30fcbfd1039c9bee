//! What a task that is held back says of it.

use std::time::Duration;

use durable::Lease;
use store::HeldBy;

use crate::rules::{house, ids, limit, of_repo, of_type, pause, pending, take};

#[tokio::test]
async fn what_was_begun_and_finds_no_place_tells_which_limit_and_since_when() {
    let (db, store) = house().await;
    let clock = db
        .manual_clock("2026-01-29T10:31:00Z".parse().expect("a moment"))
        .await;
    pending(&db, "d", "deploy", "a", 4).await;
    let begun = take(&store, 3).await;
    let leases: Vec<Lease> = begun[1..].iter().map(|claimed| claimed.lease.clone()).collect();
    store.release(&leases).await.expect("hand them back");
    store.cancel_task(&"d 3".into()).await.expect("cancel");
    let held = async |id: &str| {
        let task = store.task(&id.into()).await.expect("a task");
        task.held_back.map(|held| (held.by, held.why))
    };
    for parked in ["d 2", "d 3"] {
        assert_eq!(held(parked).await, None, "no limit");
    }
    limit(&store, &of_repo("a"), 1).await;
    clock.advance(Duration::from_secs(600)).await;
    let full = "1 of 1 places for tasks of its repository are taken";
    for (id, why) in [
        ("d 1", None),
        (
            "d 2",
            Some(format!("{full}; it is due since 2026-01-29 10:31 UTC")),
        ),
        ("d 3", Some(full.to_owned())),
        ("d 4", Some(full.to_owned())),
    ] {
        assert_eq!(held(id).await, why.map(|why| (HeldBy::Limit, why)), "{id}");
    }
    assert!(take(&store, 9).await.is_empty());

    // What waits for something of its own says that, and what is let go on says nothing.
    db.sql("UPDATE tasks SET run_at = '2026-01-29 10:42' WHERE id = 'd 2'")
        .await;
    assert_eq!(held("d 2").await, None, "not due yet");
    clock.advance(Duration::from_secs(60)).await;
    let (_, why) = held("d 2").await.expect("it is due");
    assert!(why.ends_with("since 2026-01-29 10:42 UTC"), "{why}");
    pause(&store, &of_type("deploy"), true).await;
    assert_eq!(
        held("d 2").await,
        Some((HeldBy::Limit, why)),
        "no pause is about it"
    );
    limit(&store, &of_repo("a"), 9).await;
    for (id, by) in [("d 2", None), ("d 3", None), ("d 4", Some(HeldBy::Pause))] {
        assert_eq!(held(id).await.map(|(by, _)| by), by, "{id}");
    }
    assert_eq!(ids(&take(&store, 9).await), ["d 2", "d 3"]);
}
