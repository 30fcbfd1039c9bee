//! `/api/schedules`: tasks that are made at set times.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use domain::Error;
use serde_json::{Map, Value, json};
use store::{NewSchedule, Schedule};

use crate::error::{ApiError, ApiResult};
use crate::input;
use crate::server::Api;
use crate::tasks::read_json;
use crate::view::rfc3339;

const FIELDS: [&str; 6] = ["cron", "time_zone", "task", "overlap", "missed", "enabled"];

pub fn routes() -> Router<Api> {
    Router::new()
        .route("/api/schedules", get(list))
        .route("/api/schedules/{name}", get(show).put(set).delete(delete))
        .route("/api/schedules/{name}/enable", post(enable))
        .route("/api/schedules/{name}/disable", post(disable))
        .route("/api/schedules/{name}/run", post(run))
}

type Name = Result<Path<String>, PathRejection>;

pub async fn list(State(api): State<Api>) -> ApiResult<Json<Value>> {
    let schedules: Vec<Value> = api.store.schedules().await?.iter().map(view).collect();
    Ok(Json(json!({ "schedules": schedules })))
}

pub async fn show(State(api): State<Api>, name: Name) -> ApiResult<Json<Value>> {
    let schedule = api.store.schedule(&named(name)?).await?;
    Ok(Json(json!({ "schedule": view(&schedule) })))
}

pub async fn set(
    State(api): State<Api>,
    name: Name,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<Value>> {
    let wanted = new_schedule(named(name)?, read_json(body)?)?;
    let schedule = api.store.set_schedule(&wanted).await.map_err(with_field)?;
    tracing::info!(schedule.name = %schedule.name, "a schedule was set");
    Ok(Json(json!({ "schedule": view(&schedule) })))
}

pub async fn delete(State(api): State<Api>, name: Name) -> ApiResult<Json<Value>> {
    let name = named(name)?;
    api.store.delete_schedule(&name).await?;
    Ok(Json(json!({ "status": "deleted", "name": name })))
}

pub async fn enable(State(api): State<Api>, name: Name) -> ApiResult<Json<Value>> {
    let schedule = api.store.enable_schedule(&named(name)?, true).await?;
    Ok(Json(json!({ "schedule": view(&schedule) })))
}

pub async fn disable(State(api): State<Api>, name: Name) -> ApiResult<Json<Value>> {
    let schedule = api.store.enable_schedule(&named(name)?, false).await?;
    Ok(Json(json!({ "schedule": view(&schedule) })))
}

pub async fn run(State(api): State<Api>, name: Name) -> ApiResult<(StatusCode, Json<Value>)> {
    let made = api.store.run_schedule(&named(name)?).await?;
    let status = if made.exists {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    Ok((status, Json(input::made(&made))))
}

fn named(name: Name) -> ApiResult<String> {
    name.map(|Path(name)| name)
        .map_err(|_| ApiError::unreadable("the address holds no schedule's name: it is not UTF-8"))
}

/// Reads a schedule from a request's JSON, by the same rules as `longshore schedules set`.
pub fn new_schedule(name: String, body: Value) -> ApiResult<NewSchedule> {
    let Value::Object(mut body) = body else {
        return Err(ApiError::unreadable("the body is not an object")
            .next(r#"Send {"cron": "30 3 * * *", "time_zone": "Europe/Berlin", "task": {"type": "…", "payload": {…}}}"#));
    };
    if let Some(unknown) = body.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(
            ApiError::field(unknown.clone(), format!("there is no field `{unknown}`"))
                .next(format!("Known are {}", FIELDS.join(", "))),
        );
    }
    let Some(cron) = text(&body, "cron")? else {
        return Err(ApiError::field("cron", "`cron` is missing: it says when to run")
            .next(r#"Send a cron expression, such as "30 3 * * MON-FRI""#));
    };
    let task = body.remove("task").ok_or_else(|| {
        ApiError::field("task", "`task` is missing: it says what to make at each run")
            .next("Send what POST /api/tasks takes")
    })?;
    let task = input::new_task(task).map_err(|mut error| {
        error.field = Some(
            error
                .field
                .map_or_else(|| "task".to_owned(), |field| format!("task.{field}")),
        );
        error
    })?;
    Ok(NewSchedule {
        name,
        cron,
        time_zone: text(&body, "time_zone")?.unwrap_or_else(|| "UTC".to_owned()),
        task,
        overlap: word(&body, "overlap")?,
        missed: word(&body, "missed")?,
        enabled: match body.get("enabled") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(enabled)) => *enabled,
            Some(_) => return Err(ApiError::field("enabled", "`enabled` is not true or false")),
        },
    })
}

fn text(body: &Map<String, Value>, field: &str) -> ApiResult<Option<String>> {
    match body.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(ApiError::field(field, format!("`{field}` is not text"))),
    }
}

fn word<T>(body: &Map<String, Value>, field: &str) -> ApiResult<T>
where
    T: Default + std::str::FromStr<Err = store::UnknownWord>,
{
    match text(body, field)? {
        None => Ok(T::default()),
        Some(word) => word
            .parse()
            .map_err(|error| ApiError::field(field, format!("`{field}` is wrong: {error}"))),
    }
}

/// The store names the field in its words.
fn with_field(error: Error) -> ApiError {
    let field = [
        "name",
        "cron",
        "time_zone",
        "parent_task_id",
        "repo_id",
        "type",
        "payload",
    ]
    .into_iter()
    .find(|field| error.what.starts_with(&format!("`{field}`")));
    match field {
        Some(field @ ("name" | "cron" | "time_zone")) => ApiError {
            field: Some(field.to_owned()),
            ..error.into()
        },
        Some(field) => ApiError {
            field: Some(format!("task.{field}")),
            ..error.into()
        },
        None => error.into(),
    }
}

/// One schedule in JSON. Times are RFC 3339 in UTC.
pub fn view(schedule: &Schedule) -> Value {
    json!({
        "name": schedule.name,
        "cron": schedule.cron,
        "time_zone": schedule.time_zone,
        "in_words": store::Timetable::parse(&schedule.cron, &schedule.time_zone).ok().map(|table| table.in_words()),
        "task": schedule.task,
        "overlap": schedule.overlap,
        "missed": schedule.missed,
        "enabled": schedule.enabled,
        "next_run": schedule.next_run.map(rfc3339),
        "last_run": schedule.last_run.map(rfc3339),
        "last_task": schedule.last_task,
        "last_task_status": schedule.last_task_status,
        "skipped_run": schedule.skipped_run.map(rfc3339),
        "skipped_why": schedule.skipped_why,
    })
}
