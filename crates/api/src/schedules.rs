//! `/api/schedules`: tasks that are made at set times.

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use domain::{Error, NewTask};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{Missed, NewSchedule, Overlap, Schedule, Store};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult, ErrorBody};
use crate::input::{self, Created, NewTaskBody};
use crate::server::Api;
use crate::tasks::{created, read_json};
use crate::view::{clean_json, rfc3339};

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
    let Path(name) =
        name.map_err(|_| ApiError::unreadable("the address holds no schedule's name: it is not UTF-8"))?;
    match name.contains('\0') {
        // Postgres would refuse it in words of its own.
        true => Err(ApiError::not_found(format!("there is no schedule {name:?}"))),
        false => Ok(name),
    }
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
    if let Some(path) = taken_out(&task.payload, "task.payload") {
        let what = format!("`{path}` holds what is shown in place of a secret, not the secret");
        return Err(ApiError::field(path, what)
            .next("Put in the secret itself, or better the name under which its user finds it"));
    }
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
    let mut error = ApiError::about(
        error,
        &[
            "name",
            "cron",
            "time_zone",
            "parent_task_id",
            "run_at",
            "repo_id",
            "type",
            "payload",
        ],
    );
    error.field = error.field.map(|field| match field.as_str() {
        "name" | "cron" | "time_zone" => field,
        _ => format!("task.{field}"),
    });
    error
}

/// One schedule in JSON. Times are RFC 3339 in UTC.
#[derive(Serialize, ToSchema)]
#[schema(as = Schedule)]
pub struct ScheduleView {
    name: String,
    cron: String,
    time_zone: String,
    in_words: Option<String>,
    /// What is made at each run, as `PUT` takes it, but for secrets in its payload.
    #[schema(value_type = NewTaskBody)]
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

/// The task in the words in which it was sent; what somebody else wrote into the table is shown as it is.
fn shown_task(stored: &Value) -> Value {
    let Ok(mut task) = serde_json::from_value::<NewTask>(stored.clone()) else {
        return clean_json(Some(stored)).unwrap_or_default();
    };
    domain::redact_json(&mut task.payload);
    json!({
        "type": task.task_type,
        "to": task.assigned_to,
        "priority": task.priority.get(),
        "created_by": task.created_by,
        "repo_id": task.repo_id,
        "parent_task_id": task.parent,
        "dedupe_key": task.dedupe_key,
        "payload": task.payload,
    })
}

/// The place of what a schedule showed instead of a secret: written back, it would be lost.
fn taken_out(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::String(text) => text.contains("[redacted: ").then(|| path.to_owned()),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(at, item)| taken_out(item, &format!("{path}[{at}]")))
        }
        Value::Object(fields) => {
            let mut fields = fields.iter();
            fields.find_map(|(name, value)| taken_out(value, &format!("{path}.{name}")))
        }
        _ => None,
    }
}

pub fn view(schedule: &Schedule) -> ScheduleView {
    ScheduleView {
        name: schedule.name.clone(),
        cron: schedule.cron.clone(),
        time_zone: schedule.time_zone.clone(),
        in_words: store::Timetable::parse(&schedule.cron, &schedule.time_zone)
            .ok()
            .map(|table| table.in_words()),
        task: shown_task(&schedule.task),
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

    #[test]
    fn a_schedule_is_shown_as_it_is_set_but_for_secrets() {
        let task = json!({"type": "deploy", "to": "devops", "priority": 7, "payload": {"to": "staging", "password": "hunter22"}});
        let body = json!({"cron": "30 3 * * *", "task": task});
        let Ok(read) = new_schedule(body) else {
            panic!("it can be set")
        };
        let mut shown = shown_task(&serde_json::to_value(&read.task).expect("a task is JSON"));
        assert_eq!((&shown["type"], &shown["to"]), (&task["type"], &task["to"]));
        assert!(shown.get("task_type").is_none() && shown.get("parent").is_none());
        assert!(!shown.to_string().contains("hunter22"), "{shown}");
        let body = |task: &Value| json!({"cron": "30 3 * * *", "task": task});
        let Err(refused) = new_schedule(body(&shown)) else {
            panic!("the secret would be lost")
        };
        assert_eq!(refused.field.as_deref(), Some("task.payload.password"));
        shown["payload"] = task["payload"].clone();
        let Ok(again) = new_schedule(body(&shown)) else {
            panic!("what is shown can be sent")
        };
        assert_eq!(again.task, read.task);
    }
}
