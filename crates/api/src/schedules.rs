//! `/api/schedules`: tasks that are made at set times.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use domain::{Error, NewTask};
use serde::Serialize;
use serde_json::{Map, Value};
use store::{Missed, NewSchedule, Overlap, Schedule, Store};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorBody};
use crate::input::{self, Created, NewTaskBody};
use crate::server::Api;
use crate::tasks::{created, read_json};
use crate::view::rfc3339;

const FIELDS: [&str; 6] = ["cron", "time_zone", "task", "overlap", "missed", "enabled"];

type Name = Result<Path<String>, PathRejection>;

/// What `PUT` takes.
#[derive(ToSchema)]
#[schema(as = NewSchedule)]
struct ScheduleBody {
    /// Five fields, such as `30 3 * * MON-FRI`.
    cron: String,
    /// An IANA name; UTC where nothing is said.
    time_zone: Option<String>,
    /// What is made at each run; it has no parent.
    #[schema(value_type = NewTaskBody)]
    task: NewTask,
    /// `skip` (the default) or `allow`: while the task of an earlier run is unfinished.
    #[schema(value_type = Option<String>)]
    overlap: Option<Overlap>,
    /// `once` (the default) or `skip`: for runs that fell into an outage of all workers.
    #[schema(value_type = Option<String>)]
    missed: Option<Missed>,
    enabled: Option<bool>,
}

impl ScheduleBody {
    fn named(self, name: String) -> NewSchedule {
        NewSchedule {
            name,
            cron: self.cron,
            time_zone: self.time_zone.unwrap_or_else(|| "UTC".to_owned()),
            task: self.task,
            overlap: self.overlap.unwrap_or_default(),
            missed: self.missed.unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct ScheduleList {
    /// By name.
    schedules: Vec<ScheduleView>,
}

#[derive(Serialize, ToSchema)]
pub struct OneSchedule {
    schedule: ScheduleView,
}

#[derive(Serialize, ToSchema)]
pub struct ScheduleDetail {
    schedule: ScheduleView,
    /// The newest 100, the newest first.
    changes: Vec<ScheduleChangeView>,
}

/// What somebody did to a schedule.
#[derive(Serialize, ToSchema)]
#[schema(as = ScheduleChange)]
pub struct ScheduleChangeView {
    pub at: String,
    /// `made`, `changed`, `enabled`, `disabled`, `run`; `deleted` where one of this name was before it.
    pub what: String,
    /// The token's name, or a user at a command line.
    pub by: String,
}

/// Who did what to the schedule of that name, the newest first.
pub async fn changes(store: &Store, name: &str) -> domain::Result<Vec<ScheduleChangeView>> {
    let changes = store.schedule_changes(name).await?;
    let view = |change: store::ScheduleChange| ScheduleChangeView {
        at: rfc3339(change.at),
        what: change.what,
        by: change.by,
    };
    Ok(changes.into_iter().map(view).collect())
}

#[derive(Serialize, ToSchema)]
pub struct ScheduleDeleted {
    /// `deleted`.
    status: &'static str,
    name: String,
}

fn one(schedule: &Schedule) -> Json<OneSchedule> {
    Json(OneSchedule {
        schedule: view(schedule),
    })
}

/// List the schedules
#[utoipa::path(get, path = "/api/schedules", tag = "schedules",
    responses((status = 200, description = "All of them", body = ScheduleList)))]
pub async fn list(State(api): State<Api>) -> ApiResult<Json<ScheduleList>> {
    let schedules = api.store.schedules().await?.iter().map(view).collect();
    Ok(Json(ScheduleList { schedules }))
}

/// Show a schedule
#[utoipa::path(get, path = "/api/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "The schedule's name")), responses(
    (status = 200, description = "It, its last run, and who changed it", body = ScheduleDetail),
    (status = 404, description = "There is none of that name", body = ErrorBody)))]
pub async fn show(State(api): State<Api>, name: Name) -> ApiResult<Json<ScheduleDetail>> {
    let name = named(name)?;
    let schedule = view(&api.store.schedule(&name).await?);
    let changes = changes(&api.store, &name).await?;
    Ok(Json(ScheduleDetail { schedule, changes }))
}

/// Make or change a schedule
#[utoipa::path(put, path = "/api/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "The schedule's name")), request_body = ScheduleBody,
    responses((status = 200, description = "It stands", body = OneSchedule)))]
pub async fn set(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    name: Name,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<Json<OneSchedule>> {
    let name = named(name)?;
    let wanted = new_schedule(read_json(body)?)?.named(name);
    let store = api.store.by(&caller.name);
    let schedule = store.set_schedule(&wanted).await.map_err(with_field)?;
    tracing::info!(schedule.name = %schedule.name, caller.name = %caller.name, "a schedule was set");
    Ok(one(&schedule))
}

/// Forget a schedule; its tasks stay
#[utoipa::path(delete, path = "/api/schedules/{name}", tag = "schedules", params(("name" = String, Path, description = "The schedule's name")), responses(
    (status = 200, description = "It is gone", body = ScheduleDeleted),
    (status = 404, description = "There is none of that name", body = ErrorBody)))]
