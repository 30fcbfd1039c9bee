//! `/api/tasks`: making, listing and changing tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use domain::{Error, TaskId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::{Made, State as TaskState, TaskFilter, TaskRow};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorBody};
use crate::input::{self, Created, NewTaskBody};
use crate::json;
use crate::query::said;
use crate::routes::BODY_BYTES;
use crate::server::Api;
use crate::view::TaskView;

const LIMIT: u32 = 50;
const MOST: u32 = 1000;
/// A claim older than this many hours is stale, where the caller does not say.
const STALE_HOURS: f64 = 24.0;

/// The answer to whoever wanted a task: 201, or 200 where one with the same dedupe key was there.
pub fn created(made: &Made) -> (StatusCode, Json<Created>) {
    let status = match made.exists {
        true => StatusCode::OK,
        false => StatusCode::CREATED,
    };
    (status, Json(input::made(made)))
}

/// Make a task
#[utoipa::path(post, path = "/api/tasks", tag = "tasks", request_body = NewTaskBody,
    responses(
        (status = 201, description = "It stands in the table", body = Created),
        (status = 200, description = "An unfinished one with this dedupe key is there", body = Created)))]
pub async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<(StatusCode, Json<Created>)> {
    let mut task = input::new_task(read_json(body)?)?;
    caller.makes(&mut task);
    let made = api.store.make_task(&task).await;
    let made = made.map_err(|error| ApiError::about(error, &["repo_id", "parent_task_id"]))?;
    if !made.exists {
        tracing::info!(
            task.id = %made.id,
            task.r#type = %task.task_type,
            caller.name = %caller.name,
            "a task was created"
        );
    }
    Ok(created(&made))
}

/// A body as JSON, whatever content type it claims.
pub fn read_json(body: Result<Bytes, BytesRejection>) -> ApiResult<Value> {
    json::read(&whole(body, BODY_BYTES)?, "Send one JSON object in UTF-8")
}

/// A body that arrived; the address takes at most so many bytes.
pub fn whole(body: Result<Bytes, BytesRejection>, most: usize) -> ApiResult<Bytes> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => body_too_large(most),
        _ => ApiError::unreadable("the body did not arrive whole"),
    })
}

/// Said before it arrived, where its length was announced.
pub fn body_too_large(most: usize) -> ApiError {
    const MEBI: usize = 1024 * 1024;
    let most = match most % MEBI {
        0 => format!("{} MiB", most / MEBI),
        _ => format!("{} MB", most / 1_000_000),
    };
    ApiError::too_large(
        None,
        format!("the body is larger than the {most} that this address takes"),
    )
    .next("Send less at a time, or a link to what is large")
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// One state, `held` among them, or several with commas.
    #[serde(default, deserialize_with = "said")]
    status: Option<String>,
    /// At most so many.
    #[serde(default, deserialize_with = "said")]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000, default = 50)]
    limit: Option<String>,
    /// Only tasks of this type.
    #[serde(rename = "type", default, deserialize_with = "said")]
    task_type: Option<String>,
    /// Only this agent's.
    #[serde(default, deserialize_with = "said")]
    to: Option<String>,
    #[serde(default, deserialize_with = "said")]
    repo_id: Option<String>,
    /// Go on behind this place: `next` of the page before.
    #[serde(default, deserialize_with = "said")]
    before: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TaskList {
    /// The newest first. Large payloads and details of results are left out.
    tasks: Vec<TaskView>,
    /// How many tasks stand in each state, over the whole table.
    stats: BTreeMap<&'static str, i64>,
    /// There are many tasks, and those that are `completed` are estimated.
    stats_estimated: bool,
    /// Where the list goes on; a page may be short, even empty, and yet go on.
    next: Option<String>,
}

/// List tasks
#[utoipa::path(get, path = "/api/tasks", tag = "tasks", params(ListQuery),
    responses((status = 200, description = "The newest that fit", body = TaskList)))]
