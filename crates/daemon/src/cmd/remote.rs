//! An API elsewhere, spoken to over HTTP.

use std::time::Duration;

use domain::{Error, ErrorKind};
use reqwest::StatusCode;
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use crate::config::Settings;

/// Sends a new task to `BASE/api/tasks` with `client.token`, or else the first of `api.tokens`, if there is one.
pub async fn create_task(base: &str, body: &Value, settings: &Settings) -> Result<Value, Error> {
    let url = endpoint(base)?;
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Error::internal("could not set up the HTTP client").because(&error))?;
    let mut request = client.post(url.clone()).json(body);
    if let Some(token) = settings.client.token.as_ref().or(settings.api.tokens.first()) {
        request = request.bearer_auth(token.secret().expose_secret());
    }
    let response = request.send().await.map_err(|error| unreachable(&url, &error))?;
    let status = response.status();
    let text = response.text().await.map_err(|error| unreachable(&url, &error))?;
    let answer: Option<Value> = serde_json::from_str(&text).ok();
    match answer {
        Some(answer) if status.is_success() => Ok(answer),
        _ if status.is_success() => Err(Error::internal(format!(
            "{url} answered {status} with something that is not JSON"
        ))
        .next("Is DASHBOARD_URL (or --dashboard-url) the base address of a longshore API?")),
        answer => Err(refused(&url, status, answer.as_ref(), &text)),
    }
}

fn endpoint(base: &str) -> Result<Url, Error> {
    let wrong = || {
        Error::invalid(format!("{base:?} is not the base address of an API"))
            .next("--dashboard-url and DASHBOARD_URL take one like http://127.0.0.1:8844")
    };
    let url = Url::parse(&format!("{}/api/tasks", base.trim_end_matches('/'))).map_err(|_| wrong())?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(wrong())
    }
}

fn unreachable(url: &Url, error: &reqwest::Error) -> Error {
    let kind = if error.is_connect() {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Timeout
    };
    Error::new(kind, format!("could not reach {url}"))
        .because(error)
        .next("Is the API running there? Without --dashboard-url and DASHBOARD_URL the task goes straight into the database")
}

fn refused(url: &Url, status: StatusCode, answer: Option<&Value>, text: &str) -> Error {
    let kind = match status.as_u16() {
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::RateLimited,
        504 => ErrorKind::Timeout,
        500.. => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    };
    let told = answer.map(|answer| &answer["error"]);
    let said = told
        .and_then(|error| error["what"].as_str().or(error.as_str()))
        .map_or_else(|| text.chars().take(300).collect(), str::to_owned);
    let mut error = Error::new(kind, format!("{url} answered {status}"));
    if !said.trim().is_empty() {
        error.causes.push(said);
    }
    match told.and_then(|error| error["next"].as_str()) {
        Some(next) => error.next(next),
        None => error,
    }
}
