//! A task asks, a person answers: from the handler's wait to its result.

use api::mint_token;
use domain::Role;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::asker::{asking, reaches, work};
use crate::served::{Served, answer};

async fn decide(served: &Served, id: &str, how: &str, body: &str) -> (u16, Value) {
    served
        .post(&format!("/api/tasks/{id}/{how}"), body.to_owned())
        .await
}

#[tokio::test]
async fn an_approval_reaches_the_handler_with_who_and_why_and_is_given_once() {
    let served = Served::new().await;
    let _work = work(&served).await;
    let id = asking(&served, &["production"], false).await;
    let (_, shown) = served.get(&format!("/api/tasks/{id}")).await;
    assert_eq!(shown["task"]["waits_for"], "for somebody to approve production");

    let (token, new) = mint_token("ada".to_owned(), Role::Approve, None);
    served.store.add_token(&new).await.unwrap();
    let approve = || {
        let request = served.http.post(served.url(&format!("/api/tasks/{id}/approve")));
        request
            .bearer_auth(token.expose_secret())
            .body(r#"{"comment": "looks good"}"#)
    };
    let (status, decided) = answer(approve()).await;
    assert_eq!(status, 200, "{decided}");
    assert_eq!(
        decided,
        json!({"task_id": id, "what": "production", "decision": "approved", "by": "ada", "comment": "looks good",
               "at": decided["at"], "is_new": true})
    );
    let task = reaches(&served, &id, "completed").await;
    assert_eq!(
        task["result"]["summary"],
        "production approved by ada (looks good)"
    );

    // Once more, by somebody else even: it stands as it was made.
    let (status, again) = decide(&served, &id, "approve", "").await;
    assert_eq!(
        (status, &again["by"], &again["is_new"]),
        (200, &json!("ada"), &json!(false))
    );
    let (status, told) = decide(&served, &id, "reject", "").await;
    assert_eq!(status, 409);
    let what = told["error"]["what"].as_str().unwrap();
    assert!(what.contains("was approved already, by ada on "), "{what}");
    assert_eq!(served.count("SELECT count(*) FROM longshore.approvals").await, 1);
    assert_eq!(served.count("SELECT count(*) FROM longshore.signals").await, 0);
    let history = served
        .database
        .value("SELECT summary FROM longshore.task_events WHERE kind = 'approved'")
        .await;
    assert_eq!(history.as_deref(), Some("production approved by ada: looks good"));
}

#[tokio::test]
async fn a_decision_that_the_task_has_not_taken_yet_stands_too() {
    let served = Served::new().await;
    let work = work(&served).await;
    let id = asking(&served, &["production"], false).await;
    drop(work);
    assert_eq!(
        decide(&served, &id, "reject", r#"{"comment": "too late in the day"}"#)
            .await
            .0,
        200
    );
    let (status, again) = decide(&served, &id, "reject", "").await;
    assert_eq!((status, &again["is_new"]), (200, &json!(false)));
    assert_eq!(decide(&served, &id, "approve", "").await.0, 409);
    assert_eq!(served.count("SELECT count(*) FROM longshore.signals").await, 1);
    let _work = crate::asker::work(&served).await;
    let task = reaches(&served, &id, "failed").await;
    assert_eq!(
        task["error"],
        "production rejected by somebody without a token (too late in the day)"
    );
    // Tried anew it asks anew, and the old answer is not the new one's.
    assert_eq!(served.post(&format!("/api/tasks/{id}/retry"), "").await.0, 200);
    reaches(&served, &id, "waiting").await;
    let (status, decided) = decide(&served, &id, "approve", "").await;
    assert_eq!((status, &decided["is_new"]), (200, &json!(true)));
    reaches(&served, &id, "completed").await;
}

#[tokio::test]
async fn who_asks_for_two_things_is_answered_by_name() {
    let served = Served::new().await;
    let _work = work(&served).await;
    let id = asking(&served, &["east", "west"], true).await;
    let (status, told) = decide(&served, &id, "approve", "").await;
    assert_eq!(status, 409);
    let what = told["error"]["what"].as_str().unwrap();
    assert!(
        what.ends_with("asks for more than one approval: east, west"),
        "{what}"
    );
    assert_eq!(
        decide(&served, &id, "approve", r#"{"what": "north"}"#).await.0,
        409
    );
    for what in ["west", "east"] {
        reaches(&served, &id, "waiting").await;
        let body = json!({ "what": what }).to_string();
        let (status, decided) = decide(&served, &id, "approve", &body).await;
        assert_eq!((status, decided["what"].as_str()), (200, Some(what)), "{decided}");
    }
    reaches(&served, &id, "completed").await;
}

#[tokio::test]
async fn branches_that_ask_for_the_same_are_answered_together() {
    let served = Served::new().await;
    let _work = work(&served).await;
    let id = asking(&served, &["east", "east", "east"], true).await;
    assert_eq!(decide(&served, &id, "approve", "").await.0, 200);
    reaches(&served, &id, "completed").await;
    let decisions = "SELECT count(*) FROM longshore.approvals WHERE decision = 'approved'";
    assert_eq!(served.database.value(decisions).await.as_deref(), Some("3"));
}

#[tokio::test]
async fn an_answer_that_is_sent_again_decides_no_other_question() {
    let served = Served::new().await;
    let _work = work(&served).await;
    let id = asking(&served, &["staging", "production"], false).await;
    let (status, first) = decide(&served, &id, "approve", "").await;
    assert_eq!((status, first["what"].as_str()), (200, Some("staging")));
    let asks_next = async {
        loop {
            let (status, again) = decide(&served, &id, "approve", "").await;
            if status == 409 {
                return again;
            }
            assert_eq!(again["is_new"], false, "{again}");
        }
    };
    let refused = tokio::time::timeout(std::time::Duration::from_secs(30), asks_next)
        .await
        .expect("it asks the next question");
    assert_eq!(
        refused["error"]["what"],
        format!("task {id} asks for approval of production, and staging was answered before")
    );
    let named = r#"{"what": "production"}"#;
    assert_eq!(decide(&served, &id, "approve", named).await.0, 200);
    reaches(&served, &id, "completed").await;
}

#[tokio::test]
async fn a_task_that_asks_nothing_says_what_it_does_instead() {
    let served = Served::new().await;
    served
        .database
        .sql(
            r#"INSERT INTO tasks (id, task_type, status, assigned_to, wait) VALUES
                 ('new', 'ask', 'pending', 'devops', NULL), ('done', 'ask', 'completed', 'devops', NULL),
                 ('asleep', 'ask', 'waiting', 'devops', '{"why": "bake/30 until 12:40"}'),
                 ('held', 'ask', 'waiting', 'devops', '{"held": "the effect is in doubt", "why": "for a person"}'),
                 ('foreign', 'ask', 'pending', 'builder', NULL)"#,
        )
        .await;
    for (id, status, says) in [
        ("new", 409, "task new waits for no approval: it is pending"),
        ("done", 409, "task done waits for no approval: it is completed"),
        (
            "asleep",
            409,
            "task asleep waits for no approval: it waits bake/30 until 12:40",
        ),
        (
            "held",
            409,
            "task held waits for no approval: it is held, since the effect is in doubt",
        ),
        ("none", 404, "there is no task none"),
        (
            "foreign",
            403,
            "could not record the decision: foreign belongs to the agent builder",
        ),
    ] {
        let (got, told) = decide(&served, id, "approve", "").await;
        assert_eq!(
            (got, told["error"]["what"].as_str()),
            (status, Some(says)),
            "{id}"
        );
    }
    for (body, status, field) in [
        ("[]", 400, None),
        (r#"{"coment": "x"}"#, 422, Some("coment")),
        (r#"{"comment": 4}"#, 422, Some("comment")),
    ] {
        let (got, told) = decide(&served, "new", "approve", body).await;
        assert_eq!((got, told["error"]["field"].as_str()), (status, field), "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_came_too_late_for_the_run_does_not_answer_the_undoing() {
    let served = Served::new().await;
    let working = work(&served).await;
    let payload = json!({"asks": ["production"], "undo": "production"});
    let body = json!({"type": "ask", "to": "devops", "payload": payload});
    let (_, made) = served.post("/api/tasks", body.to_string()).await;
    let id = made["task_id"].as_str().unwrap().to_owned();
    reaches(&served, &id, "waiting").await;
    drop(working);
    assert_eq!(decide(&served, &id, "approve", "").await.0, 200);
    assert_eq!(served.post(&format!("/api/tasks/{id}/cancel"), "").await.0, 200);
    let _work = work(&served).await;
    let asks = format!(
        "SELECT count(*) FROM longshore.task_steps s JOIN tasks t ON t.id = s.task_id
          WHERE t.id = '{id}' AND s.scope = 'unwind' AND s.kind = 'signal' AND t.worker_id IS NULL"
    );
    for _ in 0..1000 {
        if served.count(&asks).await == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (_, shown) = served.get(&format!("/api/tasks/{id}")).await;
    assert_eq!(
        (&shown["task"]["state"], &shown["task"]["waits_for"]),
        (&json!("waiting"), &json!("for somebody to approve production")),
        "{shown}"
    );
    let answer = r#"{"what": "production", "comment": "undo it"}"#;
    let (status, decided) = decide(&served, &id, "approve", answer).await;
    assert_eq!((status, &decided["is_new"]), (200, &json!(true)), "{decided}");
    let task = reaches(&served, &id, "cancelled").await;
    assert_eq!(
        task["result"]["summary"],
        "production approved by somebody without a token (undo it)"
    );
}
