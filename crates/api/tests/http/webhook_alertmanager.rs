//! `/webhook/alertmanager` as Alertmanager calls it.

use std::path::PathBuf;

use api::mint_token;
use domain::Role;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::served::{Served, answer, config};

/// What a real Alertmanager sent.
fn sample(name: &str) -> Value {
    let shared = std::env::var_os("LONGSHORE_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    );
    let path = shared.join(format!("samples/alertmanager-webhook-{name}.json"));
    let text = std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "Alertmanager's sample is missing at {}: {error}; say where the shared data lie with LONGSHORE_SHARED",
            path.display()
        )
    });
    serde_json::from_slice(&text).unwrap()
}

fn alert(fingerprint: &str, status: &str, starts_at: &str) -> Value {
    json!({
        "status": status,
        "labels": {"alertname": "HostDown", "instance": fingerprint},
        "annotations": {"summary": "A host is down"},
        "startsAt": starts_at,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example:9090/graph?g0.expr=up+%3D%3D+0",
        "fingerprint": fingerprint,
    })
}

fn of(alerts: Vec<Value>) -> Value {
    json!({
        "version": "4", "receiver": "longshore", "status": "firing", "alerts": alerts,
        "groupKey": "{}:{alertname=\"HostDown\"}", "truncatedAlerts": 0,
        "groupLabels": {"alertname": "HostDown"}, "commonLabels": {"alertname": "HostDown"}, "commonAnnotations": {},
        "externalURL": "http://alertmanager.example:9093",
    })
}

const AT: &str = "2026-11-21T08:01:53.568Z";

/// So many alerts that fire, and one that is over.
pub fn group(firing: usize) -> Value {
    let mut alerts: Vec<Value> = (0..firing)
        .map(|n| alert(&format!("f{n}"), "firing", AT))
        .collect();
    alerts.push(alert("over", "resolved", AT));
    of(alerts)
}

async fn post(served: &Served, body: &Value) -> (u16, Value) {
    served.post("/webhook/alertmanager", body.to_string()).await
}

/// (status, created, known, resolved)
async fn counts(served: &Served, body: &Value) -> (u16, u64, u64, u64) {
    let (status, noted) = post(served, body).await;
    let count = |name: &str| noted[name].as_u64().unwrap_or_else(|| panic!("{noted}"));
    assert_eq!(
        noted["tasks"].as_array().unwrap().len() as u64,
        count("created") + count("known")
    );
    (status, count("created"), count("known"), count("resolved"))
}

#[tokio::test]
async fn what_a_real_alertmanager_sent_is_one_task_and_its_end_none() {
    let served = Served::new().await;
    let firing = sample("firing-HighErrorRate");
    let (status, made) = post(&served, &firing).await;
    assert_eq!(status, 201, "{made}");
    let id = made["tasks"][0].as_str().unwrap();
    assert_eq!(
        made,
        json!({"created": 1, "known": 0, "resolved": 0, "tasks": [id]})
    );
    let (_, task) = served.get(&format!("/api/tasks/{id}")).await;
    let task = &task["task"];
    assert_eq!(task["task_type"], "respond_alert", "{task}");
    assert_eq!(task["priority"], 9, "it is critical");
    assert_eq!(task["assigned_to"], Value::Null);
    let sent = &firing["alerts"][0];
    assert_eq!(
        task["payload"],
        json!({
            "source": "alertmanager",
            "alert": sent,
            "group": {
                "groupKey": firing["groupKey"], "receiver": "hook", "externalURL": "http://vm:19093",
                "groupLabels": firing["groupLabels"], "commonLabels": firing["commonLabels"],
                "commonAnnotations": firing["commonAnnotations"],
            },
        })
    );
    assert_eq!(
        post(&served, &firing).await,
        (
            200,
            json!({"created": 0, "known": 1, "resolved": 0, "tasks": [id]})
        )
    );
    assert_eq!(
        post(&served, &sample("resolved-HighErrorRate")).await,
        (200, json!({"created": 0, "known": 0, "resolved": 1, "tasks": []}))
    );
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 1);
}

