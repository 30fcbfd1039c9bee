//! Just enough of the Kubernetes API for tests to set up and look at a cluster, without the client that they test.

use reqwest::{Method, StatusCode};
use serde_json::Value;

/// Who asks, and where.
#[derive(Clone, Debug)]
pub struct Rest {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Rest {
    pub(super) fn new(http: reqwest::Client, url: String, token: String) -> Self {
        Self { http, url, token }
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
        let (status, body) = self
            .ask(
                Method::PATCH,
                path,
                "application/merge-patch+json",
                &change.to_string(),
            )
            .await;
        expected(status, body, path)
    }

    pub async fn delete(&self, path: &str) {
        let (status, body) = self.ask(Method::DELETE, path, "", "").await;
        expected(status, body, path);
    }

    /// Whatever comes of it.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: &str,
    ) -> (StatusCode, Value) {
        let mut request = self.request(method, path);
        if !body.is_empty() {
            request = request.header("content-type", content_type).body(body.to_owned());
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
