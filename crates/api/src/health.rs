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

#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// `alive`.
    status: &'static str,
    version: &'static str,
}

/// Whether the process lives: asks nothing else
///
/// For whoever restarts it. A database that is away is no reason to.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses((status = 200, description = "It does", body = Alive)))]
pub async fn alive(State(api): State<Api>) -> Json<Alive> {
    Json(Alive {
        status: "alive",
        version: api.config.version,
    })
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    ready: bool,
    /// `ok` or `unreachable`.
    database: &'static str,
    /// `current`; `newer` when a newer program migrated it, which does not disturb this one; `behind` until
    /// `longshore migrate` ran; `unknown` without a database.
    schema: &'static str,
    version: &'static str,
}

/// Whether to send it requests: the database answers and has this version's tables
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "It is ready", body = Ready),
    (status = 503, description = "It is not", body = Ready)))]
pub async fn ready(State(api): State<Api>) -> (StatusCode, Json<Ready>) {
    let state = api.store.schema_state().await;
    if let Err(error) = &state {
        tracing::warn!(%error, "the database does not answer the readiness check");
    }
    let (database, schema) = match &state {
        Err(_) => ("unreachable", "unknown"),
        Ok(state) if !state.is_ready() => ("ok", "behind"),
        Ok(state) if state.unknown.is_empty() => ("ok", "current"),
        Ok(_) => ("ok", "newer"),
    };
    let ready = matches!(schema, "current" | "newer");
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let version = api.config.version;
    (
        status,
        Json(Ready {
            ready,
            database,
            schema,
            version,
        }),
    )
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
