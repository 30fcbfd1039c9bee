//! The server around the routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use domain::Error;
use metrics_exporter_prometheus::PrometheusHandle;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::connections::{self, Limits};
use crate::error::ApiError;
use crate::live::Feed;
use crate::{Config, arrival, metrics, routes};

/// All that the routes share.
#[derive(Clone)]
pub struct Api {
    pub store: Store,
    pub config: Arc<Config>,
    /// What this process counts, when it does.
    pub metrics: Option<PrometheusHandle>,
    /// What happens to tasks, for those who follow.
    pub(crate) feed: Feed,
}

impl Api {
    pub fn new(store: Store, config: Config, metrics: Option<PrometheusHandle>) -> Self {
        Self {
            feed: Feed::new(store.clone()),
            store,
            config: Arc::new(config),
            metrics,
        }
    }

    /// The description of all routes, as `/api/openapi.json` gives it.
    pub fn document(&self) -> utoipa::openapi::OpenApi {
        routes::all(self).1
    }

    pub fn router(self) -> Router {
        let (routes, _) = routes::all(&self);
        let limit = self.config.request_timeout;
        routes
            .fallback(nowhere)
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn(move |request, next| {
                in_time(limit, request, next)
            }))
            .layer(middleware::from_fn(metrics::count))
            .layer(middleware::from_fn(headers))
            .with_state(self)
    }
}

/// Serves until `shutdown`; requests under way then have a few seconds to be answered.
pub async fn serve(listener: TcpListener, api: Api, shutdown: CancellationToken) -> Result<(), Error> {
    let feed = api.feed.clone();
    let serving = connections::serve(listener, api.router(), Limits::default(), shutdown.clone());
    let closing = async {
        shutdown.cancelled().await;
        // Streams have no end of their own.
        feed.close();
    };
    tokio::join!(serving, closing);
    Ok(())
}

async fn in_time(limit: Duration, request: Request, next: Next) -> Response {
    let (request, arrival) = arrival::watched(request);
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) if !arrival.is_whole() => {
            let error = ApiError {
                status: StatusCode::REQUEST_TIMEOUT,
                field: None,
                error: Error::invalid(format!("the body did not arrive within {} s", limit.as_secs()))
                    .next("Send it faster, or less of it"),
            };
            // What is left of it is not waited for.
            ([(header::CONNECTION, "close")], error).into_response()
        }
        Err(_) => ApiError::from(
            Error::timeout(format!("the answer took longer than {} s", limit.as_secs())).next("Try again"),
        )
        .into_response(),
    }
}

/// Nothing is loaded from elsewhere, framed, guessed at or kept.
async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn nowhere(request: Request) -> ApiError {
    ApiError::not_found(format!("there is nothing at {}", request.uri().path()))
        .next("/api/openapi.json lists what there is; / is the page")
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError {
        status: StatusCode::METHOD_NOT_ALLOWED,
        field: None,
        error: Error::invalid(format!("{} takes no {}", request.uri().path(), request.method())),
    }
}
