//! `/api/tasks/bulk`: many tasks made by one call, all of them or none.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use axum::{Extension, Json};
use domain::Error;
use serde::Serialize;
use store::{MAX_TASKS, NotMade};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::input::{self, Created};
use crate::list::{self, Listed};
use crate::server::Api;
use crate::tasks::whole;

/// Largest body.
pub const BYTES: usize = 16 * 1024 * 1024;

/// What became of them.
#[derive(Debug, Serialize, ToSchema)]
pub struct CreatedMany {
    created: usize,
    /// Answered with an unfinished task of the same dedupe key.
    existing: usize,
    /// In the order in which they were sent.
    tasks: Vec<Created>,
}

/// Make many tasks
///
/// All of them or none. The list may also be sent by itself. Of several with the same dedupe key the first is made, and answered for the others, too. As
/// `application/x-ndjson` the body is one task a line.
#[utoipa::path(post, path = "/api/tasks/bulk", tag = "tasks",
    request_body(content((Listed = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 201, description = "They stand in the table", body = CreatedMany),
        (status = 200, description = "Each was there before: none was made", body = CreatedMany)))]
pub async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<(StatusCode, Json<CreatedMany>)> {
    let body = whole(body, BYTES)?;
    let lines = has_lines(&headers);
    // Megabytes of JSON would keep other calls waiting.
    let read = tokio::task::spawn_blocking(move || match lines {
        true => list::of_lines(&body),
        false => list::of_json(&body),
    });
    let mut read = read
        .await
        .map_err(|error| Error::internal("the body could not be read").because(&error))??;
    read.tasks.iter_mut().for_each(|task| caller.makes(task));
    let made = api
        .store
        .make_tasks(&read.tasks)
        .await
        .map_err(|fault| refused(&read, fault))?;
    let tasks: Vec<Created> = made.iter().map(input::made).collect();
    let existing = made.iter().filter(|made| made.exists).count();
    let created = made.len() - existing;
    let status = match created {
        0 => StatusCode::OK,
        _ => {
            tracing::info!(
                bulk.created = created,
                bulk.existing = existing,
                caller.name = %caller.name,
                "tasks were created"
            );
            StatusCode::CREATED
        }
    };
    Ok((
        status,
        Json(CreatedMany {
            created,
            existing,
            tasks,
        }),
    ))
}

fn has_lines(headers: &HeaderMap) -> bool {
    let sent = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let essence = sent.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl"]
        .iter()
        .any(|known| essence.eq_ignore_ascii_case(known))
}

fn refused(read: &Listed, fault: NotMade) -> ApiError {
    let error = ApiError {
        status: match (fault.too_large, fault.error.kind) {
            (true, _) => StatusCode::PAYLOAD_TOO_LARGE,
            (false, kind) => ApiError::from(Error::new(kind, "")).status,
        },
        field: fault.field,
        error: fault.error,
    };
    match fault.place {
        Some(place) => list::at(place, read.line(place), error),
        None => ApiError {
            field: Some("tasks".to_owned()).filter(|_| fault.too_large),
            ..error
        },
    }
}

/// Refused before anything else is read of a longer list.
pub fn too_many() -> ApiError {
    ApiError::too_large(
        Some("tasks"),
        format!("there are more than {MAX_TASKS} tasks in one call"),
    )
    .next(format!("Send at most {MAX_TASKS} at a time"))
}
