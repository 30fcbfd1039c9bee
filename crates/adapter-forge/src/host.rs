use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use domain::{Error, Result};
use governor::{DefaultDirectRateLimiter, Jitter, Quota, RateLimiter};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout};
use url::Url;

use crate::config::{HostConfig, Provider};
use crate::failure::{CallError, Failure};
use crate::refusal;

/// Most that is kept of an answer that is not a log: a page of a hundred of the longest notes.
const LARGEST_ANSWER: usize = 160 << 20;
const MOST_REDIRECTS: usize = 5;

/// The door to one instance of a forge: its client, its token, the rate that we keep to, and what its refusals mean.
pub(crate) struct Host {
    pub provider: Provider,
    /// The web address, without a slash at its end.
    pub web: Url,
    pub api: Url,
    /// Host and port, as people name it.
    pub name: String,
    pub config: HostConfig,
    client: reqwest::Client,
    token: SecretString,
    budget: DefaultDirectRateLimiter,
    paused_until: Mutex<Option<Instant>>,
}

impl Host {
    pub fn new(config: HostConfig) -> Result<Arc<Self>> {
        let provider = config.provider;
        let (web, api) = addresses(&config)?;
        let name = name_of(&web);
        let token = config
            .token
            .clone()
            .filter(|token| !token.expose_secret().trim().is_empty());
        let token = token.ok_or_else(|| {
            Error::denied(format!("there is no token for {name}")).next(format!(
                "Set the token of the {} instance {name} in the configuration",
                provider.word()
            ))
        })?;
        let mut client = reqwest::Client::builder()
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.read_timeout)
            // Redirects are followed by us: the token must not travel to another host.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if let Some(proxy) = &config.proxy {
            let proxy = reqwest::Proxy::all(proxy.clone()).map_err(|error| {
                Error::invalid(format!("the proxy for {name} is refused")).because(&error.without_url())
            })?;
            client = client.proxy(proxy);
        }
        let client = client.build().map_err(|error| {
            Error::internal(format!("no HTTP client could be made for {name}")).because(&error)
        })?;
        let rate = NonZeroU32::new(config.requests_per_minute).ok_or_else(|| {
            Error::invalid(format!("requests_per_minute of {name} is 0")).next("Set it to 1 or more")
        })?;
        Ok(Arc::new(Self {
            provider,
            web,
            api,
            name,
            client,
            token,
            budget: RateLimiter::direct(Quota::per_minute(rate)),
            paused_until: Mutex::new(None),
            config,
        }))
    }

    /// Sends a request and reads its whole answer, both within the time limit.
    pub async fn fetch(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, CallError> {
        let method = request.method().clone();
        self.hold_back(&method).await?;
        let whole = async {
            let response = self.exchange(request).await?;
            let mut answer = http::Response::builder().status(response.status());
            if let Some(headers) = answer.headers_mut() {
                *headers = response.headers().clone();
            }
            let body = self.read(&method, response).await?;
            answer
                .body(body)
                .map_err(|error| self.failed(&method, Failure::Unreadable(error.to_string())))
        };
        match timeout(self.config.timeout, whole).await {
            Ok(answer) => answer,
            Err(_) => Err(self.too_late(&method)),
        }
    }

    /// Sends a request and answers when the first words of the answer are there; its body flows.
    pub async fn open(&self, request: http::Request<Bytes>) -> Result<reqwest::Response, CallError> {
        let method = request.method().clone();
        self.hold_back(&method).await?;
        match timeout(self.config.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.too_late(&method)),
        }
    }

    pub fn failed(&self, method: &Method, failure: Failure) -> CallError {
        CallError {
            method: method.clone(),
            host: self.name.clone(),
            provider: self.provider,
            failure,
        }
    }

    pub fn too_late(&self, method: &Method) -> CallError {
        let limit = self.config.timeout.as_secs_f64();
        self.failed(method, Failure::NoAnswer(format!("no answer within {limit} s")))
    }

    /// Our words for a broken connection.
    pub fn broken(&self, method: &Method, error: reqwest::Error) -> CallError {
        let not_sent = error.is_connect() || error.is_builder();
        let text = self.mask(&chain(&error.without_url()));
        self.failed(
            method,
            if not_sent {
                Failure::NotSent(text)
            } else {
                Failure::NoAnswer(text)
            },
        )
    }

    /// Waits for our turn, or refuses when the turn is too far away.
    async fn hold_back(&self, method: &Method) -> Result<(), CallError> {
        let held = |why: String, wait: Duration| Err(self.failed(method, Failure::HeldBack { why, wait }));
        if let Some(wait) = self.pause_left() {
            let seconds = wait.as_secs_f64().ceil();
            return held(
                format!("it asked us to send nothing for another {seconds} s"),
                wait,
            );
        }
        let turn = self
            .budget
            .until_ready_with_jitter(Jitter::up_to(Duration::from_millis(20)));
        if timeout(self.config.timeout, turn).await.is_err() {
            let rate = self.config.requests_per_minute;
            return held(
                format!("our own limit of {rate} requests a minute is used up"),
                self.config.timeout,
            );
        }
        Ok(())
    }

    fn pause_left(&self) -> Option<Duration> {
        let mut until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.and_then(|until| until.checked_duration_since(Instant::now()));
        if left.is_none() {
            *until = None;
        }
        left.filter(|left| !left.is_zero())
    }

    async fn exchange(&self, request: http::Request<Bytes>) -> Result<reqwest::Response, CallError> {
        let (parts, body) = request.into_parts();
        let method = parts.method.clone();
        let mut url = Url::parse(&parts.uri.to_string())
            .map_err(|error| self.failed(&method, Failure::NotSent(format!("not an address: {error}"))))?;
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self
                .client
                .request(method.clone(), url.clone())
                .headers(parts.headers.clone())
                .body(body.clone());
            if url.origin() == self.api.origin() {
                let (name, value) = self.credentials(&method)?;
                request = request.header(name, value);
            }
            let response = request
                .send()
                .await
                .map_err(|error| self.broken(&method, error))?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            match redirect(&response, &url) {
                Some(target) if method == Method::GET => url = target,
                Some(target) => return Err(self.failed(&method, Failure::Moved(without_query(&target)))),
                None => return Err(self.refused(&method, status, response).await),
            }
        }
        Err(self.failed(&method, Failure::Unreadable("too many redirects".to_owned())))
    }

    fn credentials(&self, method: &Method) -> Result<(HeaderName, HeaderValue), CallError> {
        let (name, value) = match self.provider {
            Provider::Gitlab => (
                HeaderName::from_static("private-token"),
                HeaderValue::from_str(self.token.expose_secret()),
            ),
            Provider::Github => (
                header::AUTHORIZATION,
                HeaderValue::from_str(&format!("Bearer {}", self.token.expose_secret())),
            ),
        };
        let mut value = value.map_err(|_| {
            let why = format!("the token for {} holds characters that no token has", self.name);
            self.failed(method, Failure::NotSent(why))
        })?;
        value.set_sensitive(true);
        Ok((name, value))
    }

    async fn read(&self, method: &Method, mut response: reqwest::Response) -> Result<Bytes, CallError> {
        let mut body = BytesMut::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| self.broken(method, error))?
        {
            if body.len() + piece.len() > LARGEST_ANSWER {
                return Err(self.failed(method, Failure::Unreadable("it is far too large".to_owned())));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }

    async fn refused(&self, method: &Method, status: StatusCode, response: reqwest::Response) -> CallError {
        let headers = response.headers().clone();
        let body = refusal::start_of(response).await;
        // Masked before it is cut short, so that no half of a token stays.
        let message = refusal::message(self.mask(&String::from_utf8_lossy(&body)).as_bytes());
        if !refusal::is_rate_limit(status, &headers, &message) {
            return self.failed(method, Failure::Refused { status, message });
        }
        let retry_after = refusal::wait(&headers);
        if let Some(wait) = retry_after {
            self.pause(wait);
        }
        let too_many = Failure::TooMany {
            status,
            message,
            retry_after,
        };
        self.failed(method, too_many)
    }

    fn pause(&self, wait: Duration) {
        let mut until = self.paused_until.lock().unwrap_or_else(PoisonError::into_inner);
        let end = Instant::now().checked_add(wait);
        *until = (*until).max(end);
        tracing::warn!(
            forge.host = self.name,
            forge.wait_seconds = wait.as_secs_f64(),
            "The forge asked us to slow down"
        );
    }

    /// Takes the token out of a text that came from outside.
    fn mask(&self, text: &str) -> String {
        text.replace(self.token.expose_secret(), "[token]")
    }
}

