use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gitlab::api::{ApiError, AsyncClient, AsyncQuery, Endpoint, Pageable, Pagination, RestClient};
use http::Method;
use serde::de::DeserializeOwned;
use url::Url;

use crate::failure::{CallError, Failure};
use crate::host::Host;

/// The typed endpoints' way to the instance: our own client, so that nothing is asked at start, requests have time
/// limits, and a refusal keeps its status and its wait.
#[derive(Clone)]
pub(crate) struct GitlabClient(pub Arc<Host>);

impl RestClient for GitlabClient {
    type Error = CallError;

    fn rest_endpoint(&self, endpoint: &str) -> Result<Url, ApiError<CallError>> {
        Ok(Url::parse(&format!("{}/{endpoint}", self.0.api))?)
    }
}

#[async_trait]
impl AsyncClient for GitlabClient {
    async fn rest_async(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<http::Response<Bytes>, ApiError<CallError>> {
        let request = request.body(Bytes::from(body)).map_err(|error| {
            let failure = Failure::NotSent(format!("the request could not be made: {error}"));
            ApiError::client(self.0.failed(&Method::GET, failure))
        })?;
        self.0.fetch(request).await.map_err(ApiError::client)
    }
}

impl GitlabClient {
    pub async fn query<T, E>(&self, endpoint: E) -> Result<T, CallError>
    where
        T: DeserializeOwned + 'static,
        E: Endpoint + Sync + Send,
    {
        let method = endpoint.method();
        let answer = endpoint.query_async(self).await;
        answer.map_err(|error| self.unwrap(&method, error))
    }

    /// All pages, a hundred entries each.
    pub async fn query_all<T, E>(&self, endpoint: E) -> Result<Vec<T>, CallError>
    where
        T: DeserializeOwned + Send + 'static,
        E: Endpoint + Pageable + Sync + Send,
    {
        let all = gitlab::api::paged(endpoint, Pagination::All);
        let answer: Result<Vec<T>, _> = all.query_async(self).await;
        answer.map_err(|error| self.unwrap(&Method::GET, error))
    }

    /// For answers that hold nothing.
    pub async fn send<E: Endpoint + Sync + Send>(&self, endpoint: E) -> Result<(), CallError> {
        let method = endpoint.method();
        let answer = gitlab::api::ignore(endpoint).query_async(self).await;
        answer.map_err(|error| self.unwrap(&method, error))
    }

    pub fn unwrap(&self, method: &Method, error: ApiError<CallError>) -> CallError {
        match error {
            ApiError::Client { source } => source,
            // The bodies of answers stay out of messages.
            ApiError::DataType { source, typename } => {
                let kind = typename.rsplit("::").next().unwrap_or(typename);
                self.0
                    .failed(method, Failure::Unreadable(format!("no {kind}: {source}")))
            }
            ApiError::GitlabService { status, .. } => self.0.failed(
                method,
                Failure::Unreadable(format!("status {status} and no JSON")),
            ),
            other => self.0.failed(method, Failure::Unreadable(other.to_string())),
        }
    }
}
