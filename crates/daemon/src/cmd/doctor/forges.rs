//! The forges' tokens: accepted, allowed enough, and of use for a while.

use std::time::Duration;

use chrono::{NaiveDate, NaiveTime};
use reqwest::{RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::Findings;
use super::database::days_until;
use crate::config::Settings;

const LIMIT: Duration = Duration::from_secs(10);
/// A token that ends within so many days is told.
const SOON_DAYS: i64 = 14;

pub async fn look(settings: &Settings, found: &mut Findings) {
    let client = reqwest::Client::builder()
        .timeout(LIMIT)
        // A redirect may lead to another host, and the token would go with it.
        .redirect(reqwest::redirect::Policy::none())
        // Workers know no proxy but a configured one, and the environment's would be shown the token.
        .no_proxy()
        .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
        .build();
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            found.fail(
                "forges",
                format!("could not set up the HTTP client: {error}"),
                "Report this as a bug",
            );
            return;
        }
    };
    let (gitlab, github) = (&settings.gitlab, &settings.github);
    match (&gitlab.token, &gitlab.url) {
        (None, None) => found.ok("gitlab", "not configured"),
        (None, Some(url)) => found.warn(
            "gitlab",
            format!("{url} is configured without a token, so nothing can be read or told there"),
            "Set GITLAB_TOKEN to a token with the scope `api`",
        ),
        (Some(token), url) => {
            let base = url.as_ref().map_or("https://gitlab.com", Url::as_str);
            look_gitlab(&client, base, &token.secret(), found).await;
        }
    }
    match &github.token {
        None => found.ok("github", "not configured"),
        Some(token) => {
            let base = github.url.as_ref().map_or("https://api.github.com", Url::as_str);
            look_github(&client, base, &token.secret(), found).await;
        }
    }
}

/// By <https://docs.gitlab.com/api/personal_access_tokens/#self-inform>, which works for project and group tokens too.
async fn look_gitlab(client: &reqwest::Client, base: &str, token: &SecretString, found: &mut Findings) {
    let url = format!(
        "{}/api/v4/personal_access_tokens/self",
        base.trim_end_matches('/')
    );
    let request = client.get(url).header("PRIVATE-TOKEN", token.expose_secret());
    let Some(response) = answer("gitlab", base, request, found).await else {
        return;
    };
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => {
            found.fail(
                "gitlab",
                format!("{base} does not accept the token: it is wrong, expired or revoked"),
                "Make one with the scope `api` and set GITLAB_TOKEN",
            );
            return;
        }
        status => {
            found.warn(
                "gitlab",
                format!("{base} answered {status} when asked about the token"),
                "Is `gitlab.url` GitLab's own address, without a path of a project? GitLab tells of tokens from 15.5 on",
            );
            return;
        }
    }
    let Ok(told) = response.json::<Value>().await else {
        found.fail(
            "gitlab",
            format!("what answers at {base} is no GitLab"),
            "Correct `gitlab.url`",
        );
        return;
    };
    gitlab_token(base, &told, found);
}

fn gitlab_token(base: &str, told: &Value, found: &mut Findings) {
    let scopes: Vec<&str> = told["scopes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let name = told["name"].as_str().unwrap_or("without a name");
    if !scopes.contains(&"api") {
        found.fail(
            "gitlab",
            format!(
                "the token {name:?} at {base} has the scopes {}, and not `api`",
                scopes.join(", ")
            ),
            "Make one with the scope `api`: comments, retries and merge requests need it",
        );
        return;
    }
    let ends = told["expires_at"]
        .as_str()
        .and_then(|date| date.parse::<NaiveDate>().ok())
        .map(|date| date.and_time(NaiveTime::MIN).and_utc());
    match ends.map(|ends| (days_until(ends), ends.date_naive())) {
        Some((days, date)) if days < SOON_DAYS => found.warn(
            "gitlab",
            format!("the token {name:?} at {base} has the scope `api` and ends on {date}"),
            "Make the next one in time, and set GITLAB_TOKEN",
        ),
        Some((_, date)) => found.ok(
            "gitlab",
            format!("{base} accepts the token {name:?}, scope `api`, until {date}"),
        ),
        None => found.ok(
            "gitlab",
            format!("{base} accepts the token {name:?}, scope `api`"),
        ),
    }
}

/// `/rate_limit` answers every kind of token, an app's too, and costs nothing.
async fn look_github(client: &reqwest::Client, base: &str, token: &SecretString, found: &mut Findings) {
    let url = format!("{}/rate_limit", base.trim_end_matches('/'));
    let Some(response) = answer(
        "github",
        base,
        client.get(url).bearer_auth(token.expose_secret()),
        found,
    )
    .await
    else {
        return;
    };
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let (scopes, status) = (header("x-oauth-scopes"), response.status());
    match (status, scopes) {
        (StatusCode::OK, Some(scopes)) if !scopes.split(',').any(|scope| scope.trim() == "repo") => found.fail(
            "github",
            format!("the token at {base} has the scopes {scopes:?}, and not `repo`"),
            "Make one with the scope `repo`, or a fine-grained one with read and write for actions, issues and pull requests",
        ),
        (StatusCode::OK, Some(_)) => found.ok("github", format!("{base} accepts the token, scope `repo`")),
        (StatusCode::OK, None) => found.ok(
            "github",
            format!("{base} accepts the token; it is fine-grained, so what it may do shows at each repository"),
        ),
        (StatusCode::UNAUTHORIZED, _) => found.fail(
            "github",
            format!("{base} does not accept the token: it is wrong, expired or revoked"),
            "Make a new one and set GITHUB_TOKEN",
        ),
        (status, _) => found.warn(
            "github",
            format!("{base} answered {status} when asked about the token"),
            "Is `github.url` the API's address? For GitHub Enterprise Server it ends in /api/v3",
        ),
    }
}

async fn answer(
    check: &'static str,
    base: &str,
    request: RequestBuilder,
    found: &mut Findings,
) -> Option<Response> {
    match request.send().await {
        Ok(response) => Some(response),
        Err(error) => {
            let mut what = format!("{base} cannot be reached");
            let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(&error);
            while let Some(error) = cause {
                what.push_str(&format!(": {error}"));
                cause = error.source();
            }
            found.fail(
                check,
                what,
                format!("Is `{check}.url` right, and may this host connect there?"),
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, Utc};
    use serde_json::json;

    use super::super::Grade;
    use super::*;

    #[test]
    fn a_gitlab_token_needs_its_scope_and_some_time_to_live() {
        let grade = |told: Value| {
            let mut found = Findings::default();
            gitlab_token("https://git.example", &told, &mut found);
            found.0[0].grade
        };
        let day = |days| (Utc::now() + TimeDelta::days(days)).date_naive().to_string();
        assert_eq!(
            grade(json!({"scopes": ["api"], "expires_at": day(90)})),
            Grade::Ok
        );
        assert_eq!(grade(json!({"scopes": ["api"], "expires_at": null})), Grade::Ok);
        assert_eq!(
            grade(json!({"scopes": ["api"], "expires_at": day(3)})),
            Grade::Warn
        );
        assert_eq!(
            grade(json!({"scopes": ["read_api"], "expires_at": day(90)})),
            Grade::Fail
        );
    }
}
