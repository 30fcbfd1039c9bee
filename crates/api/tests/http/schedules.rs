//! `/api/schedules` as a program uses it.

use serde_json::json;

use crate::served::Served;

#[tokio::test]
async fn a_schedule_is_set_shown_disabled_run_and_deleted() {
    let served = Served::new().await;
    served
        .database
        .manual_clock("2026-07-01T10:30:00Z".parse().unwrap())
        .await;
    let body = json!({
        "cron": "30 3 * * MON-FRI", "time_zone": "Europe/Berlin", "overlap": "allow",
        "task": {"type": "deploy", "to": "devops", "priority": 7, "payload": {"instruction": "deploy latest to staging"}}
    });
    let (status, set) = served
        .send("PUT", "/api/schedules/nightly", body.to_string())
        .await;
    assert_eq!(status, 200, "{set}");
    assert_eq!(
        set["schedule"],
        json!({
            "name": "nightly", "cron": "30 3 * * MON-FRI", "time_zone": "Europe/Berlin",
            "in_words": set["schedule"]["in_words"],
            "task": {"type": "deploy", "to": "devops", "priority": 7, "repo_id": null, "parent_task_id": null,
                     "created_by": null, "dedupe_key": null, "payload": {"instruction": "deploy latest to staging"}},
            "overlap": "allow", "missed": "once", "enabled": true,
            "next_run": "2026-07-02T01:30:00.000Z", "last_run": null, "last_task": null, "last_task_status": null,
            "skipped_run": null, "skipped_why": null
        })
    );
    assert!(
        set["schedule"]["in_words"].as_str().unwrap().contains("03:30"),
        "{set}"
    );
    let (_, list) = served.get("/api/schedules").await;
    assert_eq!(list, json!({"schedules": [set["schedule"]]}));

    let (_, off) = served.post("/api/schedules/nightly/disable", String::new()).await;
    assert_eq!(
        (&off["schedule"]["enabled"], &off["schedule"]["next_run"]),
        (&json!(false), &json!(null))
    );
    let (status, made) = served.post("/api/schedules/nightly/run", String::new()).await;
    assert_eq!(
        (status, made["status"].as_str()),
        (201, Some("created")),
        "{made}"
    );
    let (_, shown) = served.get("/api/schedules/nightly").await;
    assert_eq!(shown["schedule"]["last_task"], made["task_id"]);
    assert_eq!(shown["schedule"]["last_task_status"], "pending");
    let (_, on) = served.post("/api/schedules/nightly/enable", String::new()).await;
    assert_eq!(on["schedule"]["enabled"], true);

    let (status, gone) = served
        .send("DELETE", "/api/schedules/nightly", String::new())
        .await;
    assert_eq!(
        (status, gone),
        (200, json!({"status": "deleted", "name": "nightly"}))
    );
    assert_eq!(served.get("/api/schedules/nightly").await.0, 404);
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_named() {
    let served = Served::new().await;
    let task = json!({"type": "deploy", "payload": {}});
    for (name, body, field) in [
        ("a%20b", json!({"cron": "@daily", "task": task}), "name"),
        ("n", json!({"task": task}), "cron"),
        ("n", json!({"cron": "often", "task": task}), "cron"),
        ("n", json!({"cron": 5, "task": task}), "cron"),
        ("n", json!({"cron": "@daily"}), "task"),
        (
            "n",
            json!({"cron": "@daily", "task": {"payload": {}}}),
            "task.type",
        ),
        (
            "n",
            json!({"cron": "@daily", "task": {"type": "x", "repo_id": "nowhere"}}),
            "task.repo_id",
        ),
        (
            "n",
            json!({"cron": "@daily", "task": {"type": "x", "parent_task_id": "p"}}),
            "task.parent_task_id",
        ),
        (
            "n",
            json!({"cron": "@daily", "task": {"type": "x", "run_at": "2026-01-29T16:28:00Z"}}),
            "task.run_at",
        ),
        (
            "n",
            json!({"cron": "@daily", "task": task, "time_zone": "CEST"}),
            "time_zone",
        ),
        (
            "n",
            json!({"cron": "@daily", "task": task, "overlap": "maybe"}),
            "overlap",
        ),
        (
            "n",
            json!({"cron": "@daily", "task": task, "missed": "all"}),
            "missed",
        ),
        (
            "n",
            json!({"cron": "@daily", "task": task, "enabled": "yes"}),
            "enabled",
        ),
        (
            "n",
            json!({"cron": "@daily", "task": task, "timezone": "UTC"}),
            "timezone",
        ),
    ] {
        let (status, error) = served
            .send("PUT", &format!("/api/schedules/{name}"), body.to_string())
            .await;
        assert_eq!(
            (status, error["error"]["field"].as_str()),
            (422, Some(field)),
            "{body}: {error}"
        );
    }
    assert_eq!(served.get("/api/schedules").await.1, json!({"schedules": []}));
}
