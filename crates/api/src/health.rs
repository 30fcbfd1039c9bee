//! `/health`, for load balancers and for people; `/metrics`, for Prometheus.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ApiResult};
use crate::server::Api;

/// Tells nothing that a stranger may not know.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok` or `unavailable`.
    status: &'static str,
    /// `ok` or `unreachable`.
    database: &'static str,
    version: &'static str,
}

/// Whether the API is of use: alive, and its database answers
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = 200, description = "The database answers", body = Health),
    (status = 503, description = "It does not", body = Health)))]
pub async fn health(State(api): State<Api>) -> Response {
    let answer = api.store.ping().await;
    let (status, database) = match &answer {
        Ok(()) => (StatusCode::OK, "ok"),
        Err(error) => {
            tracing::warn!(%error, "the database does not answer the health check");
            (StatusCode::SERVICE_UNAVAILABLE, "unreachable")
        }
    };
    let word = if answer.is_ok() { "ok" } else { "unavailable" };
    (
        status,
        Json(Health {
            status: word,
            database,
            version: api.config.version,
        }),
    )
        .into_response()
}

/// What Prometheus scrapes: its text format, version 0.0.4
#[utoipa::path(get, path = "/metrics", tag = "health", responses(
    (status = 200, description = "The figures, and the counts of this process", body = String, content_type = "text/plain"),
    (status = 404, description = "This process counts nothing", body = crate::error::ErrorBody)))]
pub async fn metrics(State(api): State<Api>) -> ApiResult<Response> {
    let Some(handle) = &api.metrics else {
        return Err(ApiError::not_found("this process counts nothing"));
    };
    // What this process counted is told without a database too.
    let text = handle.render() + &crate::figures::text(&api.store).await;
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}
