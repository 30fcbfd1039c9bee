//! `/health`, for load balancers and for people; `/metrics`, for Prometheus.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::error::{ApiError, ApiResult};
use crate::server::Api;

/// 200 when the database answers, else 503. Tells nothing that a stranger may not know.
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
        Json(json!({ "status": word, "database": database, "version": api.config.version })),
    )
        .into_response()
}

/// Prometheus's text format, version 0.0.4.
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
