use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use octocrab::{AuthState, OctoBody, Octocrab, OctocrabBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tower::Service;

use crate::failure::{CallError, Failure};
use crate::host::Host;

pub(super) type Answer = Response<http_body_util::combinators::BoxBody<Bytes, octocrab::Error>>;

/// The path of what REST cannot do.
pub(super) const GRAPHQL: &str = "/graphql";

/// Octocrab over our own door, so that both forges share time limits, pace, redirects and the words for refusals.
/// It tries nothing twice.
pub(super) struct GithubClient {
    host: Arc<Host>,
    /// Made at the first call: octocrab starts a task, which needs a running runtime.
    octocrab: OnceLock<Octocrab>,
}

/// What octocrab sends through.
#[derive(Clone)]
struct Door(Arc<Host>);

impl Service<Request<OctoBody>> for Door {
    type Response = Response<reqwest::Body>;
    type Error = CallError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, CallError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<OctoBody>) -> Self::Future {
        let host = Arc::clone(&self.0);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            let unsent = |why: String| host.failed(&parts.method, Failure::NotSent(why));
            let body = body
                .collect()
                .await
                .map_err(|error| unsent(error.to_string()))?
                .to_bytes();
            let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
            let mut root = host.api.as_str().trim_end_matches('/');
            // An instance of one's own has it beside `/api/v3`, not below.
            if path == GRAPHQL {
                root = root.strip_suffix("/v3").unwrap_or(root);
            }
            let url = format!("{root}{path}");
            parts.uri = url
                .parse()
                .map_err(|error| unsent(format!("not an address: {error}")))?;
            let accept = http::HeaderValue::from_static("application/vnd.github+json");
            parts.headers.insert(http::header::ACCEPT, accept);
            let answer = host.open(Request::from_parts(parts, body)).await?;
            Ok(answer.into())
        })
    }
}

impl GithubClient {
    pub fn new(host: Arc<Host>) -> Self {
        Self {
            host,
            octocrab: OnceLock::new(),
        }
    }

    fn octocrab(&self) -> &Octocrab {
        self.octocrab.get_or_init(|| {
            let built = OctocrabBuilder::new_empty()
                .with_service(Door(Arc::clone(&self.host)))
                .with_auth(AuthState::None)
                .build();
            match built {
                Ok(octocrab) => octocrab,
                Err(never) => match never {},
            }
        })
    }

    pub async fn get<T, P>(&self, path: &str, parameters: &P) -> Result<T, CallError>
    where
        T: DeserializeOwned,
        P: Serialize + ?Sized,
    {
        self.whole(Method::GET, self.octocrab().get(path, Some(parameters)))
            .await
    }

    pub async fn post<T, B>(&self, path: &str, body: &B) -> Result<T, CallError>
    where
        T: DeserializeOwned,
        B: Serialize + ?Sized,
    {
        self.whole(Method::POST, self.octocrab().post(path, Some(body)))
            .await
    }

    pub async fn patch<T, B>(&self, path: &str, body: &B) -> Result<T, CallError>
    where
        T: DeserializeOwned,
        B: Serialize + ?Sized,
    {
        self.whole(Method::PATCH, self.octocrab().patch(path, Some(body)))
            .await
    }

    /// Posts and reads nothing.
    pub async fn tell<B: Serialize + ?Sized>(&self, path: &str, body: &B) -> Result<(), CallError> {
        self.whole(Method::POST, self.octocrab()._post(path, Some(body)))
            .await
            .map(drop)
    }

    /// Posts nothing and reads nothing.
    pub async fn poke(&self, path: &str) -> Result<(), CallError> {
        self.whole(Method::POST, self.octocrab()._post(path, None::<&()>))
            .await
            .map(drop)
    }

    pub async fn delete(&self, path: &str) -> Result<(), CallError> {
        self.whole(Method::DELETE, self.octocrab()._delete(path, None::<&()>))
            .await
            .map(drop)
    }

    /// An answer whose body flows.
    pub async fn open(&self, path: &str) -> Result<Answer, CallError> {
        self.octocrab()
            ._get(path)
            .await
            .map_err(|error| self.unwrap(&Method::GET, error))
    }

    async fn whole<T>(
        &self,
        method: Method,
        call: impl Future<Output = octocrab::Result<T>>,
    ) -> Result<T, CallError> {
        // Twice the limit: up to one for the turn, which the door words better, and one for the answer.
        match timeout(self.host.config.timeout * 2, call).await {
            Ok(answer) => answer.map_err(|error| self.unwrap(&method, error)),
            Err(_) => Err(self.host.too_late(&method)),
        }
    }

    /// Octocrab wraps our own error; anything else is an answer that it could not read.
    pub fn unwrap(&self, method: &Method, error: octocrab::Error) -> CallError {
        match error {
            octocrab::Error::Service { source, .. } => match source.downcast::<CallError>() {
                Ok(ours) => *ours,
                Err(other) => match other.downcast::<reqwest::Error>() {
                    Ok(cut) => self.host.broken(method, *cut),
                    Err(other) => self.host.failed(method, Failure::NoAnswer(other.to_string())),
                },
            },
            octocrab::Error::Json { source, .. } => {
                let why = format!("{} at {}", source.inner(), source.path());
                self.host.failed(method, Failure::Unreadable(why))
            }
            octocrab::Error::Hyper { source, .. } => {
                self.host.failed(method, Failure::NoAnswer(source.to_string()))
            }
            octocrab::Error::Uri { source, .. } => self
                .host
                .failed(method, Failure::NotSent(format!("not an address: {source}"))),
            _ => self
                .host
                .failed(method, Failure::Unreadable("it was no JSON".to_owned())),
        }
    }
}
