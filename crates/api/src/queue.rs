//! `/api/tasks/cancel`, `/api/tasks/retry` by filter, and `/api/tasks/dead`.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use domain::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use store::{Bulk, BulkFilter, DeadFilter};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::input;
use crate::query::said;
use crate::server::Api;
use crate::tasks::{cursor, read_json};
use crate::view::rfc3339;

/// Groups of dead letters in one answer.
const GROUPS: u32 = 100;

const FIELDS: [&str; 10] = [
    "status",
    "type",
    "to",
    "repo_id",
    "created_before",
    "created_after",
    "error",
    "all",
    "dry_run",
    "before",
];

/// Which tasks, and how.
#[derive(Debug, Default, ToSchema)]
struct BulkBody {
    /// States, `held` among them. None: cancel takes what is pending, in progress or waiting, retry what failed or is held.
    #[schema(value_type = Option<Vec<String>>)]
    status: Vec<String>,
    /// Only this type. Also `task_type`.
    #[schema(max_length = 200)]
    r#type: Option<String>,
    /// Only this agent's. Also `assigned_to`.
    #[schema(max_length = 200)]
    to: Option<String>,
    #[schema(max_length = 200)]
    repo_id: Option<String>,
    /// RFC 3339.
    created_before: Option<String>,
    /// RFC 3339; what was created then is meant, too.
    created_after: Option<String>,
    /// What a dead letter shows, or an error itself: ids and numbers may differ.
    error: Option<String>,
    /// Says that a filter which names nothing is meant.
    #[schema(value_type = Option<bool>)]
    all: bool,
    #[schema(value_type = Option<bool>)]
    dry_run: bool,
    /// `next` of the answer before.
    before: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct BulkAnswer {
    /// Tasks that the filter took.
    matched: u64,
    /// Those of them that were changed; in a dry run, that would be.
    changed: u64,
    skipped: Vec<SkippedView>,
    /// One call looks at 10,000 tasks; this goes on, handed back as `before`.
    next: Option<String>,
    dry_run: bool,
}

/// Tasks that were left alone for one reason.
#[derive(Debug, Serialize, ToSchema)]
struct SkippedView {
    why: String,
    count: u64,
    /// Some of them.
    task_ids: Vec<String>,
}

/// Cancel tasks by filter
///
/// Each as by its own cancel. An empty filter is refused unless `all` says that it is meant.
#[utoipa::path(post, path = "/api/tasks/cancel", tag = "tasks", request_body = BulkBody,
    responses((status = 200, description = "What came of it", body = BulkAnswer)))]
pub async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<BulkAnswer>> {
    bulk(&api, &caller, Bulk::Cancel, body).await
}

/// Retry tasks by filter
///
/// Each as by its own retry. An empty filter is refused unless `all` says that it is meant.
#[utoipa::path(post, path = "/api/tasks/retry", tag = "tasks", request_body = BulkBody,
    responses((status = 200, description = "What came of it", body = BulkAnswer)))]
pub async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<BulkAnswer>> {
    bulk(&api, &caller, Bulk::Retry, body).await
}

