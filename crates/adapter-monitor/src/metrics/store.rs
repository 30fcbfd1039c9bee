use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use domain::{Error, Result};
use http::StatusCode;
use ports::{Series, Window};
use reqwest::Response;
use secrecy::ExposeSecret;
use tokio::time::timeout;
use url::Url;

use super::answer::{Answer, Data, Unfit, series};
use super::refusal::{Refusal, retry_after};
use crate::broken;
use crate::config::{StoreConfig, StoreKind};
use crate::door::{Credentials, built, client};

/// Most of a question, and of an answer's words, that people are shown, in characters.
const MOST_SHOWN: usize = 300;

/// One store that speaks Prometheus's API, or Loki's.
pub(super) struct Store {
    kind: StoreKind,
    name: String,
    /// Host and port, as people name it.
    host: String,
    query_range: Url,
    client: reqwest::Client,
    credentials: Credentials,
    timeout: Duration,
    lookback: Option<Duration>,
    max_answer_bytes: usize,
    accept_partial: bool,
}

impl Store {
    pub fn new(name: &str, config: &StoreConfig) -> Result<Self> {
        let whose = format!("the metrics store `{name}`");
        let query_range = address(&whose, config)?;
        if config.timeout.is_zero() {
            return Err(
                Error::invalid(format!("the `timeout` of {whose} is 0")).next("Set it to a second or more")
            );
        }
        let mut client = client(&whose, config.ca_file.as_deref())?.connect_timeout(config.connect_timeout);
        if let Some(proxy) = &config.proxy {
            let proxy = reqwest::Proxy::all(proxy.clone()).map_err(|error| {
                Error::invalid(format!("the proxy for {whose} is refused")).because(&error.without_url())
            })?;
            client = client.proxy(proxy);
        }
        if config.kind == StoreKind::Loki && config.lookback.is_some() {
            let what = format!("{whose} has a `lookback`, which Loki does not know");
            return Err(
                Error::invalid(what).next("Take it out: LogQL says in its brackets how far it looks back")
            );
        }
        Ok(Self {
            kind: config.kind,
            name: name.to_owned(),
            host: host_of(&config.url),
            query_range,
            client: built(&whose, client)?,
            credentials: credentials(&whose, config)?,
            timeout: config.timeout,
            lookback: config.lookback,
            max_answer_bytes: config.max_answer_bytes,
            accept_partial: config.accept_partial,
        })
    }

    pub async fn range(&self, query: &str, window: &Window) -> Result<Vec<Series>> {
        let Some(form) = self.form(query, window)? else {
            return Ok(Vec::new());
        };
        let Ok(answer) = timeout(self.timeout, self.ask(query, &form)).await else {
            let why = std::io::Error::other(format!("no answer within {} s", self.timeout.as_secs_f64()));
            let error = Error::unavailable(self.could_not(query)).because(&why);
            return Err(error.next(format!(
                "Check {}, or raise `timeout` of `{}`",
                self.host, self.name
            )));
        };
        let answer = self.whole(query, answer?)?;
        let Some(Data::Matrix(raw)) = answer.data else {
            return Err(self.unreadable(query, "it holds no data"));
        };
        series(raw).map_err(|unfit| match unfit {
            Unfit::Unreadable(why) => self.unreadable(query, &why),
            Unfit::Histograms => Error::invalid(format!("{}: it gives histograms", self.could_not(query)))
                .next("Make numbers of them, with histogram_quantile or histogram_avg"),
        })
    }

    /// What is asked; nothing when no whole millisecond lies in the window.
    fn form(&self, query: &str, window: &Window) -> Result<Option<Vec<(&'static str, String)>>> {
        if window.end < window.start {
            let what = format!("{}: the window ends before it starts", self.could_not(query));
            return Err(Error::invalid(what).next("Ask for a time that has an end"));
        }
        let step = window.step.as_millis();
        if step == 0 {
            let what = format!("{}: points less than a millisecond apart", self.could_not(query));
            return Err(Error::invalid(what).next("Set a step of a second or more"));
        }
        // Prometheus counts milliseconds. Inwards, so that nothing from outside the window is read.
        let (start, end) = (up_to_millis(window.start), window.end.timestamp_millis());
        if start > end {
            return Ok(None);
        }
        let mut form = vec![
            ("query", query.to_owned()),
            ("start", seconds(start)),
            ("end", seconds(end)),
            ("step", seconds(i64::try_from(step).unwrap_or(i64::MAX))),
        ];
        if self.kind == StoreKind::Prometheus {
            // Earlier than ours, so that the store's own word comes back. Loki has one limit for all.
            form.push(("timeout", duration(self.timeout.mul_f64(0.9))));
        }
        if let Some(lookback) = self.lookback {
            form.push(("lookback_delta", duration(lookback)));
        }
        Ok(Some(form))
    }

