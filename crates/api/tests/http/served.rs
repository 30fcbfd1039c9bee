//! The API over a database of the test's own, spoken to over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::{Api, Config};
use serde_json::Value;
use store::Store;
use testkit::postgres::{self, Database};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct Served {
    pub database: Arc<Database>,
    /// The API's own.
    pub store: Store,
    pub at: SocketAddr,
    pub http: reqwest::Client,
    stop: CancellationToken,
    _stop: DropGuard,
}

pub fn config() -> Config {
    Config {
        tokens: Vec::new(),
        open: true,
        hosts: Some(Vec::new()),
        gitlab_webhook_secret: Some("hook-secret".into()),
        github_webhook_secret: Some("hub-secret".into()),
        request_timeout: Duration::from_secs(20),
        live_check: Duration::from_millis(200),
        agent: "devops".to_owned(),
        version: "0.0.0",
    }
}

impl Served {
    pub async fn with(config: Config) -> Self {
        Self::on(postgres::database().await, config).await
    }

    pub async fn on(database: Database, config: Config) -> Self {
        let store = database.store().await;
        Self::over(database, store, config).await
    }

    pub async fn over(database: impl Into<Arc<Database>>, store: Store, config: Config) -> Self {
        let api = Api::new(store.clone(), config, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(api::serve(listener, api, stop.clone()));
        Self {
            database: database.into(),
            store,
            at,
            http: reqwest::Client::new(),
            _stop: stop.clone().drop_guard(),
            stop,
        }
    }

    /// Another process on the same database, as far as it can tell.
    pub async fn beside(other: &Self) -> Self {
        Self::over(other.database.clone(), other.database.store().await, config()).await
    }

    pub async fn new() -> Self {
        Self::with(config()).await
    }

    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        answer(self.http.post(self.url(path)).body(body)).await
    }

    pub async fn send(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
        let method = method.parse().unwrap();
        answer(self.http.request(method, self.url(path)).body(body)).await
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.http.get(self.url(path))).await
    }

    /// How many rows the statement counts.
    pub async fn count(&self, sql: &str) -> i64 {
        self.database.value(sql).await.unwrap().parse().unwrap()
    }
}

pub async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let json = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not JSON: {text}"));
    (status, json)
}