pub async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    name: Name,
) -> ApiResult<Json<ScheduleDeleted>> {
    let name = named(name)?;
    api.store.by(&caller.name).delete_schedule(&name).await?;
    tracing::info!(schedule.name = %name, caller.name = %caller.name, "a schedule was deleted");
    Ok(Json(ScheduleDeleted {
        status: "deleted",
        name,
    }))
}

/// Let a schedule run from now on
#[utoipa::path(post, path = "/api/schedules/{name}/enable", tag = "schedules", params(("name" = String, Path, description = "The schedule's name")), responses(
    (status = 200, description = "It runs", body = OneSchedule),
    (status = 404, description = "There is none of that name", body = ErrorBody)))]
pub async fn enable(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    name: Name,
) -> ApiResult<Json<OneSchedule>> {
    let store = api.store.by(&caller.name);
    let schedule = store.enable_schedule(&named(name)?, true).await?;
    Ok(one(&schedule))
}

/// Stop a schedule
#[utoipa::path(post, path = "/api/schedules/{name}/disable", tag = "schedules", params(("name" = String, Path, description = "The schedule's name")), responses(
    (status = 200, description = "It rests", body = OneSchedule),
    (status = 404, description = "There is none of that name", body = ErrorBody)))]
pub async fn disable(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    name: Name,
) -> ApiResult<Json<OneSchedule>> {
    let store = api.store.by(&caller.name);
    let schedule = store.enable_schedule(&named(name)?, false).await?;
    Ok(one(&schedule))
}

/// Make a schedule's task now
#[utoipa::path(post, path = "/api/schedules/{name}/run", tag = "schedules", params(("name" = String, Path, description = "The schedule's name")), responses(
    (status = 201, description = "The task was made", body = Created),
    (status = 200, description = "An earlier one is unfinished", body = Created),
    (status = 404, description = "There is none of that name", body = ErrorBody)))]
pub async fn run(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    name: Name,
) -> ApiResult<(StatusCode, Json<Created>)> {
    let made = api.store.by(&caller.name).run_schedule(&named(name)?).await?;
    Ok(created(&made))
}

fn named(name: Name) -> ApiResult<String> {
    name.map(|Path(name)| name)
        .map_err(|_| ApiError::unreadable("the address holds no schedule's name: it is not UTF-8"))
}

/// Reads a schedule from a request's JSON, by the same rules as `longshore schedules set`.
fn new_schedule(body: Value) -> ApiResult<ScheduleBody> {
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
    Ok(ScheduleBody {
        cron,
        time_zone: text(&body, "time_zone")?,
        task,
        overlap: word(&body, "overlap")?,
        missed: word(&body, "missed")?,
        enabled: match body.get("enabled") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(enabled)) => Some(*enabled),
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

fn word<T>(body: &Map<String, Value>, field: &str) -> ApiResult<Option<T>>
where
    T: std::str::FromStr<Err = store::UnknownWord>,
{
    let word = text(body, field)?.map(|word| word.parse()).transpose();
    word.map_err(|error| ApiError::field(field, format!("`{field}` is wrong: {error}")))
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
#[derive(Serialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleView {
    name: String,
    cron: String,
    time_zone: String,
    in_words: Option<String>,
    /// What is made at each run.
    task: Value,
    /// `skip` or `allow`.
    overlap: String,
    /// `once` or `skip`.
    missed: String,
    enabled: bool,
    /// None while it rests.
    next_run: Option<String>,
    last_run: Option<String>,
    last_task: Option<String>,
    last_task_status: Option<String>,
    /// The last run that made no task, and why.
    skipped_run: Option<String>,
    skipped_why: Option<String>,
}

pub fn view(schedule: &Schedule) -> ScheduleView {
    ScheduleView {
        name: schedule.name.clone(),
        cron: schedule.cron.clone(),
        time_zone: schedule.time_zone.clone(),
        in_words: store::Timetable::parse(&schedule.cron, &schedule.time_zone)
            .ok()
            .map(|table| table.in_words()),
        task: schedule.task.clone(),
        overlap: schedule.overlap.clone(),
        missed: schedule.missed.clone(),
        enabled: schedule.enabled,
        next_run: schedule.next_run.map(rfc3339),
        last_run: schedule.last_run.map(rfc3339),
        last_task: schedule.last_task.clone(),
        last_task_status: schedule.last_task_status.clone(),
        skipped_run: schedule.skipped_run.map(rfc3339),
        skipped_why: schedule.skipped_why.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{fields_of, sorted};

    #[test]
    fn what_is_taken_is_what_the_document_says() {
        assert_eq!(fields_of::<ScheduleBody>(), sorted(&FIELDS));
    }
}
