use std::borrow::Cow;
use std::io;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A request as it came, with its body read.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    /// As sent, with its escapes.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// When a hook sees a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has happened yet.
    Arrived,
    /// Its effect has happened, and the answer has not been sent.
    Done,
}

/// A line of the request log. Bodies and tokens are not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Logged {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    /// None where the connection was cut or hangs.
    pub status: Option<u16>,
    /// Whether a token came with it.
    pub with_token: bool,
}

impl Request {
    /// The path's parts after `prefix`, unescaped; none when the path lies elsewhere.
    pub fn parts(&self, prefix: &str) -> Option<Vec<String>> {
        let rest = self.path.strip_prefix(prefix)?;
        Some(
            rest.split('/')
                .filter(|part| !part.is_empty())
                .map(unescape)
                .collect(),
        )
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn is_write(&self) -> bool {
        self.method != Method::GET && self.method != Method::HEAD
    }

    /// The fields of the body, whether it is JSON or a form, and of the query.
    pub fn fields(&self) -> Map<String, Value> {
        let mut fields: Map<String, Value> = pairs(&self.query);
        let form = self
            .header("content-type")
            .is_some_and(|kind| kind.contains("form-urlencoded"));
        if form {
            let sent: Vec<(String, String)> = url::form_urlencoded::parse(&self.body).into_owned().collect();
            fields.extend(pairs(&sent));
        } else if let Ok(Value::Object(sent)) = serde_json::from_slice(&self.body) {
            fields.extend(sent);
        }
        fields
    }
}

fn pairs(pairs: &[(String, String)]) -> Map<String, Value> {
    pairs
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect()
}

fn unescape(part: &str) -> String {
    // The form decoder reads `+` as a space, which a path does not mean.
    let part = part.replace('+', "%2B");
    url::form_urlencoded::parse(format!("={part}").as_bytes())
        .next()
        .map_or_else(|| Cow::from(""), |(_, value)| value)
        .into_owned()
}

/// What is answered.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Body,
}

impl Reply {
    pub fn json(status: u16, value: &Value) -> Self {
        let mut reply = Self::text(status, value.to_string());
        reply
            .headers
            .insert("content-type", HeaderValue::from_static("application/json"));
        reply
    }

    /// An error in the shape `{"message": …}`.
    pub fn message(status: u16, message: &str) -> Self {
        Self::json(status, &json!({ "message": message }))
    }

    pub fn text(status: u16, text: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::from_u16(status).expect("a status code"),
            headers: HeaderMap::new(),
            body: Body::from(text.into()),
        }
    }

    /// A text that may be larger than memory: `piece` written `times` times.
    pub fn repeated(piece: &[u8], times: u64) -> Self {
        let piece = Bytes::copy_from_slice(piece);
        let pieces = stream::iter(0..times).map(move |_| Ok::<_, io::Error>(piece.clone()));
        let mut reply = Self::empty(200);
        reply.body = Body::from_stream(pieces);
        reply
    }

    pub fn empty(status: u16) -> Self {
        Self::text(status, Bytes::new())
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        let value = HeaderValue::from_str(&value.to_string()).expect("a header value");
        self.headers.insert(name, value);
        self
    }
}
