//! The routes, and the server around them.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::Error;
use metrics_exporter_prometheus::PrometheusHandle;
use store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;
use crate::{Config, PAYLOAD_BYTES, auth, health, metrics, page, schedules, tasks, webhook};

/// Room around a payload for the other fields and for JSON written less tightly than Postgres writes it.
const BODY_BYTES: usize = 2 * PAYLOAD_BYTES;
/// GitLab's own limit on a webhook's body is 25 MB.
const WEBHOOK_BYTES: usize = 25 * 1000 * 1000;
/// How long requests under way may take after the server was told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// All that the routes share.
#[derive(Clone)]
pub struct Api {
    pub store: Store,
    pub config: Arc<Config>,
    /// What this process counts, when it does.
    pub metrics: Option<PrometheusHandle>,
}

impl FromRef<Api> for Arc<Config> {
    fn from_ref(api: &Api) -> Self {
        api.config.clone()
    }
}

impl Api {
    pub fn router(self) -> Router {
        let guarded = Router::new()
            .route("/api/tasks", post(tasks::create).get(tasks::list))
            .route("/api/tasks/reset-stale", post(tasks::reset_stale))
            .route("/api/tasks/{id}", get(tasks::show))
            .route("/api/tasks/{id}/cancel", post(tasks::cancel))
            .route("/api/tasks/{id}/retry", post(tasks::retry))
            .merge(schedules::routes())
            .route("/metrics", get(health::metrics))
            .route("/", get(page::tasks))
            .route("/tasks/{id}", get(page::task))
            .layer(DefaultBodyLimit::max(BODY_BYTES))
            .layer(middleware::from_fn_with_state(self.config.clone(), auth::require));
        let open = Router::new()
            .route("/health", get(health::health))
            .route("/style.css", get(page::style))
            .route(
                "/webhook/gitlab",
                post(webhook::gitlab::receive).layer(DefaultBodyLimit::max(WEBHOOK_BYTES)),
            );
        let limit = self.config.request_timeout;
        guarded
            .merge(open)
            .fallback(nowhere)
            .method_not_allowed_fallback(wrong_method)
            .layer(middleware::from_fn(metrics::count))
            .layer(middleware::from_fn(move |request, next| {
                in_time(limit, request, next)
            }))
            .layer(middleware::from_fn(headers))
            .with_state(self)
    }
}

/// Serves until `shutdown`; requests under way then have a few seconds to be answered.
pub async fn serve(listener: TcpListener, api: Api, shutdown: CancellationToken) -> Result<(), Error> {
    let stop = shutdown.clone();
    let serving = axum::serve(listener, api.router())
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .into_future();
    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = serving => served.map_err(|error| Error::unavailable("the API's server broke").because(&error)),
        () = too_long => Ok(()),
    }
}

async fn in_time(limit: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            field: None,
            error: Error::timeout(format!("the answer took longer than {} s", limit.as_secs()))
                .next("Try again"),
        }
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
        .next("docs/api.md lists what there is; / is the page")
}

async fn wrong_method(request: Request) -> ApiError {
    ApiError {
        status: StatusCode::METHOD_NOT_ALLOWED,
        field: None,
        error: Error::invalid(format!("{} takes no {}", request.uri().path(), request.method())),
    }
}