fn addresses(config: &HostConfig) -> Result<(Url, Url)> {
    let wrong = |what: &str, error: &dyn std::error::Error| {
        Error::invalid(format!(
            "the {what} of a {} instance is no web address",
            config.provider.word()
        ))
        .because(error)
    };
    let web = match (&config.url, config.provider) {
        (Some(url), _) => url.clone(),
        (None, Provider::Gitlab) => Url::parse("https://gitlab.com").map_err(|error| wrong("url", &error))?,
        (None, Provider::Github) => Url::parse("https://github.com").map_err(|error| wrong("url", &error))?,
    };
    for url in [Some(&web), config.api_url.as_ref()].into_iter().flatten() {
        if !url.username().is_empty() || url.password().is_some() {
            let next = "Take them out of the address and set the token on its own";
            return Err(
                Error::invalid(format!("the address of {} holds credentials", name_of(url))).next(next),
            );
        }
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            let next = "Write it like https://gitlab.example.com";
            return Err(Error::invalid(format!("{url} is not the web address of a forge")).next(next));
        }
    }
    let (web, api) = match (web.as_str().trim_end_matches('/'), config.provider) {
        // Whoever names the API means its instance.
        ("https://api.github.com" | "https://github.com", Provider::Github) => (
            "https://github.com".to_owned(),
            "https://api.github.com".to_owned(),
        ),
        (named, provider) => {
            let suffix = match provider {
                Provider::Gitlab => "/api/v4",
                Provider::Github => "/api/v3",
            };
            let root = named.strip_suffix(suffix).unwrap_or(named);
            (root.to_owned(), format!("{root}{suffix}"))
        }
    };
    let web = Url::parse(&web).map_err(|error| wrong("url", &error))?;
    let api = config
        .api_url
        .as_ref()
        .map_or(api, |api| api.as_str().trim_end_matches('/').to_owned());
    let api = Url::parse(&api).map_err(|error| wrong("api_url", &error))?;
    Ok((web, api))
}