async fn bulk(
    api: &Api,
    caller: &Caller,
    what: Bulk,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<BulkAnswer>> {
    let body = read_filter(read_json(body)?)?;
    let filter = BulkFilter {
        states: body
            .status
            .iter()
            .map(|word| {
                word.parse()
                    .map_err(|error: Error| ApiError::field("status", error.what))
            })
            .collect::<ApiResult<_>>()?,
        task_type: body.r#type,
        assigned_to: body.to,
        repo_id: body.repo_id,
        created_before: input::moment(body.created_before.as_deref(), "created_before")?,
        created_after: input::moment(body.created_after.as_deref(), "created_after")?,
        error: body.error,
    };
    if filter.is_empty() && !body.all {
        return Err(ApiError {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            field: None,
            error: Error::invalid("the filter names nothing, so it would take every task")
                .next(r#"Name status, type, to, repo_id, created_before, created_after or error; {"all": true} says that all are meant"#),
        });
    }
    let before = body
        .before
        .as_deref()
        .map(|text| cursor(text, "before"))
        .transpose()?;
    let done = api
        .store
        .by(&caller.name)
        .bulk(what, &filter, before.as_ref(), body.dry_run)
        .await?;
    if !body.dry_run {
        tracing::info!(caller.name = %caller.name, bulk.what = ?what, bulk.changed = done.changed, "tasks were changed by filter");
    }
    let skipped = done.skipped.into_iter().map(|skipped| SkippedView {
        why: skipped.why,
        count: skipped.count,
        task_ids: skipped.task_ids.iter().map(ToString::to_string).collect(),
    });
    Ok(Json(BulkAnswer {
        matched: done.matched,
        changed: done.changed,
        skipped: skipped.collect(),
        next: done.next.map(|next| next.to_string()),
        dry_run: body.dry_run,
    }))
}

fn read_filter(body: Value) -> ApiResult<BulkBody> {
    let Value::Object(mut body) = body else {
        return Err(ApiError::unreadable("the body is not an object").next(
            r#"Send {"status": ["failed"], "type": "deploy", "created_before": "2026-01-29T00:00:00Z"}, or some of it"#,
        ));
    };
    input::rename_columns(&mut body)?;
    if let Some(unknown) = body.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(
            ApiError::field(unknown.clone(), format!("there is no field `{unknown}`"))
                .next(format!("Known are {}", FIELDS.join(", "))),
        );
    }
    Ok(BulkBody {
        status: states(body.get("status"))?,
        r#type: input::name(&body, "type")?,
        to: input::name(&body, "to")?,
        repo_id: input::name(&body, "repo_id")?,
        created_before: text(&body, "created_before")?,
        created_after: text(&body, "created_after")?,
        error: text(&body, "error")?,
        all: truth(&body, "all")?,
        dry_run: truth(&body, "dry_run")?,
        before: text(&body, "before")?,
    })
}

fn states(value: Option<&Value>) -> ApiResult<Vec<String>> {
    let wrong = |said: &Value| {
        let what = format!("`status` is {}, not a list of states", input::kind(said));
        Err(ApiError::field("status", what).next(r#"Send such as ["failed", "held"]"#))
    };
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(words)) => words
            .iter()
            .map(|word| match word {
                Value::String(word) => Ok(word.clone()),
                other => {
                    let what = format!("`status` holds {}, not states alone", input::kind(other));
                    Err(ApiError::field("status", what).next(r#"Send such as ["failed", "held"]"#))
                }
            })
            .collect(),
        Some(other) => wrong(other),
    }
}

fn text(body: &Map<String, Value>, field: &str) -> ApiResult<Option<String>> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.contains('\0') => {
            Err(ApiError::field(field, format!("`{field}` holds a NUL character")))
        }
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => {
            let what = format!("`{field}` is {}, not text", input::kind(other));
            Err(ApiError::field(field, what))
        }
    }
}

fn truth(body: &Map<String, Value>, field: &str) -> ApiResult<bool> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(truth)) => Ok(*truth),
        Some(other) => {
            let what = format!("`{field}` is {}, not true or false", input::kind(other));
            Err(ApiError::field(field, what))
        }
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct DeadQuery {
    /// Only this type.
    #[serde(rename = "type", default, deserialize_with = "said")]
    task_type: Option<String>,
    /// Only this agent's.
    #[serde(default, deserialize_with = "said")]
    to: Option<String>,
    #[serde(default, deserialize_with = "said")]
    repo_id: Option<String>,
    /// Only what was created then or later; RFC 3339.
    #[serde(default, deserialize_with = "said")]
    created_after: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct DeadAnswer {
    /// Those seen last first, at most 100.
    groups: Vec<DeadView>,
    /// Tasks in all groups.
    total: i64,
    /// False where only the newest ten thousand were looked at.
    complete: bool,
}

/// Tasks of one type that stopped for one reason.
#[derive(Debug, Serialize, ToSchema)]
struct DeadView {
    /// `failed` or `held`.
    state: String,
    task_type: String,
    /// What their errors have in common: the first line, with `#` for ids and numbers.
    error: String,
    count: i64,
    first_seen: String,
    last_seen: String,
    /// The newest of them.
    task_ids: Vec<String>,
}

/// What failed or is held and so needs somebody, by type and error
///
/// Tasks of other agents are not shown. POST /api/tasks/retry takes `error` to try a group again.
#[utoipa::path(get, path = "/api/tasks/dead", tag = "tasks", params(DeadQuery),
    responses((status = 200, description = "The dead letters", body = DeadAnswer)))]
pub async fn dead(
    State(api): State<Api>,
    query: Result<Query<DeadQuery>, QueryRejection>,
) -> ApiResult<Json<DeadAnswer>> {
    let Query(query) = query.map_err(|error| ApiError::unreadable(error.body_text()))?;
    let filter = DeadFilter {
        task_type: query.task_type,
        assigned_to: query.to,
        repo_id: query.repo_id,
        created_after: input::moment(query.created_after.as_deref(), "created_after")?,
        limit: GROUPS,
    };
    let dead = api.store.dead_letters(&filter).await?;
    let groups = dead.groups.into_iter().map(|group| DeadView {
        error: group.error,
        first_seen: rfc3339(group.first_seen),
        last_seen: rfc3339(group.last_seen),
        task_ids: group.task_ids.iter().map(ToString::to_string).collect(),
        state: group.state,
        task_type: group.task_type,
        count: group.count,
    });
    Ok(Json(DeadAnswer {
        groups: groups.collect(),
        total: dead.total,
        complete: dead.complete,
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::routes::{fields_of, sorted};

    #[test]
    fn what_is_taken_is_what_the_document_says() {
        assert_eq!(fields_of::<BulkBody>(), sorted(&FIELDS));
    }

    #[test]
    fn each_fault_of_a_filter_names_its_field_and_null_is_none() {
        for (body, field) in [
            (json!({"status": "failed"}), "status"),
            (json!({"status": [5]}), "status"),
            (json!({"type": 5}), "type"),
            (json!({"type": "x", "task_type": "x"}), "task_type"),
            (json!({"kind": "x"}), "kind"),
            (json!({"dry_run": "yes"}), "dry_run"),
            (json!({"error": "a\u{0}"}), "error"),
            (json!({"repo_id": "a\u{0}"}), "repo_id"),
        ] {
            let error = read_filter(body.clone()).expect_err("it is refused");
            assert_eq!(error.status.as_u16(), 422, "{body}");
            assert_eq!(error.field.as_deref(), Some(field), "{body}");
        }
        let read =
            read_filter(json!({"task_type": "x", "assigned_to": "devops", "status": null, "dry_run": null}));
        let read = read.expect("a filter");
        assert_eq!(
            (read.r#type.as_deref(), read.to.as_deref()),
            (Some("x"), Some("devops"))
        );
        assert!(read.status.is_empty() && !read.dry_run);
    }
}
