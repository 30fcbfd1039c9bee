//! `POST /api/tasks/{id}/pause|resume`: a person stops a deployment where it is, and lets it go on.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::Value;
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorBody};
use crate::server::Api;
use crate::tasks::{Changed, read_json, task_id};

/// Longest reason, in characters.
const REASON_CHARS: usize = 2000;

/// What may be said with a pause. The body may also be empty.
#[derive(Debug, Default, ToSchema)]
#[schema(as = PauseReason)]
pub struct PauseBody {
    /// Why; shown on the ticket.
    #[schema(max_length = 2000)]
    reason: Option<String>,
}

/// Pause a deployment
///
/// It stops before more users get the new version, a rolling update also in the middle, and no deadline of its own runs
/// meanwhile. Cancelling it and a rollback go before a pause. Pausing twice is once.
#[utoipa::path(post, path = "/api/tasks/{id}/pause", tag = "tasks", params(("id" = String, Path, description = "The task's id")),
    request_body = Option<PauseBody>, responses(
    (status = 200, description = "It is paused", body = Changed),
    (status = 404, description = "There is no such task", body = ErrorBody),
    (status = 409, description = "It is over, or takes back what it did", body = ErrorBody)))]
pub async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<Changed>> {
    let (id, said) = (task_id(id)?, said(body)?);
    let task = api
        .store
        .by(&caller.name)
        .pause_task(&id, said.reason.as_deref())
        .await?;
    Ok(Json(Changed::from(&task)))
}

/// Resume a paused deployment
///
/// It goes on where it stopped.
#[utoipa::path(post, path = "/api/tasks/{id}/resume", tag = "tasks", params(("id" = String, Path, description = "The task's id")),
    responses(
    (status = 200, description = "It goes on", body = Changed),
    (status = 404, description = "There is no such task", body = ErrorBody),
    (status = 409, description = "It is not paused, is over, or takes back what it did", body = ErrorBody)))]
pub async fn resume(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
) -> ApiResult<Json<Changed>> {
    let task = api.store.by(&caller.name).resume_task(&task_id(id)?).await?;
    Ok(Json(Changed::from(&task)))
}

fn said(body: Result<Bytes, BytesRejection>) -> ApiResult<PauseBody> {
    if body.as_ref().is_ok_and(|body| body.is_empty()) {
        return Ok(PauseBody::default());
    }
    let Value::Object(fields) = read_json(body)? else {
        return Err(
            ApiError::unreadable("the body is not a JSON object").next(r#"Send {"reason": "…"}, or nothing"#)
        );
    };
    let mut said = PauseBody::default();
    for (name, value) in fields {
        if name != "reason" {
            return Err(
                ApiError::field(name.clone(), format!("there is no field `{name}`")).next("Known is reason"),
            );
        }
        said.reason = match value {
            Value::Null => None,
            Value::String(text) if text.chars().count() <= REASON_CHARS => Some(text),
            Value::String(_) => {
                let what = format!("`reason` is longer than {REASON_CHARS} characters");
                return Err(ApiError::field("reason", what));
            }
            _ => return Err(ApiError::field("reason", "`reason` is not text")),
        };
    }
    Ok(said)
}