/// Host, and port where it is not the usual one.
pub(crate) fn name_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn redirect(response: &reqwest::Response, from: &Url) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    let target: &HeaderMap = response.headers();
    let target = target.get(header::LOCATION)?.to_str().ok()?;
    from.join(target).ok()
}

/// Signed addresses carry secrets in their query.
fn without_query(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_may_be_named_by_its_pages_or_by_its_api() {
        let of = |provider, url: Option<&str>| {
            let mut config = HostConfig::new(provider);
            config.url = url.map(|url| url.parse().expect("an address"));
            let (web, api) = addresses(&config).expect("usable");
            (web.to_string(), api.to_string())
        };
        let pair = |web: &str, api: &str| (web.to_owned(), api.to_owned());
        let github = pair("https://github.com/", "https://api.github.com/");
        for url in [None, Some("https://github.com"), Some("https://api.github.com/")] {
            assert_eq!(of(Provider::Github, url), github);
        }
        let enterprise = pair("https://git.example.com/", "https://git.example.com/api/v3");
        for url in ["https://git.example.com", "https://git.example.com/api/v3/"] {
            assert_eq!(of(Provider::Github, Some(url)), enterprise);
        }
        assert_eq!(
            of(Provider::Gitlab, None),
            pair("https://gitlab.com/", "https://gitlab.com/api/v4")
        );
        let below = pair("https://example.com/git", "https://example.com/git/api/v4");
        assert_eq!(of(Provider::Gitlab, Some("https://example.com/git/")), below);
    }

    #[test]
    fn an_address_with_credentials_is_refused_without_repeating_them() {
        let mut config = HostConfig::new(Provider::Gitlab);
        config.url = Some("https://bot:geheim@git.example.com".parse().expect("an address"));
        let error = addresses(&config).expect_err("refused");
        assert_eq!(error.kind, domain::ErrorKind::Invalid);
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}
