//! Who may call what.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use api::mint_token;
use chrono::{DateTime, TimeDelta, Utc};
use domain::Role;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use testkit::postgres::ManualClock;

use crate::served::{Served, answer, config};

/// An API that demands tokens, with the database's clock in the test's hands.
async fn guarded() -> (Served, ManualClock) {
    let mut guarded = config();
    guarded.open = false;
    let served = Served::with(guarded).await;
    let clock = served.database.manual_clock(start()).await;
    (served, clock)
}

fn start() -> DateTime<Utc> {
    "2026-01-29T12:00:00Z".parse().unwrap()
}

async fn token(served: &Served, name: &str, role: Role, expires_at: Option<DateTime<Utc>>) -> String {
    let (token, new) = mint_token(name.to_owned(), role, expires_at);
    served.store.add_token(&new).await.unwrap();
    token.expose_secret().to_owned()
}

async fn list(served: &Served, token: &str) -> (u16, Value) {
    answer(served.http.get(served.url("/api/tasks")).bearer_auth(token)).await
}

fn what(answer: &Value) -> &str {
    answer["error"]["what"].as_str().unwrap()
}

/// What anybody may call who can connect. A route that demands no role and does not stand here is a mistake.
const OPEN: [&str; 7] = [
    "GET /api/openapi.json",
    "GET /health",
    "GET /healthz",
    "GET /readyz",
    "GET /style.css",
    // They demand a secret of their own.
    "POST /webhook/github",
    "POST /webhook/gitlab",
];

/// What the document says of each operation: the role that it demands, or none.
fn decisions(document: &Value) -> BTreeMap<String, Option<Role>> {
    let mut found = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{} {path}", method.to_uppercase());
            let role = match &operation["security"] {
                Value::Null => None,
                // One way in, with one role: what else might stand there would be another way in.
                security => {
                    let role = security[0]["token"][0].as_str().expect(&at);
                    assert_eq!(*security, json!([{ "token": [role] }]), "{at}");
                    Some(role.parse().expect(&at))
                }
            };
            found.insert(at, role);
        }
    }
    found
}

/// Calls an operation about things that are not there.
async fn call(served: &Served, at: &str, token: Option<&str>) -> (u16, Value) {
    let (method, path) = at.split_once(' ').unwrap();
    let path: Vec<&str> = path
        .split('/')
        .map(|part| if part.starts_with('{') { "none" } else { part })
        .collect();
    let mut request = served
        .http
        .request(method.parse().unwrap(), served.url(&path.join("/")));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    // Streams have no end.
    let told = match status {
        401 | 403 => response.json().await.unwrap(),
        _ => Value::Null,
    };
    (status, told)
}

#[tokio::test]
async fn each_route_opens_to_its_role_and_those_that_include_it_and_to_no_other() {
    let (served, _clock) = guarded().await;
    let (_, document) = served.get("/api/openapi.json").await;
    let decisions = decisions(&document);
    let open: Vec<&str> = decisions
        .iter()
        .filter(|(_, role)| role.is_none())
        .map(|(at, _)| at.as_str())
        .collect();
    assert_eq!(open, OPEN, "what demands no role");

    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, token(&served, role.as_str(), role, None).await));
    }
    let mut needed_at_all = HashSet::new();
    for (at, needed) in &decisions {
        let (status, told) = call(&served, at, None).await;
        let Some(needed) = *needed else {
            let by_its_secret = at.contains("/webhook/");
            assert_eq!(
                matches!(status, 401 | 403),
                by_its_secret,
                "nobody at {at}: {status}"
            );
            continue;
        };
        assert_eq!(status, 401, "nobody at {at}: {told}");
        needed_at_all.insert(needed);
        for (role, token) in &tokens {
            let (status, told) = call(&served, at, Some(token)).await;
            if role.includes(needed) {
                assert!(!matches!(status, 401 | 403), "{role} at {at}: {status} {told}");
                continue;
            }
            assert_eq!(status, 403, "{role} at {at}");
            assert_eq!(
                what(&told),
                format!("this needs the role {needed}, and the token {role} has {role}")
            );
            let next = told["error"]["next"].as_str().unwrap();
            assert!(next.contains(&format!("--role {needed}")), "{next}");
        }
    }
    assert_eq!(
        needed_at_all,
        HashSet::from(Role::ALL),
        "each role opens something"
    );
}

