//! Alertmanager's notifications (<https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>): each alert
//! that fires is a task, once.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use chrono::{DateTime, SecondsFormat};
use domain::{Error, NewTask, Priority, TaskId};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::{Arrival, MAX_TASKS, NotMade, Received};
use utoipa::ToSchema;

use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::many;
use crate::server::Api;
use crate::tasks::whole;

/// What Alertmanager has called its bodies since 2015.
const VERSION: &str = "4";
/// Longest fingerprint, in characters; Alertmanager's have 16.
const FINGERPRINT_CHARS: usize = 200;
/// What is said of a group stands in the task of each of its alerts: so many bytes of it, in all tasks of a call.
const GROUP_BYTES: usize = 32 * 1024 * 1024;

/// What became of a notification's alerts.
#[derive(Debug, Serialize, ToSchema)]
pub struct Noted {
    /// Alerts that fire and got a task.
    created: usize,
    /// Alerts that fire and were sent before: same fingerprint, same `startsAt`.
    known: usize,
    /// Alerts that are over: nothing is made of them.
    resolved: usize,
    /// The task of each alert that fires, made now or before, in the order in which they were sent.
    #[schema(value_type = Vec<String>)]
    tasks: Vec<TaskId>,
}

/// A notification that can be taken.
#[derive(Debug)]
struct Read {
    arrivals: Vec<Arrival>,
    /// Where each of them stands in `alerts`.
    places: Vec<usize>,
    resolved: usize,
    /// Alerts that Alertmanager left out, as it was told to.
    left_out: u64,
}

fn read(body: &[u8]) -> ApiResult<Read> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::unreadable(format!("the body is not JSON that can be read: {error}")))?;
    let version = text(&body["version"], "version")?;
    if version != VERSION {
        return Err(ApiError::field(
            "version",
            format!(
                "`version` is {version:?}; bodies of version \"{VERSION}\" are read, which is Alertmanager's"
            ),
        ));
    }
    let Value::Array(alerts) = &body["alerts"] else {
        return Err(wrong(&body["alerts"], "alerts", "a list"));
    };
    if alerts.len() > MAX_TASKS {
        return Err(ApiError::too_large(
            Some("alerts"),
            format!("there are more than {MAX_TASKS} alerts in one call"),
        )
        .next(
            "Let Alertmanager send less at a time: `group_by` of the route, `max_alerts` of the receiver",
        ));
    }
    let group = json!({
        "groupKey": text(&body["groupKey"], "groupKey")?,
        "receiver": text(&body["receiver"], "receiver")?,
        "externalURL": optional(&body["externalURL"], "externalURL")?,
        "groupLabels": texts(&body["groupLabels"], "groupLabels")?,
        "commonLabels": texts(&body["commonLabels"], "commonLabels")?,
        "commonAnnotations": texts(&body["commonAnnotations"], "commonAnnotations")?,
    });
    if group.to_string().len().saturating_mul(alerts.len()) > GROUP_BYTES {
        return Err(ApiError::too_large(
            Some("alerts"),
            "what is said of the group is too large to stand in the task of each of so many alerts",
        )
        .next("Shorten the annotations, or let Alertmanager send less at a time: `group_by`, `max_alerts`"));
    }
    let mut read = Read {
        arrivals: Vec::new(),
        places: Vec::new(),
        resolved: 0,
        left_out: body["truncatedAlerts"].as_u64().unwrap_or(0),
    };
    for (place, sent) in alerts.iter().enumerate() {
        match arrival(sent, place, &group)? {
            Some(arrival) => {
                read.arrivals.push(arrival);
                read.places.push(place);
            }
            None => read.resolved += 1,
        }
    }
    Ok(read)
}

/// An alert that fires; nothing where it is over.
fn arrival(sent: &Value, place: usize, group: &Value) -> ApiResult<Option<Arrival>> {
    let whole = format!("alerts[{place}]");
    if !sent.is_object() {
        return Err(wrong(sent, &whole, "an object"));
    }
    let path = |name: &str| format!("{whole}.{name}");
    let status = text(&sent["status"], &path("status"))?;
    if !["firing", "resolved"].contains(&status) {
        return Err(ApiError::field(
            path("status"),
            format!("`{whole}.status` is {status:?}, neither firing nor resolved"),
        ));
    }
    let fingerprint = text(&sent["fingerprint"], &path("fingerprint"))?;
    if fingerprint.trim().is_empty()
        || fingerprint.chars().any(char::is_control)
        || fingerprint.chars().count() > FINGERPRINT_CHARS
    {
        return Err(ApiError::field(
            path("fingerprint"),
            format!(
                "`{whole}.fingerprint` must be 1 to {FINGERPRINT_CHARS} characters, none of them a control character"
            ),
        ));
    }
    let labels = match &sent["labels"] {
        Value::Null => return Err(wrong(&Value::Null, &path("labels"), "an object")),
        labels => texts(labels, &path("labels"))?,
    };
    let starts_at = text(&sent["startsAt"], &path("startsAt"))?;
    let since = time(starts_at, &path("startsAt"))?;
    let ends_at = optional(&sent["endsAt"], &path("endsAt"))?;
    if let Some(ends_at) = ends_at {
        time(ends_at, &path("endsAt"))?;
    }
    let annotations = texts(&sent["annotations"], &path("annotations"))?;
    let generator = optional(&sent["generatorURL"], &path("generatorURL"))?;
    if status == "resolved" {
        return Ok(None);
    }
    let label = |name: &str| labels.get(name).and_then(Value::as_str).unwrap_or_default();
    let priority = priority(label("severity"))?;
    let repos = ["longshore_repo", "repo"].into_iter().map(label);
    let repos = repos.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let payload = json!({
        "source": "alertmanager",
        "alert": {
            "fingerprint": fingerprint,
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": starts_at,
            "endsAt": ends_at,
            "generatorURL": generator,
        },
        "group": group,
    });
    store::check_payload(&payload).map_err(|fault| refused(fault, &whole))?;
    let mut task = NewTask::new("respond_alert", payload).priority(priority);
    task.created_by = Some("alertmanager-webhook".to_owned());
    Ok(Some(Arrival {
        // The same alert, whichever of several Alertmanagers sends it and however it writes the time.
        key: format!("{fingerprint}:{since}"),
        event: status.to_owned(),
        body: sent.clone(),
        task,
        repos,
    }))
}

