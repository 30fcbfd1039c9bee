//! `/api/tasks`.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use domain::{TaskId, TaskStatus};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::TaskFilter;

use crate::error::{ApiError, ApiResult};
use crate::input;
use crate::server::Api;
use crate::view::{TaskView, rfc3339};

const LIMIT: u32 = 50;
const MOST: u32 = 1000;
/// A claim older than this many hours is stale, where the caller does not say.
const STALE_HOURS: f64 = 24.0;
const EVENTS: u32 = 1000;

pub async fn create(
    State(api): State<Api>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let task = input::new_task(read_json(body)?)?;
    let made = api.store.make_task(&task).await?;
    if !made.exists {
        tracing::info!(task.id = %made.id, task.r#type = %task.task_type, "a task was created");
    }
    let status = if made.exists {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(input::made(&made))))
}

/// A body as JSON, whatever content type it claims.
pub fn read_json(body: Result<Bytes, BytesRejection>) -> ApiResult<Value> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large(
            None,
            "the body is larger than this address takes",
        )
        .next("A task's payload may have 1 MiB of JSON: send a link to what is large, or the end of the log"),
        _ => ApiError::unreadable("the body did not arrive whole"),
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        if error.to_string().contains("recursion limit") {
            ApiError::field(
                "payload",
                format!("`payload` is nested deeper than {} levels", input::PAYLOAD_DEPTH),
            )
            .next("Send the inner part as text, or a link to it")
        } else {
            ApiError::unreadable(format!("the body is not JSON: {error}"))
                .next("Send one JSON object in UTF-8")
        }
    })
}

#[derive(Debug, Deserialize)]
pub struct ListQuery {
    /// One state, or several with commas.
    status: Option<String>,
    limit: Option<String>,
    #[serde(rename = "type")]
    task_type: Option<String>,
    /// Whose tasks.
    to: Option<String>,
    repo_id: Option<String>,
}

pub async fn list(
    State(api): State<Api>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> ApiResult<Json<Value>> {
    let Query(query) = query.map_err(|error| ApiError::unreadable(error.body_text()))?;
    let words = query.status.as_deref().unwrap_or("").split(',').map(str::trim);
    let status: Vec<TaskStatus> = words
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.parse()
                .map_err(|error: domain::ParseStatusError| ApiError::field("status", error.to_string()))
        })
        .collect::<ApiResult<_>>()?;
    let limit = match query.limit.as_deref() {
        None | Some("") => LIMIT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MOST).contains(limit))
            .ok_or_else(|| {
                ApiError::field(
                    "limit",
                    format!("`limit` is {text:?}, not a whole number from 1 to {MOST}"),
                )
            })?,
    };
    let filter = TaskFilter {
        status,
        limit,
        task_type: query.task_type,
        assigned_to: query.to,
        repo_id: query.repo_id,
    };
    let tasks: Vec<TaskView> = api
        .store
        .tasks(&filter)
        .await?
        .iter()
        .map(TaskView::from)
        .collect();
    let counts = api.store.task_counts().await?;
    let stats: Map<String, Value> = TaskStatus::ALL
        .into_iter()
        .map(|status| {
            (
                status.to_string(),
                counts.get(status.as_str()).copied().unwrap_or(0).into(),
            )
        })
        .collect();
    Ok(Json(json!({ "tasks": tasks, "stats": stats })))
}

pub async fn show(State(api): State<Api>, id: Result<Path<String>, PathRejection>) -> ApiResult<Json<Value>> {
    let id = task_id(id)?;
    let task = api.store.task(&id).await?;
    let events: Vec<Value> = api
        .store
        .events(&id, EVENTS)
        .await?
        .into_iter()
        .map(|event| {
            json!({
                "at": rfc3339(event.at),
                "kind": event.kind,
                "attempt": event.attempt,
                "worker_id": event.worker_id,
                "summary": event.summary,
            })
        })
        .collect();
    Ok(Json(json!({ "task": TaskView::from(&task), "events": events })))
}

pub async fn cancel(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> ApiResult<Json<Value>> {
    let id = task_id(id)?;
    let task = api.store.cancel_task(&id).await?;
    Ok(Json(json!({ "task": TaskView::from(&task) })))
}

pub async fn retry(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> ApiResult<Json<Value>> {
    let id = task_id(id)?;
    let task = api.store.retry_task(&id).await?;
    Ok(Json(json!({ "task": TaskView::from(&task) })))
}

fn task_id(id: Result<Path<String>, PathRejection>) -> ApiResult<TaskId> {
    let wrong = |_| ApiError::unreadable("the address holds no task id: it is not UTF-8");
    id.map(|Path(id)| TaskId::from(id)).map_err(wrong)
}

#[derive(Debug, Deserialize)]
pub struct StaleQuery {
    hours: Option<String>,
}

pub async fn reset_stale(
    State(api): State<Api>,
    query: Result<Query<StaleQuery>, QueryRejection>,
) -> ApiResult<Json<Value>> {
    let Query(query) = query.map_err(|error| ApiError::unreadable(error.body_text()))?;
    let hours = match query.hours.as_deref() {
        None | Some("") => STALE_HOURS,
        Some(text) => text
            .parse()
            .ok()
            .filter(|hours: &f64| hours.is_finite() && (0.0..=87_600.0).contains(hours))
            .ok_or_else(|| {
                ApiError::field(
                    "hours",
                    format!("`hours` is {text:?}, not a number from 0 to 87600"),
                )
            })?,
    };
    let reset = api
        .store
        .reset_stale(Duration::from_secs_f64(hours * 3600.0))
        .await?;
    let ids: Vec<&str> = reset.iter().map(TaskId::as_str).collect();
    Ok(Json(
        json!({ "status": "ok", "reset": ids.len(), "task_ids": ids }),
    ))
}
