//! `POST /api/tasks/{id}/approve|reject`: a person's answer to what a task asks.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use domain::{Decision, TaskId};
use serde::Serialize;
use serde_json::Value;
use store::{Decided, Verdict};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorBody};
use crate::server::Api;
use crate::tasks::{read_json, task_id};
use crate::view::rfc3339;

/// Longest comment, in characters.
const COMMENT_CHARS: usize = 2000;

/// What may be said with a decision. The body may also be empty.
#[derive(Debug, Default, ToSchema)]
#[schema(as = Answer)]
pub struct AnswerBody {
    /// Why; the task's handler is told, and its history.
    #[schema(max_length = 2000)]
    comment: Option<String>,
    /// What is meant, where the task asks for more than one approval.
    what: Option<String>,
}

/// A decision as it stands.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Decision)]
pub struct DecisionView {
    #[schema(value_type = String)]
    pub task_id: TaskId,
    /// What was asked for.
    pub what: String,
    /// `approved` or `rejected`.
    pub decision: &'static str,
    /// Who decided: the name of the token.
    pub by: String,
    pub comment: Option<String>,
    pub at: String,
    /// False when the same decision stood already.
    pub is_new: bool,
}

impl DecisionView {
    pub fn new(task_id: TaskId, decided: Decided) -> Self {
        Self {
            task_id,
            what: decided.what,
            decision: decided.approval.decision.as_str(),
            by: decided.approval.by,
            comment: decided.approval.comment,
            at: rfc3339(decided.approval.at),
            is_new: decided.is_new,
        }
    }
}

/// Approve what a task asks
///
/// The task goes on and is told who approved, when and why. The same decision again changes nothing.
#[utoipa::path(post, path = "/api/tasks/{id}/approve", tag = "tasks", params(("id" = String, Path, description = "The task's id")),
    request_body = Option<AnswerBody>, responses(
    (status = 200, description = "The decision stands", body = DecisionView),
    (status = 404, description = "There is no such task", body = ErrorBody),
    (status = 409, description = "It waits for no approval, or was rejected before", body = ErrorBody)))]
pub async fn approve(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<DecisionView>> {
    decide(&api, &caller, task_id(id)?, Decision::Approved, body).await
}

/// Reject what a task asks
///
/// The task is told who rejected, when and why, and decides what follows. The same decision again changes nothing.
#[utoipa::path(post, path = "/api/tasks/{id}/reject", tag = "tasks", params(("id" = String, Path, description = "The task's id")),
    request_body = Option<AnswerBody>, responses(
    (status = 200, description = "The decision stands", body = DecisionView),
    (status = 404, description = "There is no such task", body = ErrorBody),
    (status = 409, description = "It waits for no approval, or was approved before", body = ErrorBody)))]
pub async fn reject(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<DecisionView>> {
    decide(&api, &caller, task_id(id)?, Decision::Rejected, body).await
}

async fn decide(
    api: &Api,
    caller: &Caller,
    id: TaskId,
    decision: Decision,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<DecisionView>> {
    let said = said(body)?;
    let verdict = Verdict {
        decision,
        what: said.what.as_deref(),
        by: &caller.name,
        comment: said.comment.as_deref(),
    };
    let decided = api.store.decide(&id, &verdict).await?;
    tracing::info!(task.id = %id, task.decision = decision.as_str(), caller.name = %caller.name, "a decision was made");
    Ok(Json(DecisionView::new(id, decided)))
}

fn said(body: Result<Bytes, BytesRejection>) -> ApiResult<AnswerBody> {
    if body.as_ref().is_ok_and(|body| body.is_empty()) {
        return Ok(AnswerBody::default());
    }
    let Value::Object(fields) = read_json(body)? else {
        return Err(ApiError::unreadable("the body is not a JSON object")
            .next(r#"Send {"comment": "…"}, or nothing"#));
    };
    let mut said = AnswerBody::default();
    for (name, value) in fields {
        let field = match name.as_str() {
            "comment" => &mut said.comment,
            "what" => &mut said.what,
            _ => {
                return Err(
                    ApiError::field(name.clone(), format!("there is no field `{name}`"))
                        .next("Known are comment and what"),
                );
            }
        };
        *field = match value {
            Value::Null => None,
            Value::String(text) if text.contains('\0') => {
                return Err(ApiError::field(
                    name.clone(),
                    format!("`{name}` holds a NUL character"),
                ));
            }
            Value::String(text) if text.chars().count() <= COMMENT_CHARS => Some(text),
            Value::String(_) => {
                return Err(ApiError::field(
                    name.clone(),
                    format!("`{name}` is longer than {COMMENT_CHARS} characters"),
                ));
            }
            _ => return Err(ApiError::field(name.clone(), format!("`{name}` is not text"))),
        };
    }
    Ok(said)
}
