//! `/api/queue`: limits on how many tasks run at once, and pauses.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use domain::Error;
use serde::Serialize;
use serde_json::{Map, Value};
use store::{Queue, QueueRule, RuleChange, Scope};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorBody};
use crate::server::Api;
use crate::tasks::read_json;
use crate::view::{clean, rfc3339};

/// Longest reason, in characters.
const REASON_CHARS: usize = 2000;
const FIELDS: [&str; 3] = ["max_running", "paused", "reason"];

/// What `PUT` takes. What is absent stays as it is.
#[derive(ToSchema)]
#[schema(as = NewRule)]
struct RuleBody {
    /// At most so many at once across all workers, from 1 on; `null` takes the limit away.
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2_147_483_647)]
    max_running: Option<Option<u32>>,
    /// True starts no more of them, false does so again.
    paused: Option<bool>,
    /// Why it is paused, for those who wonder; `null` takes it away.
    #[schema(max_length = 2000, value_type = Option<String>)]
    reason: Option<Option<String>>,
}

/// All that holds tasks back.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Queue)]
pub struct QueueView {
    /// Everything first, then types, then repositories, by name.
    rules: Vec<RuleView>,
    /// Repositories whose own row says `paused` or `archived`: none of their tasks is started.
    repos: Vec<RestingView>,
}

/// A limit, a pause or both.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Rule)]
pub struct RuleView {
    /// `all`, `type` or `repo`.
    kind: &'static str,
    /// A task type, or a repository's id; empty for everything.
    name: String,
    /// What people call the repository; else as `name`.
    label: String,
    max_running: Option<u32>,
    /// Those that take a place now.
    running: i64,
    paused: bool,
    paused_at: Option<String>,
    paused_by: Option<String>,
    reason: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RestingRepo)]
struct RestingView {
    repo_id: String,
    label: String,
    /// `paused` or `archived`.
    status: &'static str,
}

/// The rule as it stands now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct OneRule {
    /// None where nothing is left of it.
    rule: Option<RuleView>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RuleDeleted {
    /// `deleted`.
    status: &'static str,
    kind: &'static str,
    name: String,
}

impl From<&QueueRule> for RuleView {
    fn from(rule: &QueueRule) -> Self {
        let pause = rule.paused.as_ref();
        Self {
            kind: rule.scope.kind(),
            name: rule.scope.name().to_owned(),
            label: rule.label.clone(),
            max_running: rule.max_running,
            running: rule.running,
            paused: pause.is_some(),
            paused_at: pause.map(|pause| rfc3339(pause.at)),
            paused_by: pause.and_then(|pause| pause.by.clone()),
            reason: pause.and_then(|pause| pause.reason.as_deref().map(clean)),
        }
    }
}

impl From<&Queue> for QueueView {
    fn from(queue: &Queue) -> Self {
        let resting = queue.resting.iter().map(|repo| RestingView {
            repo_id: repo.repo_id.clone(),
            label: repo.label.clone(),
            status: repo.status.as_str(),
        });
        Self {
            rules: queue.rules.iter().map(RuleView::from).collect(),
            repos: resting.collect(),
        }
    }
}

/// Show what holds tasks back: limits, pauses, repositories that rest
#[utoipa::path(get, path = "/api/queue", tag = "queue",
    responses((status = 200, description = "All of them", body = QueueView)))]
pub async fn list(State(api): State<Api>) -> ApiResult<Json<QueueView>> {
    Ok(Json(QueueView::from(&api.store.queue().await?)))
}

/// Limit or pause all tasks
///
/// It holds from the answer on. A pause starts nothing; what was begun goes on to its end.
#[utoipa::path(put, path = "/api/queue/all", tag = "queue", request_body = RuleBody,
    responses((status = 200, description = "It stands", body = OneRule)))]
pub async fn set_all(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<OneRule>> {
    set_rule(&api, &caller, Scope::All, body).await
}

/// Limit or pause the tasks of a type or a repository
///
/// It holds from the answer on. A pause starts nothing; what was begun goes on to its end.
#[utoipa::path(put, path = "/api/queue/{kind}/{name}", tag = "queue", params(
    ("kind" = String, Path, description = "`type` or `repo`"),
    ("name" = String, Path, description = "A task type; a repository's id, project, slug or name")), request_body = RuleBody, responses(
    (status = 200, description = "It stands", body = OneRule),
    (status = 404, description = "There is no such repository", body = ErrorBody),
    (status = 409, description = "The repository is archived and cannot start again", body = ErrorBody)))]
pub async fn set(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    at: Result<Path<(String, String)>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<OneRule>> {
    let scope = scope(&api, at).await?;
    set_rule(&api, &caller, scope, body).await
}

/// Take away the limit and the pause of all tasks
#[utoipa::path(delete, path = "/api/queue/all", tag = "queue", responses(
    (status = 200, description = "It is gone", body = RuleDeleted),
    (status = 404, description = "There is none", body = ErrorBody)))]
pub async fn delete_all(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
) -> ApiResult<Json<RuleDeleted>> {
    delete_rule(&api, &caller, &Scope::All).await
}

/// Take away the limit and the pause of a type or a repository
#[utoipa::path(delete, path = "/api/queue/{kind}/{name}", tag = "queue", params(
    ("kind" = String, Path, description = "`type` or `repo`"),
    ("name" = String, Path, description = "A task type; a repository's id, project, slug or name")), responses(
    (status = 200, description = "It is gone", body = RuleDeleted),
    (status = 404, description = "There is none", body = ErrorBody)))]