#[tokio::test]
async fn an_alert_is_one_task_in_whatever_company_it_comes_until_it_begins_anew() {
    let served = Served::new().await;
    assert_eq!(counts(&served, &group(2)).await, (201, 2, 0, 1));
    assert_eq!(counts(&served, &group(3)).await, (201, 1, 2, 1));
    let other_zone = "2026-11-21T09:01:53.568+01:00";
    let same = of(vec![alert("f1", "firing", other_zone), alert("f1", "firing", AT)]);
    assert_eq!(counts(&served, &same).await, (200, 0, 2, 0));
    let mut elsewhere = group(1);
    elsewhere["externalURL"] = "http://the-other-of-two:9093".into();
    assert_eq!(counts(&served, &elsewhere).await, (200, 0, 1, 1));
    let anew = of(vec![
        alert("f1", "firing", "2026-11-21T09:00:00Z"),
        alert("f1", "firing", "2026-11-21T09:00:00Z"),
    ]);
    assert_eq!(counts(&served, &anew).await, (201, 1, 1, 0), "twice in one call");
    assert_eq!(counts(&served, &of(Vec::new())).await, (200, 0, 0, 0));
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 4);
    let linked = "SELECT count(*) FROM longshore.inbox i JOIN tasks t ON t.id = i.task_id
                   WHERE i.source = 'alertmanager' AND i.body->>'fingerprint' = t.payload->'alert'->>'fingerprint'";
    assert_eq!(served.count(linked).await, 4);
}

#[tokio::test]
async fn ten_notifications_at_once_make_one_task_of_each_alert() {
    let served = Served::new().await;
    let mut backwards = group(20);
    backwards["alerts"].as_array_mut().unwrap().reverse();
    let forwards = group(20);
    let all = (0..10).map(|n| counts(&served, if n % 2 == 0 { &forwards } else { &backwards }));
    let answers = futures_util::future::join_all(all).await;
    let created: u64 = answers.iter().map(|(_, created, _, _)| created).sum();
    let known: u64 = answers.iter().map(|(_, _, known, _)| known).sum();
    assert_eq!((created, known), (20, 180), "{answers:?}");
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 20);
}

#[tokio::test]
async fn severity_is_priority_and_a_label_may_name_the_repository() {
    let served = Served::new().await;
    served
        .database
        .sql(
            "INSERT INTO repos (id, name, slug, gitlab_project_id, active) VALUES
                 ('r1', 'Shop', 'shop', 'group/shop', true), ('r2', 'Twin', 'x', '1', true), ('r3', 'Twin', 'y', '2', true)",
        )
        .await;
    for (n, (labels, priority, repo)) in [
        (
            json!({"severity": "critical", "longshore_repo": "r1", "repo": "r2"}),
            "9",
            "r1",
        ),
        (json!({"severity": "Warning", "repo": "group/shop"}), "6", "r1"),
        (
            json!({"severity": "info", "longshore_repo": "nowhere", "repo": "shop"}),
            "3",
            "r1",
        ),
        (
            json!({"severity": "page", "longshore_repo": "", "repo": "nowhere"}),
            "5",
            "",
        ),
        (json!({"repo": "Twin"}), "5", ""),
    ]
    .into_iter()
    .enumerate()
    {
        let mut sent = alert(&format!("s{n}"), "firing", AT);
        sent["labels"] = labels.clone();
        assert_eq!(post(&served, &of(vec![sent])).await.0, 201, "{labels}");
        let rows = served
            .database
            .sql(&format!(
                "SELECT priority::text, coalesce(repo_id, '') FROM tasks WHERE payload->'alert'->>'fingerprint' = 's{n}'"
            ))
            .await;
        let row: Vec<&str> = rows[0].iter().map(|cell| cell.as_deref().unwrap()).collect();
        assert_eq!(row, [priority, repo], "{labels}");
    }
}

