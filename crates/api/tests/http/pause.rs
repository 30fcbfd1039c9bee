//! A person stops a deployment where it is, and lets it go on.

use api::mint_token;
use domain::Role;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::served::{Served, answer};

async fn made(served: &Served, task_type: &str) -> String {
    let task = json!({"task_type": task_type, "assigned_to": "devops", "payload": {}});
    let (status, made) = served.post("/api/tasks", task.to_string()).await;
    assert!((200..300).contains(&status), "{made}");
    made["task_id"].as_str().expect("its id").to_owned()
}

async fn change(served: &Served, id: &str, how: &str, body: &str) -> (u16, Value) {
    served
        .post(&format!("/api/tasks/{id}/{how}"), body.to_owned())
        .await
}

#[tokio::test]
async fn a_pause_stands_once_with_who_and_why_until_it_is_resumed() {
    let served = Served::new().await;
    let id = made(&served, "deploy").await;
    let (token, new) = mint_token("ada".to_owned(), Role::Approve, None);
    served.store.add_token(&new).await.unwrap();
    let pause = || {
        let request = served.http.post(served.url(&format!("/api/tasks/{id}/pause")));
        request
            .bearer_auth(token.expose_secret())
            .body(r#"{"reason": "the stock is counted"}"#)
    };
    for _ in 0..2 {
        let (status, paused) = answer(pause()).await;
        assert_eq!((status, &paused["task"]["id"]), (200, &json!(id)), "{paused}");
    }
    let told =
        "SELECT string_agg(summary, '; ') FROM longshore.task_events WHERE kind IN ('paused', 'resumed')";
    let told = async || served.database.value(told).await;
    assert_eq!(
        told().await.as_deref(),
        Some("Paused by ada: the stock is counted")
    );
    let stands = served
        .store
        .pause_of(&id.as_str().into())
        .await
        .unwrap()
        .expect("is paused");
    assert_eq!(
        (stands.by.as_str(), stands.why.as_deref()),
        ("ada", Some("the stock is counted"))
    );

    assert_eq!(change(&served, &id, "resume", "").await.0, 200);
    assert_eq!(served.store.pause_of(&id.as_str().into()).await.unwrap(), None);
    let (status, refused) = change(&served, &id, "resume", "").await;
    assert_eq!(status, 409, "{refused}");
    assert!(
        refused["error"]["what"]
            .as_str()
            .unwrap()
            .ends_with("is not paused"),
        "{refused}"
    );
    assert!(told().await.unwrap().contains("; Resumed by "));
}

#[tokio::test]
async fn what_is_over_is_not_resumed() {
    let served = Served::new().await;
    let id = made(&served, "deploy").await;
    for how in ["pause", "cancel"] {
        assert_eq!(change(&served, &id, how, "").await.0, 200, "{how}");
    }
    let (status, refused) = change(&served, &id, "resume", "").await;
    assert_eq!(status, 409, "{refused}");
    assert!(
        refused["error"]["what"]
            .as_str()
            .unwrap()
            .ends_with("is cancelled and cannot be resumed"),
        "{refused}"
    );
}

#[tokio::test]
async fn what_cannot_be_paused_says_why() {
    let served = Served::new().await;
    let other = made(&served, "fix_build").await;
    let (status, refused) = change(&served, &other, "pause", "").await;
    assert_eq!(status, 422, "{refused}");
    assert!(
        refused["error"]["what"]
            .as_str()
            .unwrap()
            .contains("only a `deploy` can be paused"),
        "{refused}"
    );
    let over = made(&served, "deploy").await;
    assert_eq!(change(&served, &over, "cancel", "").await.0, 200);
    assert_eq!(change(&served, &over, "pause", "").await.0, 409);
    assert_eq!(change(&served, "no-such-task", "pause", "").await.0, 404);
    let id = made(&served, "deploy").await;
    for body in [r#"{"why": "x"}"#, r#"{"reason": 7}"#, "[]"] {
        let (status, refused) = change(&served, &id, "pause", body).await;
        assert!(matches!(status, 400 | 422), "{body}: {refused}");
    }
    assert_eq!(served.count("SELECT count(*) FROM longshore.signals").await, 0);
}