/// A payload's fault in the words of whoever sent the alert.
fn refused(fault: store::PayloadFault, whole: &str) -> ApiError {
    if fault.too_large {
        let what =
            format!("`{whole}` and its group are too large for a task: at most 1 MiB of JSON is taken");
        return ApiError::field(whole, what).next("Shorten the alert's labels and annotations");
    }
    let field = match fault.field.strip_prefix("payload.") {
        Some(field) => field
            .strip_prefix("group.")
            .map(str::to_owned)
            .or_else(|| Some(format!("{whole}.{}", field.strip_prefix("alert.")?)))
            .unwrap_or_else(|| whole.to_owned()),
        None => whole.to_owned(),
    };
    let mut error = ApiError::field(field.clone(), fault.error.what.replace(&fault.field, &field));
    error.error.next = fault.error.next;
    error
}

fn priority(severity: &str) -> ApiResult<Priority> {
    let number = match severity.to_ascii_lowercase().as_str() {
        "critical" => 9,
        "warning" => 6,
        "info" => 3,
        _ => return Ok(Priority::DEFAULT),
    };
    Ok(Priority::try_from(number).map_err(|error| Error::internal(error.to_string()))?)
}

/// The moment, written in one way.
fn time(text: &str, path: &str) -> ApiResult<String> {
    let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
        let shown: String = text.chars().take(100).collect();
        ApiError::field(
            path,
            format!("`{path}` is {shown:?}, not a time as RFC 3339 writes it"),
        )
    })?;
    Ok(time.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

fn text<'a>(value: &'a Value, path: &str) -> ApiResult<&'a str> {
    value.as_str().ok_or_else(|| wrong(value, path, "text"))
}

fn optional<'a>(value: &'a Value, path: &str) -> ApiResult<Option<&'a str>> {
    match value {
        Value::Null => Ok(None),
        _ => text(value, path).map(Some),
    }
}

/// Names and texts; none where nothing is said.
fn texts(value: &Value, path: &str) -> ApiResult<Map<String, Value>> {
    let fields = match value {
        Value::Null => return Ok(Map::new()),
        Value::Object(fields) => fields,
        _ => return Err(wrong(value, path, "an object")),
    };
    for (name, value) in fields {
        text(value, &format!("{path}.{name}"))?;
    }
    Ok(fields.clone())
}

fn wrong(value: &Value, path: &str, what: &str) -> ApiError {
    let is = match value {
        Value::Null => "missing: it must be".to_owned(),
        _ => "not".to_owned(),
    };
    ApiError::field(path, format!("`{path}` is {is} {what}")).next(
        "Is this a webhook of Alertmanager's? Its body is described at https://prometheus.io/docs/alerting/latest/configuration/#webhook_config",
    )
}

/// Take a notification from Alertmanager
///
/// Each alert that fires makes one `respond_alert` task, all of them or none. An alert that is sent again (same fingerprint,
/// same `startsAt`) makes no other, however often and in whatever company it comes.
#[utoipa::path(post, path = "/webhook/alertmanager", tag = "webhooks",
    request_body(content = Value, description = "A body of version \"4\" as Alertmanager sends it, at most 16 MiB and 10,000 alerts"),
    responses(
        (status = 201, description = "Tasks were made", body = Noted),
        (status = 200, description = "All was known or is resolved", body = Noted)))]
pub async fn receive(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    body: Result<Bytes, BytesRejection>,
) -> ApiResult<(StatusCode, Json<Noted>)> {
    let body = whole(body, many::BYTES).map_err(|error| {
        error.next(
            "Let Alertmanager send less at a time: `group_by` of the route, `max_alerts` of the receiver",
        )
    })?;
    // Megabytes of JSON would keep other calls waiting.
    let read = tokio::task::spawn_blocking(move || read(&body))
        .await
        .map_err(|error| Error::internal("the body could not be read").because(&error))??;
    let received = api
        .store
        .receive_many("alertmanager", &read.arrivals)
        .await
        .map_err(|fault| not_made(&read, fault))?;
    let created = received
        .iter()
        .filter(|received| matches!(received, Received::New(_)))
        .count();
    let noted = Noted {
        created,
        known: received.len() - created,
        resolved: read.resolved,
        tasks: received
            .into_iter()
            .filter_map(|(Received::New(id) | Received::Known(id))| id)
            .collect(),
    };
    tracing::info!(
        webhook.source = "alertmanager",
        webhook.created = noted.created,
        webhook.known = noted.known,
        webhook.resolved = noted.resolved,
        webhook.left_out = read.left_out,
        caller.name = %caller.name,
        "a webhook was stored"
    );
    let code = match created {
        0 => StatusCode::OK,
        _ => StatusCode::CREATED,
    };
    Ok((code, Json(noted)))
}

fn not_made(read: &Read, fault: NotMade) -> ApiError {
    let place = fault.place.and_then(|place| read.places.get(place));
    ApiError {
        field: place.map(|place| format!("alerts[{place}]")),
        ..fault.error.into()
    }
}
