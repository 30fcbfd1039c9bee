//! Just enough of the Kubernetes API for tests to set up and look at a cluster, without the client that they test.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Who asks, and where.
#[derive(Clone, Debug)]
pub struct Rest {
    http: reqwest::Client,
    trusted: Arc<[u8]>,
    url: String,
    token: String,
}

impl Rest {
    /// None while the certificates that it is to trust are not whole.
    pub(super) fn new(trusted: &[u8], url: String, token: &str) -> Option<Self> {
        Some(Self {
            http: client(trusted)?,
            trusted: trusted.into(),
            url,
            token: token.to_owned(),
        })
    }

    /// The same user at another place.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self {
            url: url.to_owned(),
            ..self.clone()
        }
    }

    /// For another runtime: connections live in the one that opened them.
    pub(super) fn afresh(&self) -> Self {
        Self {
            http: client(&self.trusted).expect("worked before"),
            ..self.clone()
        }
    }

    /// The same place as somebody else.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: token.to_owned(),
            ..self.clone()
        }
    }

    pub(super) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
    }

    /// What stands there; none when nothing does.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let (status, body) = self.ask(Method::GET, path, "", "").await;
        match status {
            StatusCode::NOT_FOUND => None,
            _ => Some(expected(status, body, path)),
        }
    }

    /// The members of a list.
    pub async fn list(&self, path: &str) -> Vec<Value> {
        let list = self.get(path).await.unwrap_or_default();
        list["items"].as_array().cloned().unwrap_or_default()
    }

    pub async fn create(&self, path: &str, object: &Value) -> Value {
        let (status, body) = self
            .ask(Method::POST, path, "application/json", &object.to_string())
            .await;
        expected(status, body, path)
    }

    /// As it is written in a manifest.
    pub async fn create_yaml(&self, path: &str, object: &str) -> Value {
        let (status, body) = self.ask(Method::POST, path, "application/yaml", object).await;
        expected(status, body, path)
    }

    /// A JSON merge patch.
    pub async fn merge(&self, path: &str, change: &Value) -> Value {
        self.patch(path, "application/merge-patch+json", change).await
    }

    /// A merge patch that knows lists with names, as `kubectl` sends it.
    pub async fn merge_by_name(&self, path: &str, change: &Value) -> Value {
        self.patch(path, "application/strategic-merge-patch+json", change)
            .await
    }

    /// The same for what may not be there, or not be what it was; whether it was changed.
    pub async fn try_merge_by_name(&self, path: &str, change: &Value) -> bool {
        let kind = "application/strategic-merge-patch+json";
        let (status, _) = self.ask(Method::PATCH, path, kind, &change.to_string()).await;
        status.is_success()
    }

    async fn patch(&self, path: &str, kind: &str, change: &Value) -> Value {
        let (status, body) = self.ask(Method::PATCH, path, kind, &change.to_string()).await;
        expected(status, body, path)
    }

    pub async fn delete(&self, path: &str) {
        let (status, body) = self.ask(Method::DELETE, path, "", "").await;
        expected(status, body, path);
    }

    async fn ask(&self, method: Method, path: &str, kind: &str, body: &str) -> (StatusCode, Value) {
        let mut request = self.request(method, path);
        if !body.is_empty() {
            request = request.header("content-type", kind).body(body.to_owned());
        }
        let answer = request.send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path} of the test's cluster: {error:?}"));
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }
}

fn expected(status: StatusCode, body: Value, path: &str) -> Value {
    assert!(
        status.is_success(),
        "the test's cluster answered {status} at {path}: {body}"
    );
    body
}

fn client(trusted: &[u8]) -> Option<reqwest::Client> {
    let certificates = reqwest::Certificate::from_pem_bundle(trusted).ok()?;
    if certificates.is_empty() {
        return None;
    }
    let client = reqwest::Client::builder().no_proxy();
    client.tls_certs_merge(certificates).build().ok()
}