pub async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    at: Result<Path<(String, String)>, PathRejection>,
) -> ApiResult<Json<RuleDeleted>> {
    let scope = scope(&api, at).await?;
    no_nul(scope.name())?;
    delete_rule(&api, &caller, &scope).await
}

async fn set_rule(
    api: &Api,
    caller: &Caller,
    scope: Scope,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<OneRule>> {
    let body = read_rule(read_json(body)?)?;
    let change = RuleChange {
        max_running: body.max_running,
        paused: body.paused,
        reason: body.reason,
        by: caller.name.to_string(),
    };
    let rule = api.store.set_rule(&scope, &change).await.map_err(with_field)?;
    tracing::info!(rule.kind = scope.kind(), rule.name = scope.name(), caller.name = %caller.name, "a rule of the queue was set");
    Ok(Json(OneRule {
        rule: rule.as_ref().map(RuleView::from),
    }))
}

async fn delete_rule(api: &Api, caller: &Caller, scope: &Scope) -> ApiResult<Json<RuleDeleted>> {
    api.store.clear_rule(scope).await?;
    tracing::info!(
        rule.kind = scope.kind(),
        rule.name = scope.name(),
        caller.name = %caller.name,
        "a rule of the queue was taken away"
    );
    Ok(Json(RuleDeleted {
        status: "deleted",
        kind: scope.kind(),
        name: scope.name().to_owned(),
    }))
}

async fn scope(api: &Api, at: Result<Path<(String, String)>, PathRejection>) -> ApiResult<Scope> {
    let Path((kind, name)) =
        at.map_err(|_| ApiError::unreadable("the address holds no name: it is not UTF-8"))?;
    match kind.as_str() {
        "type" => Ok(Scope::Type(name)),
        // The rule of one that is gone is still there to be taken away.
        "repo" => {
            no_nul(&name)?;
            let known = api.store.find_repo(&name).await?;
            Ok(Scope::Repo(known.map_or(name, |repo| repo.id)))
        }
        _ => Err(
            ApiError::not_found(format!("there are no rules about a {kind:?}"))
                .next("Rules stand at /api/queue/all, /api/queue/type/NAME and /api/queue/repo/NAME"),
        ),
    }
}

/// Postgres would refuse it in words of its own.
fn no_nul(name: &str) -> ApiResult<()> {
    match name.contains('\0') {
        true => Err(ApiError::not_found(format!("nothing has the name {name:?}"))),
        false => Ok(()),
    }
}

fn read_rule(body: Value) -> ApiResult<RuleBody> {
    let Value::Object(body) = body else {
        return Err(ApiError::unreadable("the body is not an object")
            .next(r#"Send {"max_running": 4}, {"paused": true, "reason": "…"} or both"#));
    };
    if let Some(unknown) = body.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(
            ApiError::field(unknown.clone(), format!("there is no field `{unknown}`"))
                .next(format!("Known are {}", FIELDS.join(", "))),
        );
    }
    let rule = RuleBody {
        max_running: max_running(&body)?,
        paused: match body.get("paused") {
            None => None,
            Some(Value::Null) => Some(false),
            Some(Value::Bool(paused)) => Some(*paused),
            Some(_) => return Err(ApiError::field("paused", "`paused` is not true or false")),
        },
        reason: reason(&body)?,
    };
    if rule.max_running.is_none() && rule.paused.is_none() && rule.reason.is_none() {
        return Err(ApiError::unreadable(
            "the body says nothing: neither `max_running` nor `paused` nor `reason`",
        )
        .next(r#"Send {"max_running": 4}, {"paused": true, "reason": "…"} or both"#));
    }
    Ok(rule)
}

fn max_running(body: &Map<String, Value>) -> ApiResult<Option<Option<u32>>> {
    match body.get("max_running") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => match value
            .as_i64()
            .and_then(|number| i32::try_from(number).ok())
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number > 0)
        {
            Some(number) => Ok(Some(Some(number))),
            None => Err(ApiError::field(
                "max_running",
                "`max_running` is not a whole number from 1 on, nor null",
            )
            .next(r#"To let none run, send {"paused": true}"#)),
        },
    }
}

fn reason(body: &Map<String, Value>) -> ApiResult<Option<Option<String>>> {
    match body.get("reason") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) if text.contains('\0') => {
            Err(ApiError::field("reason", "`reason` holds a NUL character"))
        }
        Some(Value::String(text)) if text.chars().count() > REASON_CHARS => Err(ApiError::field(
            "reason",
            format!("`reason` is longer than {REASON_CHARS} characters"),
        )),
        Some(Value::String(text)) => {
            let text = Some(text.trim().to_owned());
            Ok(Some(text.filter(|text| !text.is_empty())))
        }
        Some(_) => Err(ApiError::field("reason", "`reason` is not text")),
    }
}

/// The store names the part of the request in its words.
fn with_field(error: Error) -> ApiError {
    let field = ["type", "repo", "max_running", "reason"]
        .into_iter()
        .find(|field| error.what.starts_with(&format!("`{field}`")));
    ApiError {
        field: field.map(|field| match field {
            "max_running" | "reason" => field.to_owned(),
            _ => "name".to_owned(),
        }),
        ..error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{fields_of, sorted};

    #[test]
    fn what_is_taken_is_what_the_document_says() {
        assert_eq!(fields_of::<RuleBody>(), sorted(&FIELDS));
    }
}