    async fn ask(&self, query: &str, form: &[(&'static str, String)]) -> Result<Answer> {
        let broken = |error: reqwest::Error| {
            let why = std::io::Error::other(broken::words(&error.without_url()));
            let next = format!("Check that {} is up and can be reached from here", self.host);
            Error::unavailable(self.could_not(query)).because(&why).next(next)
        };
        let url = self.query_range.clone();
        let request = match self.kind {
            // Posted, as a question may be longer than an address may be.
            StoreKind::Prometheus => self.client.post(url).form(form),
            StoreKind::Loki => self.client.get(url).query(form),
        };
        let request = request.headers(self.credentials.headers.clone());
        let mut response = request.send().await.map_err(broken)?;
        let mut body = BytesMut::new();
        while let Some(piece) = response.chunk().await.map_err(broken)? {
            if body.len() + piece.len() > self.max_answer_bytes {
                let what = format!(
                    "{}: the answer is larger than {} bytes",
                    self.could_not(query),
                    self.max_answer_bytes
                );
                let next = format!(
                    "Ask for fewer series or longer steps, or raise `max_answer_bytes` of `{}`",
                    self.name
                );
                return Err(Error::invalid(what).next(next));
            }
            body.extend_from_slice(&piece);
        }
        self.understood(query, &response, &body.freeze())
    }

    fn understood(&self, query: &str, response: &Response, body: &Bytes) -> Result<Answer> {
        let status = response.status();
        match serde_json::from_slice::<Answer>(body) {
            Ok(answer) if status.is_success() && answer.status == "success" => Ok(answer),
            Ok(answer) if answer.status == "error" => {
                let kind = answer.error_type.map(|kind| self.shown(&kind));
                Err(self.refused(query, response, kind, &answer.error.unwrap_or_default()))
            }
            Ok(_) if status.is_success() => Err(self.unreadable(query, "it is neither success nor error")),
            Err(error) if status.is_success() => Err(self.unreadable(query, &json_words(&error))),
            // A proxy before the store, which answers pages as often as words.
            _ => {
                let text = String::from_utf8_lossy(body);
                let text = if text.trim_start().starts_with('<') {
                    ""
                } else {
                    text.as_ref()
                };
                Err(self.refused(query, response, None, text))
            }
        }
    }

    fn refused(&self, query: &str, response: &Response, kind: Option<String>, message: &str) -> Error {
        let status = response.status();
        // Loki says what is wrong with a question in plain words and by the status.
        let is_question = self.kind == StoreKind::Loki && status == StatusCode::BAD_REQUEST;
        let refusal = Refusal {
            status,
            kind: kind.or_else(|| is_question.then(|| "bad_data".to_owned())),
            message: self.shown(message),
            retry_after: (status == StatusCode::TOO_MANY_REQUESTS)
                .then(|| retry_after(response.headers()))
                .flatten(),
        };
        refusal.explain(self.could_not(query), &self.name)
    }

    /// Only the whole answer is one, unless the settings say otherwise.
    fn whole(&self, query: &str, answer: Answer) -> Result<Answer> {
        for remark in answer.remarks() {
            tracing::warn!(
                metrics.store = self.name,
                "A query was answered with a remark: {}",
                self.shown(remark)
            );
        }
        let lacks = answer.lacks();
        if lacks.is_empty() {
            return Ok(answer);
        }
        let why = self.shown(&lacks.join("; "));
        if self.accept_partial {
            tracing::warn!(metrics.store = self.name, "Measurements are incomplete: {why}");
            return Ok(answer);
        }
        let what = format!("{}: it was answered only in part", self.could_not(query));
        Err(Error::unavailable(what)
            .because(&std::io::Error::other(why))
            .next(format!(
                "Bring back what `{}` could not ask, or set its `accept_partial`",
                self.name
            )))
    }

    fn unreadable(&self, query: &str, why: &str) -> Error {
        Error::invalid(format!(
            "{}: the answer could not be understood",
            self.could_not(query)
        ))
        .because(&std::io::Error::other(why.to_owned()))
        .next(format!(
            "{}Is the `url` of the metrics store `{}` what stands before {}?",
            match self.kind {
                StoreKind::Prometheus => "",
                StoreKind::Loki => "Does the query count something, with rate or count_over_time? ",
            },
            self.name,
            self.kind.api()
        ))
    }

    fn could_not(&self, query: &str) -> String {
        format!(
            "could not read `{}` from the metrics store `{}` ({})",
            self.shown(query),
            self.name,
            self.host
        )
    }

    /// One line of a text, without secrets (masked before it is cut, so that no half of one stays).
    fn shown(&self, text: &str) -> String {
        let line = self
            .credentials
            .mask(text)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        match line.char_indices().nth(MOST_SHOWN) {
            Some((cut, _)) => format!("{}…", &line[..cut]),
            None => line,
        }
    }
}

fn credentials(whose: &str, config: &StoreConfig) -> Result<Credentials> {
    let mut credentials = Credentials::default();
    let token = config
        .bearer_token
        .as_ref()
        .filter(|token| !token.expose_secret().trim().is_empty());
    match (token, &config.username, &config.password) {
        (None, None, None) => {}
        (Some(token), None, None) => credentials.bearer(whose, token)?,
        (None, Some(username), Some(password)) => credentials.basic(whose, username, password)?,
        (Some(_), _, _) => {
            let next = "Set `bearer_token`, or `username` and `password`";
            return Err(Error::invalid(format!("{whose} has a token and a user as well")).next(next));
        }
        (None, _, _) => {
            let next = "Set `username` and `password` together";
            return Err(Error::invalid(format!("{whose} has half of a user and password")).next(next));
        }
    }
    credentials.others(whose, &config.headers)?;
    Ok(credentials)
}

fn address(whose: &str, config: &StoreConfig) -> Result<Url> {
    let (url, api) = (&config.url, config.kind.api());
    if !url.username().is_empty() || url.password().is_some() {
        let next = "Take them out of the address and set `username` and `password`";
        return Err(Error::invalid(format!("the address of {whose} holds credentials")).next(next));
    }
    let next = "Write it like https://prometheus.example.com:9090";
    let wrong = || Error::invalid(format!("{} is not the address of {whose}", host_of(url))).next(next);
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() || url.query().is_some() {
        return Err(wrong());
    }
    let root = url.as_str().trim_end_matches('/');
    let root = root.strip_suffix(api).unwrap_or(root);
    Url::parse(&format!("{root}{api}/query_range")).map_err(|_| wrong())
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn up_to_millis(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis() + i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1_000_000))
}

/// Milliseconds as seconds, exactly.
fn seconds(millis: i64) -> String {
    let sign = if millis < 0 { "-" } else { "" };
    let millis = millis.unsigned_abs();
    format!("{sign}{}.{:03}", millis / 1000, millis % 1000)
}

fn duration(of: Duration) -> String {
    format!("{}ms", of.as_millis().max(1))
}

/// Where it went wrong; serde's own words would repeat parts of the body.
fn json_words(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        serde_json::error::Category::Data => {
            format!("its JSON is not a range of values (line {line}, column {column})")
        }
        _ => format!("it is no JSON (line {line}, column {column})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_may_be_named_by_its_root_by_its_api_or_below_a_path() {
        let at = |kind, url: &str| {
            let config = StoreConfig {
                kind,
                ..StoreConfig::new(url.parse().expect("an address"))
            };
            address("x", &config).map(String::from)
        };
        for url in ["http://l:3100", "http://l:3100/loki/api/v1/"] {
            let root = "http://l:3100/loki/api/v1/query_range".to_owned();
            assert_eq!(at(StoreKind::Loki, url), Ok(root));
        }
        let of = |url| at(StoreKind::Prometheus, url);
        let root = Ok("http://p:9090/api/v1/query_range".to_owned());
        for url in [
            "http://p:9090",
            "http://p:9090/",
            "http://p:9090/api/v1",
            "http://p:9090/api/v1/",
        ] {
            assert_eq!(of(url), root);
        }
        assert_eq!(
            of("https://mimir.example.com/prometheus/"),
            Ok("https://mimir.example.com/prometheus/api/v1/query_range".to_owned())
        );
        for url in ["ftp://p", "http://p/?a=b", "http://ada:geheim@p"] {
            let error = of(url).expect_err("is refused");
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }

    #[test]
    fn times_go_over_as_exact_seconds() {
        assert_eq!(seconds(1_435_781_430_781), "1435781430.781");
        assert_eq!(seconds(15_000), "15.000");
        assert_eq!(seconds(-1_500), "-1.500");
        let within = DateTime::from_timestamp(10, 1).expect("a time");
        assert_eq!(
            up_to_millis(within),
            10_001,
            "a start between two milliseconds goes to the later"
        );
    }
}
