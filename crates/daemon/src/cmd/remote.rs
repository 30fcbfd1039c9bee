//! An API elsewhere, spoken to over HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use domain::{Error, ErrorKind};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::{Host, Url};

use crate::config::{Secret, Settings};

/// How long many tasks at once may take.
const MANY: Duration = Duration::from_secs(120);

/// An API that tasks are sent to, with the token that may go there, if there is one.
pub struct Api {
    http: reqwest::Client,
    tasks: Url,
    token: Option<SecretString>,
}

/// An answer that is a refusal.
pub struct Refused {
    pub error: Error,
    /// What it said of itself.
    pub said: Option<String>,
    /// The part of the request that was wrong.
    pub field: Option<String>,
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self {
            error,
            said: None,
            field: None,
        }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

impl Api {
    pub fn at(base: &str, settings: &Settings) -> Result<Self, Error> {
        let tasks = endpoint(base)?;
        let token = token(&tasks, settings);
        let mut http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            // Whoever answers with one gets no token of ours carried elsewhere, nor a POST made into a GET.
            .redirect(Policy::none());
        if is_loopback(&tasks) {
            // The environment's proxy could reach nothing of this machine, and would be shown the token.
            http = http.no_proxy();
        }
        if let (Some(Sent::Own(_, at)), Some(Host::Domain(name))) = (&token, tasks.host()) {
            // What else the name stands for may be another user's.
            http = http.resolve(name, *at);
        }
        let http = http
            .build()
            .map_err(|error| Error::internal("could not set up the HTTP client").because(&error))?;
        let token = token.map(|token| token.secret());
        Ok(Self { http, tasks, token })
    }

    /// `POST /api/tasks`. The answer names the task.
    pub async fn create_task(&self, body: &Value) -> Result<Value, Refused> {
        let request = self.http.post(self.tasks.clone()).json(body);
        let answer = self.send(&self.tasks, request).await?;
        match answer["task_id"].as_str() {
            Some(_) => Ok(answer),
            None => Err(strange(&self.tasks, "an answer that names no task").into()),
        }
    }

    /// `POST /api/tasks/bulk`, of one task a line, so many of them: how many were created, and how many existed.
    pub async fn create_tasks(&self, lines: Vec<u8>, tasks: usize) -> Result<(u64, u64), Refused> {
        let mut url = self.tasks.clone();
        url.set_path(&format!("{}/bulk", self.tasks.path()));
        let request = self
            .http
            .post(url.clone())
            .header("content-type", "application/x-ndjson")
            .timeout(MANY)
            .body(lines);
        let answer = self.send(&url, request).await?;
        match (answer["created"].as_u64(), answer["existing"].as_u64()) {
            (Some(created), Some(existing)) if created.checked_add(existing) == Some(tasks as u64) => {
                Ok((created, existing))
            }
            _ => Err(strange(&url, "an answer that does not say what became of each task").into()),
        }
    }

    async fn send(&self, url: &Url, request: reqwest::RequestBuilder) -> Result<Value, Refused> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        let response = request.send().await.map_err(|error| unreachable(url, &error))?;
        let status = response.status();
        if status.is_redirection() {
            return Err(moved(url, &response).into());
        }
        let text = response.text().await.map_err(|error| unreachable(url, &error))?;
        let answer: Option<Value> = serde_json::from_str(&text).ok();
        match answer {
            Some(answer) if status.is_success() => Ok(answer),
            _ if status.is_success() => {
                Err(strange(url, &format!("{status} and something that is not JSON")).into())
            }
            answer => {
                let mut refused = refused(url, status, answer.as_ref(), &text);
                if status == StatusCode::UNAUTHORIZED && self.token.is_none() {
                    refused.error = refused.error.next(NO_TOKEN);
                }
                Err(refused)
            }
        }
    }
}

const NO_TOKEN: &str = "Set `client.token` (LONGSHORE_CLIENT_TOKEN) to a token of that API: those of `api.tokens` are sent to this \
     machine's own alone";

/// A token that goes to an address.
enum Sent<'s> {
    /// `client.token`, which is meant for whatever address is named.
    Named(&'s Secret),
    /// The first of `api.tokens`, which open our own API: it listens there.
    Own(&'s Secret, SocketAddr),
}

impl Sent<'_> {
    fn secret(&self) -> SecretString {
        match self {
            Self::Named(secret) | Self::Own(secret, _) => secret.secret(),
        }
    }
}

/// The tokens of our own API are sent to it on this machine alone: nobody else is shown one.
fn token<'s>(url: &Url, settings: &'s Settings) -> Option<Sent<'s>> {
    if let Some(token) = &settings.client.token {
        return Some(Sent::Named(token));
    }
    let at = own(url, settings.api.bind)?;
    Some(Sent::Own(settings.api.tokens.first()?, at))
}