pub async fn list(
    State(api): State<Api>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> ApiResult<Json<TaskList>> {
    let Query(query) = query.map_err(|error| ApiError::unreadable(error.body_text()))?;
    let words = query.status.as_deref().unwrap_or("").split(',').map(str::trim);
    let states: Vec<TaskState> = words
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.parse()
                .map_err(|error: domain::Error| ApiError::field("status", error.what))
        })
        .collect::<ApiResult<_>>()?;
    let limit = match query.limit.as_deref() {
        None => LIMIT,
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
        status: Vec::new(),
        limit,
        task_type: query.task_type,
        assigned_to: query.to,
        repo_id: query.repo_id,
    };
    let before = match query.before.as_deref() {
        None => None,
        Some(text) => Some(cursor(text, "before")?),
    };
    let page = api.store.page_of(&states, &filter, before.as_ref()).await?;
    let counts = api.store.task_counts().await?;
    // To look for secrets in megabytes would keep other calls waiting.
    let tasks = page.tasks;
    let views = tokio::task::spawn_blocking(move || tasks.iter().map(TaskView::from).collect());
    let views = views.await;
    Ok(Json(TaskList {
        tasks: views.map_err(|error| Error::internal("the list could not be written").because(&error))?,
        stats: counts.by_status,
        stats_estimated: counts.estimated,
        next: page.next.map(|next| next.to_string()),
    }))
}

/// A place in a list, as an answer of ours named it.
pub fn cursor(text: &str, field: &str) -> ApiResult<store::Cursor> {
    text.parse().map_err(|error: domain::Error| ApiError {
        status: StatusCode::UNPROCESSABLE_ENTITY,
        field: Some(field.to_owned()),
        error,
    })
}

/// A task after a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct Changed {
    task: TaskView,
}

impl From<&TaskRow> for Changed {
    fn from(task: &TaskRow) -> Self {
        Self {
            task: TaskView::from(task),
        }
    }
}

/// Cancel a task
///
/// One that never began ends at once. Any other is told to, undoes what it did, and is `cancelling` until then. Cancelling
/// twice is once.
#[utoipa::path(post, path = "/api/tasks/{id}/cancel", tag = "tasks", params(("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "It is cancelled, or will be", body = Changed),
    (status = 404, description = "There is no such task", body = ErrorBody),
    (status = 409, description = "It is over", body = ErrorBody)))]
pub async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> ApiResult<Json<Changed>> {
    let id = task_id(id)?;
    let task = api.store.by(&caller.name).cancel_task(&id).await?;
    Ok(Json(Changed::from(&task)))
}

/// Retry a task
///
/// A failed or cancelled one starts anew, from its first step; a held or waiting one goes on now.
#[utoipa::path(post, path = "/api/tasks/{id}/retry", tag = "tasks", params(("id" = String, Path, description = "The task's id")), responses(
    (status = 200, description = "It will be tried", body = Changed),
    (status = 404, description = "There is no such task", body = ErrorBody),
    (status = 409, description = "It runs, or it is completed", body = ErrorBody)))]
pub async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> ApiResult<Json<Changed>> {
    let id = task_id(id)?;
    let task = api.store.by(&caller.name).retry_task(&id).await?;
    Ok(Json(Changed::from(&task)))
}

pub fn task_id(id: Result<Path<String>, PathRejection>) -> ApiResult<TaskId> {
    let wrong = |_| ApiError::unreadable("the address holds no task id: it is not UTF-8");
    let Path(id) = id.map_err(wrong)?;
    match id.contains('\0') {
        // Postgres would refuse it in words of its own.
        true => Err(ApiError::not_found(format!("there is no task {id:?}"))),
        false => Ok(TaskId::from(id)),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StaleQuery {
    /// Fractions are allowed.
    #[serde(default, deserialize_with = "said")]
    #[param(value_type = Option<f64>, minimum = 0, maximum = 87600, default = 24)]
    hours: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Reset {
    /// `ok`.
    status: &'static str,
    /// How many.
    reset: usize,
    #[schema(value_type = Vec<String>)]
    task_ids: Vec<TaskId>,
}

/// Put tasks back to `pending` whose claim is stale
///
/// Those claimed longer than so many hours ago that no live worker of ours runs, whoever claimed them. Waiting tasks stay.
#[utoipa::path(post, path = "/api/tasks/reset-stale", tag = "tasks", params(StaleQuery),
    responses((status = 200, description = "Which were put back", body = Reset)))]
pub async fn reset_stale(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    query: Result<Query<StaleQuery>, QueryRejection>,
) -> ApiResult<Json<Reset>> {
    let Query(query) = query.map_err(|error| ApiError::unreadable(error.body_text()))?;
    let hours = match query.hours.as_deref() {
        None => STALE_HOURS,
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
    let task_ids = api
        .store
        .by(&caller.name)
        .reset_stale(Duration::from_secs_f64(hours * 3600.0))
        .await?;
    Ok(Json(Reset {
        status: "ok",
        reset: task_ids.len(),
        task_ids,
    }))
}
