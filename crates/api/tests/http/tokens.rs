//! Who may call what.

use std::time::Duration;

use api::mint_token;
use chrono::{DateTime, TimeDelta, Utc};
use domain::Role;
use secrecy::ExposeSecret;
use serde_json::Value;
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

#[tokio::test]
async fn each_route_opens_to_its_role_and_those_that_include_it_and_to_no_other() {
    let (served, _clock) = guarded().await;
    let (_, document) = served.get("/api/openapi.json").await;
    let mut tokens = Vec::new();
    for role in Role::ALL {
        tokens.push((role, token(&served, role.as_str(), role, None).await));
    }
    let mut tried = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(needed) = operation["security"][0]["token"][0].as_str() else {
                continue;
            };
            let needed: Role = needed.parse().unwrap();
            for (role, token) in &tokens {
                let method = method.to_uppercase().parse().unwrap();
                let url = served.url(&path.replace("{id}", "none").replace("{name}", "none"));
                let request = served.http.request(method, url).bearer_auth(token);
                let response = request.send().await.unwrap();
                let status = response.status().as_u16();
                tried += 1;
                if role.includes(needed) {
                    assert!(!matches!(status, 401 | 403), "{role} at {path}: {status}");
                } else {
                    assert_eq!(status, 403, "{role} at {path}");
                    let told: Value = response.json().await.unwrap();
                    assert_eq!(
                        what(&told),
                        format!("this needs the role {needed}, and the token {role} has {role}")
                    );
                    assert!(
                        told["error"]["next"]
                            .as_str()
                            .unwrap()
                            .contains(&format!("--role {needed}"))
                    );
                }
            }
            let nobody = served.http.request(
                method.to_uppercase().parse().unwrap(),
                served.url(&path.replace("{id}", "x").replace("{name}", "x")),
            );
            assert_eq!(nobody.send().await.unwrap().status(), 401, "nobody at {path}");
        }
    }
    assert!(tried >= 36, "only {tried} calls were tried");
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