#[tokio::test]
async fn a_token_that_is_cut_expired_revoked_or_foreign_opens_nothing_and_is_told_why() {
    let (served, clock) = guarded().await;
    let live = token(&served, "live", Role::Read, None).await;
    let short = token(
        &served,
        "short",
        Role::Read,
        Some(start() + TimeDelta::minutes(5)),
    )
    .await;
    assert_eq!(list(&served, &live).await.0, 200);
    assert_eq!(list(&served, &short).await.0, 200);

    let (status, told) = list(&served, &live[..live.len() - 1]).await;
    assert_eq!(
        (status, what(&told)),
        (401, "the token that was sent is not known here")
    );
    let last = if live.ends_with('0') { "1" } else { "0" };
    let altered = format!("{}{last}", &live[..live.len() - 1]);
    for wrong in [altered.as_str(), "glpat-something-else", "lsh_00000000_00"] {
        assert_eq!(list(&served, wrong).await.0, 401, "{wrong}");
    }

    clock.advance(Duration::from_secs(6 * 60)).await;
    let (status, told) = list(&served, &short).await;
    assert_eq!(
        (status, what(&told)),
        (401, "the token short expired on 2026-01-29 at 12:05 UTC")
    );

    served.store.revoke_token("live").await.unwrap();
    let (status, told) = list(&served, &live).await;
    assert_eq!(
        (status, what(&told)),
        (401, "the token live was revoked on 2026-01-29 at 12:06 UTC")
    );
    let again = token(&served, "live", Role::Read, None).await;
    assert_eq!(list(&served, &again).await.0, 200, "the name is free again");
    assert_eq!(list(&served, &live).await.0, 401);
}

#[tokio::test]
async fn two_live_tokens_have_two_names_and_the_database_keeps_hashes_alone() {
    let (served, _clock) = guarded().await;
    let first = token(&served, "ci", Role::Enqueue, None).await;
    let (_, second) = mint_token("ci".to_owned(), Role::Read, None);
    let error = served.store.add_token(&second).await.unwrap_err();
    assert_eq!(error.what, "there is a token called ci already");
    let secret = first.rsplit('_').next().unwrap();
    let kept = served
        .database
        .value("SELECT t::text FROM longshore.tokens t")
        .await
        .unwrap();
    assert!(!kept.contains(secret), "{kept}");
    assert_eq!(
        served.store.revoke_token("nobody").await.unwrap_err().kind,
        domain::ErrorKind::NotFound
    );
}

#[tokio::test]
async fn a_use_is_written_at_most_once_a_minute() {
    let (served, clock) = guarded().await;
    let token = token(&served, "ci", Role::Read, None).await;
    let used = async || served.store.tokens().await.unwrap()[0].last_used_at;
    assert_eq!(used().await, None);
    for (later, second, written) in [(0, 0, 0), (59, 59, 0), (1, 60, 60), (10, 70, 60), (51, 121, 121)] {
        clock.advance(Duration::from_secs(later)).await;
        assert_eq!(list(&served, &token).await.0, 200);
        assert_eq!(
            used().await,
            Some(start() + TimeDelta::seconds(written)),
            "at {second} s"
        );
    }
}