/// Where our own API listens, if that is what a loopback address names.
fn own(url: &Url, bind: SocketAddr) -> Option<SocketAddr> {
    if url.scheme() != "http" || url.port_or_known_default() != Some(bind.port()) {
        return None;
    }
    let host: IpAddr = match url.host()? {
        Host::Ipv4(at) => at.into(),
        Host::Ipv6(at) => at.into(),
        Host::Domain("localhost") => match bind.ip() {
            IpAddr::V4(at) if at.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(at) if at.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            at => at,
        },
        Host::Domain(_) => return None,
    };
    // What listens on all addresses of IPv6 has those of IPv4 as well; the other way round that is not so.
    let listens = host == bind.ip() || (bind.ip().is_unspecified() && (bind.is_ipv6() || host.is_ipv4()));
    (listens && host.is_loopback()).then(|| SocketAddr::new(host, bind.port()))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(at)) => at.is_loopback(),
        Some(Host::Ipv6(at)) => at.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
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

/// An answer that no API of ours gives.
fn strange(url: &Url, what: &str) -> Error {
    Error::new(ErrorKind::Rejected, format!("{url} answered with {what}"))
        .next("Is DASHBOARD_URL (or --dashboard-url) the base address of a longshore API?")
}

/// An answer that sends us elsewhere, where we do not go by ourselves.
fn moved(url: &Url, response: &Response) -> Error {
    let place = response
        .headers()
        .get(LOCATION)
        .and_then(|place| place.to_str().ok());
    let place = place.and_then(|place| url.join(place).ok()).map(|mut place| {
        let _ = place.set_username("").and_then(|()| place.set_password(None));
        place.set_query(None);
        place
    });
    let status = response.status();
    let Some(place) = place else {
        return Error::invalid(format!("{url} answered {status} without a new place"))
            .next("Is DASHBOARD_URL (or --dashboard-url) the base address of a longshore API?");
    };
    let base = place.as_str().split("/api/tasks").next().unwrap_or_default();
    Error::invalid(format!(
        "{url} answered {status} and names {place}, where nothing was sent"
    ))
    .next(format!(
        "If that is where the API is now, give --dashboard-url {base}"
    ))
}

fn refused(url: &Url, status: StatusCode, answer: Option<&Value>, text: &str) -> Refused {
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
        error.causes.push(said.clone());
    }
    let told = |part: &str| told.and_then(|error| error[part].as_str());
    error.next = told("next").map(str::to_owned);
    Refused {
        error,
        said: Some(said),
        field: told("field").map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_apis_own_tokens_go_to_it_on_this_machine_and_nowhere_else() {
        let mut settings = Settings::default();
        settings.api.tokens = vec!["own-0123456789abcdef".into()];
        let sent = |settings: &Settings, base: &str| {
            let url = endpoint(base).unwrap();
            token(&url, settings).map(|token| token.secret().expose_secret().to_owned())
        };
        let pinned = |settings: &Settings, base: &str| own(&endpoint(base).unwrap(), settings.api.bind);
        let ours = Some("own-0123456789abcdef".to_owned());
        for here in ["http://127.0.0.1:8844", "http://localhost:8844/"] {
            assert_eq!(sent(&settings, here), ours, "{here}");
            // `localhost` may be ::1 as well, where anybody may listen.
            assert_eq!(pinned(&settings, here), Some(settings.api.bind), "{here}");
        }
        for elsewhere in [
            "http://127.0.0.1:8845",
            "http://127.0.0.2:8844",
            "http://[::1]:8844",
            "https://127.0.0.1:8844",
            "http://10.0.0.7:8844",
            "http://localhost.example.com:8844",
            "https://ops.example.com",
        ] {
            assert_eq!(sent(&settings, elsewhere), None, "{elsewhere}");
        }
        for (bind, base, at) in [
            ("0.0.0.0:8844", "http://127.0.0.1:8844", Some("127.0.0.1:8844")),
            ("0.0.0.0:8844", "http://localhost:8844", Some("127.0.0.1:8844")),
            ("0.0.0.0:8844", "http://[::1]:8844", None),
            ("0.0.0.0:8844", "http://10.0.0.7:8844", None),
            ("[::1]:8844", "http://localhost:8844", Some("[::1]:8844")),
            ("[::1]:8844", "http://127.0.0.1:8844", None),
            ("[::]:8844", "http://[::1]:8844", Some("[::1]:8844")),
            ("[::]:8844", "http://127.0.0.1:8844", Some("127.0.0.1:8844")),
            ("[::]:8844", "http://localhost:8844", Some("[::1]:8844")),
            ("10.0.0.7:8844", "http://localhost:8844", None),
            ("10.0.0.7:8844", "http://10.0.0.7:8844", None),
        ] {
            settings.api.bind = bind.parse().unwrap();
            let at = at.map(|at| at.parse().unwrap());
            assert_eq!(pinned(&settings, base), at, "{bind} {base}");
            assert_eq!(sent(&settings, base).is_some(), at.is_some(), "{bind} {base}");
        }
        settings.client.token = Some("theirs-0123456789".into());
        for anywhere in ["https://ops.example.com", "http://127.0.0.1:8844"] {
            assert_eq!(sent(&settings, anywhere).as_deref(), Some("theirs-0123456789"));
        }
    }
}
