//! Events of others: many in one call, each one task.

use std::time::Duration;

use domain::NewTask;
use serde_json::json;
use store::{Arrival, Received};
use testkit::postgres;

fn arrival(key: &str) -> Arrival {
    Arrival {
        key: key.to_owned(),
        event: "firing".to_owned(),
        body: json!({"key": key, "odd": "a\0b"}),
        task: NewTask::new("respond_alert", json!({ "key": key })),
        repos: Vec::new(),
    }
}

#[tokio::test]
async fn what_repeats_itself_for_months_stays_known_and_what_fell_silent_goes() {
    let db = postgres::database().await;
    let store = db.worker_store().await;
    let clock = db.manual_clock("2026-01-29T12:00:00Z".parse().unwrap()).await;
    let first = store
        .receive_many("alertmanager", &[arrival("loud"), arrival("silent")])
        .await
        .unwrap();
    let Received::New(Some(loud)) = &first[0] else {
        panic!("{first:?}");
    };
    for _ in 0..4 {
        clock.advance(Duration::from_secs(20 * 86400)).await;
        let again = store
            .receive_many("alertmanager", &[arrival("loud")])
            .await
            .unwrap();
        assert_eq!(again, [Received::Known(Some(loud.clone()))]);
        store.sweep(&[], Duration::from_secs(86400)).await.unwrap();
    }
    let left = db.sql("SELECT delivery FROM longshore.inbox").await;
    assert_eq!(left, [[Some("loud".to_owned())]]);
}

#[tokio::test]
async fn one_task_that_is_refused_keeps_all_events_out() {
    let db = postgres::database().await;
    let store = db.store().await;
    let mut wrong = arrival("b");
    wrong.task.payload = json!({"log": "a\0b"});
    let fault = store
        .receive_many("alertmanager", &[arrival("a"), wrong, arrival("c")])
        .await
        .unwrap_err();
    assert_eq!(
        (fault.place, fault.field.as_deref()),
        (Some(1), Some("payload.log"))
    );
    let mut lost = arrival("d");
    lost.task.parent = Some("nobody".into());
    let fault = store
        .receive_many("alertmanager", &[arrival("a"), arrival("a"), lost])
        .await
        .unwrap_err();
    assert_eq!(fault.place, Some(2), "the place in the call");
    let rows = db.value("SELECT (SELECT count(*) FROM tasks) + (SELECT count(*) FROM longshore.inbox)");
    assert_eq!(rows.await.as_deref(), Some("0"));
}

#[tokio::test]
async fn an_event_of_another_source_is_another() {
    let db = postgres::database().await;
    let store = db.store().await;
    for source in ["alertmanager", "elsewhere"] {
        let received = store.receive_many(source, &[arrival("a")]).await.unwrap();
        assert!(matches!(received[..], [Received::New(Some(_))]), "{received:?}");
    }
}