#[tokio::test]
async fn where_no_token_is_needed_one_that_is_sent_still_says_who_calls() {
    let served = Served::new().await;
    let reader = token(&served, "reader", Role::Read, None).await;
    assert_eq!(list(&served, &reader).await.0, 200);
    let make = served.http.post(served.url("/api/tasks")).bearer_auth(&reader);
    assert_eq!(answer(make.body(r#"{"type": "fix_build"}"#)).await.0, 403);
    served.store.revoke_token("reader").await.unwrap();
    assert_eq!(list(&served, &reader).await.0, 401);
    // Not ours to judge: a proxy's in front.
    assert_eq!(list(&served, "some-other-bearer-token").await.0, 200);
}

#[tokio::test]
async fn a_browsers_password_is_not_lent_to_pages_of_other_sites() {
    let (served, _clock) = guarded().await;
    let token = token(&served, "person", Role::Admin, None).await;
    let make = |origin: &str| {
        let request = served.http.post(served.url("/api/tasks"));
        request
            .basic_auth("me", Some(&token))
            .header("origin", origin)
            .body(r#"{"type": "fix_build"}"#)
    };
    assert_eq!(answer(make(&format!("http://{}", served.at))).await.0, 201);
    for origin in ["https://evil.example", "null"] {
        assert_eq!(answer(make(origin)).await.0, 403, "{origin}");
    }
    // Nobody's browser adds a bearer token: whoever sends one means it, through a proxy that renames us as well.
    let meant = served.http.post(served.url("/api/tasks")).bearer_auth(&token);
    let meant = meant
        .header("origin", "https://ops.proxy.example")
        .body(r#"{"type": "fix_build"}"#);
    assert_eq!(answer(meant).await.0, 201);
}

#[tokio::test]
async fn without_a_database_a_token_is_not_called_wrong() {
    let postgres = testkit::postgres::Postgres::own().await;
    let mut guarded = config();
    guarded.open = false;
    guarded.tokens = vec!["0123456789abcdef".into()];
    let served = Served::on(postgres.database().await, guarded).await;
    let stored = token(&served, "ci", Role::Read, None).await;
    postgres.stop().await;
    let (status, told) = list(&served, &stored).await;
    assert_eq!(
        (status, told["error"]["kind"].as_str()),
        (503, Some("unavailable"))
    );
    // The configuration's needs none: monitoring still hears from this process.
    let metrics = served
        .http
        .get(served.url("/metrics"))
        .bearer_auth("0123456789abcdef");
    assert_eq!(
        answer(metrics).await.0,
        404,
        "let in, and told that this process counts nothing"
    );
}

#[tokio::test]
async fn who_cancels_or_retries_a_task_or_changes_a_schedule_is_told_by_the_tokens_name() {
    let (served, _clock) = guarded().await;
    let ada = token(&served, "ada", Role::Admin, None).await;
    let ben = token(&served, "ben", Role::Enqueue, None).await;
    let call = async |method: &str, path: &str, token: &str, body: &str| {
        let method = method.parse().unwrap();
        let request = served.http.request(method, served.url(path)).bearer_auth(token);
        let (status, told) = answer(request.body(body.to_owned())).await;
        assert!(status < 300, "{path}: {told}");
        told
    };
    let new = r#"{"type": "deploy", "to": "devops", "payload": {}}"#;
    let made = call("POST", "/api/tasks", &ben, new).await;
    let task = format!("/api/tasks/{}", made["task_id"].as_str().unwrap());
    call("POST", &format!("{task}/cancel"), &ben, "").await;
    call("POST", &format!("{task}/retry"), &ada, "").await;
    call("POST", &format!("{task}/retry"), &ben, "").await;
    call("POST", "/api/tasks/cancel", &ada, r#"{"all": true}"#).await;
    call("POST", "/api/tasks/retry", &ben, r#"{"status": ["cancelled"]}"#).await;
    let shown = call("GET", &task, &ben, "").await;
    let told: Vec<&str> = shown["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["summary"].as_str().unwrap())
        .collect();
    assert_eq!(
        told,
        [
            "Cancelled by ben",
            "Retried by ada, from its first step",
            "Told to start now by ben",
            "Cancelled by ada, by filter",
            "Retried by ben, by filter, from its first step",
        ]
    );

    let nightly = "/api/schedules/nightly";
    let body = r#"{"cron": "@daily", "task": {"type": "deploy", "payload": {}}}"#;
    for _ in 0..2 {
        call("PUT", nightly, &ada, body).await;
    }
    call("PUT", nightly, &ada, &body.replace("daily", "hourly")).await;
    call("POST", &format!("{nightly}/run"), &ben, "").await;
    call("POST", &format!("{nightly}/disable"), &ada, "").await;
    let shown = call("GET", nightly, &ben, "").await;
    let told: Vec<(&str, &str)> = shown["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| (change["what"].as_str().unwrap(), change["by"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("disabled", "ada"),
            ("run", "ben"),
            ("changed", "ada"),
            ("made", "ada")
        ]
    );
    call("DELETE", nightly, &ada, "").await;
    let gone = answer(served.http.get(served.url(nightly)).bearer_auth(&ben)).await;
    assert_eq!(gone.0, 404);
    assert!(
        what(&gone.1).contains("was deleted by ada on 2026-01-29"),
        "{}",
        gone.1
    );
}