#[tokio::test]
async fn one_wrong_alert_is_named_and_nothing_is_made_of_the_others() {
    let served = Served::new().await;
    let within = |pointer: &str, value: Value| {
        let mut body = group(2);
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    let without = |name: &str| {
        let mut body = group(2);
        body["alerts"][1].as_object_mut().unwrap().remove(name);
        body
    };
    for (body, field) in [
        (json!([]), "version"),
        (within("/version", json!("1")), "version"),
        (within("/version", json!(4)), "version"),
        (within("/alerts", json!({})), "alerts"),
        (within("/alerts", Value::Null), "alerts"),
        (within("/groupKey", Value::Null), "groupKey"),
        (within("/receiver", json!(1)), "receiver"),
        (within("/groupLabels", json!([])), "groupLabels"),
        (within("/commonLabels", json!({"a": 1})), "commonLabels.a"),
        (within("/alerts/1", json!("firing")), "alerts[1]"),
        (without("labels"), "alerts[1].labels"),
        (without("status"), "alerts[1].status"),
        (without("startsAt"), "alerts[1].startsAt"),
        (without("fingerprint"), "alerts[1].fingerprint"),
        (within("/alerts/1/labels", json!([])), "alerts[1].labels"),
        (
            within("/alerts/1/labels", json!({"a": null})),
            "alerts[1].labels.a",
        ),
        (
            within("/alerts/1/annotations", json!("x")),
            "alerts[1].annotations",
        ),
        (within("/alerts/1/status", json!("pending")), "alerts[1].status"),
        (
            within("/alerts/1/startsAt", json!("yesterday")),
            "alerts[1].startsAt",
        ),
        (within("/alerts/1/endsAt", json!("")), "alerts[1].endsAt"),
        (
            within("/alerts/1/fingerprint", json!(" ")),
            "alerts[1].fingerprint",
        ),
        (
            within("/alerts/1/fingerprint", json!("f".repeat(201))),
            "alerts[1].fingerprint",
        ),
        (
            within("/alerts/1/labels", json!({"instance": "a\0b"})),
            "alerts[1].labels.instance",
        ),
        (
            within("/alerts/1/labels", json!({"a\0b": "x"})),
            "alerts[1].labels",
        ),
        (
            within("/alerts/1/labels", json!({"repo": "r\0"})),
            "alerts[1].labels.repo",
        ),
        (
            within("/commonLabels", json!({"job": "a\0b"})),
            "commonLabels.job",
        ),
        (
            within("/alerts/1/annotations", json!({"log": "x".repeat(1024 * 1024)})),
            "alerts[1]",
        ),
    ] {
        let (status, error) = post(&served, &body).await;
        let shown: String = error.to_string().chars().take(400).collect();
        assert_eq!(
            (status, error["error"]["field"].as_str()),
            (422, Some(field)),
            "{shown}"
        );
        let what = error["error"]["what"].as_str().unwrap();
        assert!(
            what.contains(&format!("`{field}`")) && !what.contains("payload"),
            "{shown}"
        );
    }
    for garbage in ["", "{", "alerts"] {
        assert_eq!(
            served.post("/webhook/alertmanager", garbage).await.0,
            400,
            "{garbage}"
        );
    }
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
    assert_eq!(served.count("SELECT count(*) FROM longshore.inbox").await, 0);
    assert_eq!(
        counts(&served, &group(2)).await,
        (201, 2, 0, 1),
        "once it is mended"
    );
}

#[tokio::test]
async fn what_is_too_much_is_refused_and_a_thousand_alerts_are_not() {
    let served = Served::new().await;
    let many = of(vec![alert("f", "firing", AT); 10_001]);
    let (status, error) = post(&served, &many).await;
    assert_eq!((status, error["error"]["field"].as_str()), (413, Some("alerts")));
    let mut wide = group(100);
    wide["commonAnnotations"] = json!({"runbook": "x".repeat(500_000)});
    let (status, error) = post(&served, &wide).await;
    assert_eq!(
        (status, error["error"]["field"].as_str()),
        (413, Some("alerts")),
        "{error}"
    );
    let (status, _) = served
        .post("/webhook/alertmanager", vec![b' '; 16 * 1024 * 1024 + 1])
        .await;
    assert_eq!(status, 413);
    assert_eq!(served.count("SELECT count(*) FROM tasks").await, 0);
    assert_eq!(counts(&served, &group(1000)).await, (201, 1000, 0, 1));
}

#[tokio::test]
async fn a_token_that_may_enqueue_is_demanded_where_tokens_are() {
    let mut guarded = config();
    guarded.open = false;
    let served = Served::with(guarded).await;
    assert_eq!(post(&served, &group(1)).await.0, 401);
    for (role, status) in [(Role::Read, 403), (Role::Enqueue, 201)] {
        let (token, new) = mint_token(role.to_string(), role, None);
        served.store.add_token(&new).await.unwrap();
        let request = served
            .http
            .post(served.url("/webhook/alertmanager"))
            .bearer_auth(token.expose_secret())
            .body(group(1).to_string());
        assert_eq!(answer(request).await.0, status, "{role}");
    }
}
