//! The body of `POST /api/tasks`, judged field by field before it touches the database. `longshore create-task`
//! judges by the same rules.

use chrono::{DateTime, Utc};
use domain::{NewTask, Priority, TaskId};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::error::{ApiError, ApiResult};
use crate::json;

// Judged in one place, by the store.
pub use store::{MAX_PAYLOAD_BYTES as PAYLOAD_BYTES, MAX_PAYLOAD_DEPTH as PAYLOAD_DEPTH};

/// Longest id, name or type, in characters.
const NAME_CHARS: usize = 200;

const FIELDS: [&str; 9] = [
    "type",
    "to",
    "priority",
    "created_by",
    "repo_id",
    "parent_task_id",
    "dedupe_key",
    "run_at",
    "payload",
];
/// The columns' names for the same.
pub const COLUMNS: [(&str, &str); 2] = [("task_type", "type"), ("assigned_to", "to")];

/// A task to be made. An unknown field is refused: it would be a wish that nobody reads.
#[derive(Debug, ToSchema)]
#[schema(as = NewTask)]
pub struct NewTaskBody {
    /// Which handler: `fix_build`, `deploy`, … Also `task_type`.
    #[schema(max_length = 200)]
    r#type: String,
    /// Which agent; without it any that serves the type. Also `assigned_to`.
    #[schema(max_length = 200)]
    to: Option<String>,
    /// 10 is taken first.
    #[schema(value_type = Option<i64>, minimum = 1, maximum = 10, default = 5)]
    priority: Option<Priority>,
    /// Where it is left out, the name of the token that is sent, if one is.
    #[schema(max_length = 200)]
    created_by: Option<String>,
    /// Must exist; also read from the payload.
    #[schema(max_length = 200)]
    repo_id: Option<String>,
    /// Must exist.
    #[schema(max_length = 200)]
    parent_task_id: Option<String>,
    /// Makes no second task while one with this key is unfinished.
    #[schema(max_length = 200)]
    dedupe_key: Option<String>,
    /// It is begun then at the earliest, and at once without it: RFC 3339.
    #[schema(value_type = Option<String>, format = DateTime)]
    run_at: Option<DateTime<Utc>>,
    /// An object of at most 1 MiB, 64 levels deep, without NUL characters.
    payload: Option<Value>,
}

impl From<NewTaskBody> for NewTask {
    fn from(body: NewTaskBody) -> Self {
        let payload = body.payload.unwrap_or_else(|| Value::Object(Map::new()));
        // Agents often name the repository inside the payload alone.
        let named = || {
            payload["repo_id"]
                .as_str()
                .filter(|id| !id.is_empty())
                .map(str::to_owned)
        };
        NewTask {
            assigned_to: body.to,
            priority: body.priority.unwrap_or(Priority::DEFAULT),
            created_by: body.created_by,
            repo_id: body.repo_id.or_else(named),
            parent: body.parent_task_id.map(TaskId::from),
            dedupe_key: body.dedupe_key,
            run_at: body.run_at,
            ..NewTask::new(body.r#type, payload)
        }
    }
}

/// Reads a new task from a request's JSON. The first thing wrong is named, with what would be right.
pub fn new_task(body: Value) -> ApiResult<NewTask> {
    let Value::Object(mut body) = body else {
        return Err(
            ApiError::unreadable(format!("the task is {}, not an object", kind(&body)))
                .next(r#"Send {"type": "fix_build", "payload": {…}}"#),
        );
    };
    rename_columns(&mut body)?;
    if let Some(unknown) = body.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(
            ApiError::field(unknown.clone(), format!("there is no field `{unknown}`")).next(format!(
                "Known are {}; what the task is about goes into `payload`",
                FIELDS.join(", ")
            )),
        );
    }

    let Some(task_type) = name(&body, "type")? else {
        return Err(
            ApiError::field("type", "`type` is missing: it says what kind of task this is")
                .next(r#"Send {"type": "…", "payload": {…}}"#),
        );
    };
    let payload = match body.remove("payload") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(payload)) => payload,
        Some(other) => {
            return Err(
                ApiError::field("payload", format!("`payload` is {}, not an object", kind(&other)))
                    .next(r#"Send {"instruction": "…"} or the fields that the task type takes"#),
            );
        }
    };
    let payload = Value::Object(payload);
    store::check_payload(&payload)?;

    Ok(NewTask::from(NewTaskBody {
        r#type: task_type,
        to: name(&body, "to")?,
        created_by: name(&body, "created_by")?,
        dedupe_key: name(&body, "dedupe_key")?,
        parent_task_id: name(&body, "parent_task_id")?,
        repo_id: name(&body, "repo_id")?,
        run_at: moment(name(&body, "run_at")?.as_deref(), "run_at")?,
        priority: priority(body.get("priority"))?,
        payload: Some(payload),
    }))
}

/// The columns' names become the fields'.
pub fn rename_columns(body: &mut Map<String, Value>) -> ApiResult<()> {
    for (column, field) in COLUMNS {
        if let Some(value) = body.remove(column) {
            if body.contains_key(field) {
                return Err(ApiError::field(
                    column,
                    format!("`{column}` and `{field}` are the same field; send one of them"),
                ));
            }
            body.insert(field.to_owned(), value);
        }
    }
    Ok(())
}

/// Reads a new task from one line of JSON.
pub fn read_task(line: &[u8]) -> ApiResult<NewTask> {
    let read = json::read(line, "Send one JSON object a line, in UTF-8").map_err(|mut error| {
        // Of the line, not of the file that it stands in.
        error.error.what = error
            .error
            .what
            .replace("the body is not JSON", "the line is not JSON")
            .replace("at line 1 column", "at column");
        error
    });
    new_task(read?)
}

/// What became of a wish for a task.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Created {
    /// `created`, or `exists` where an unfinished one with the same dedupe key was there.
    pub status: &'static str,
    #[schema(value_type = String)]
    pub task_id: TaskId,
    pub repo_id: Option<String>,
    pub assigned_to: Option<String>,
}

/// The answer to whoever wanted a task.
pub fn made(made: &store::Made) -> Created {
    Created {
        status: if made.exists { "exists" } else { "created" },
        task_id: made.id.clone(),
        repo_id: made.repo_id.clone(),
        assigned_to: made.assigned_to.clone(),
    }
}

fn priority(value: Option<&Value>) -> ApiResult<Option<Priority>> {
    let Some(value) = value.filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    // JSON knows one kind of numbers: 5.0 is as whole as 5.
    let whole = |number: f64| (number.fract() == 0.0 && number.abs() < 1e9).then_some(number as i64);
    let Some(number) = value.as_i64().or_else(|| whole(value.as_f64()?)) else {
        let said = match value {
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        return Err(ApiError::field(
            "priority",
            format!("`priority` is {said}, not a whole number from 1 to 10"),
        ));
    };
    match Priority::try_from(number) {
        Ok(priority) => Ok(Some(priority)),
        Err(error) => Err(ApiError::field("priority", error.to_string())),
    }
}

pub fn moment(text: Option<&str>, field: &str) -> ApiResult<Option<DateTime<Utc>>> {
    let Some(text) = text else { return Ok(None) };
    match DateTime::parse_from_rfc3339(text) {
        Ok(at) => Ok(Some(at.to_utc())),
        Err(error) => Err(ApiError::field(
            field,
            format!("`{field}` is {text:?}, which is no moment such as 2026-01-29T16:28:00Z: {error}"),
        )),
    }
}

pub fn name(body: &Map<String, Value>, field: &str) -> ApiResult<Option<String>> {
    let text = match body.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(ApiError::field(
                field,
                format!("`{field}` is {}, not text", kind(other)),
            ));
        }
    };
    if text.trim().is_empty() {
        return Err(ApiError::field(
            field,
            format!("`{field}` is blank; leave it out where there is none"),
        ));
    }
    if text.chars().any(char::is_control) {
        return Err(ApiError::field(
            field,
            format!("`{field}` holds control characters (such as NUL or a line's end)"),
        ));
    }
    let length = text.chars().count();
    if length > NAME_CHARS {
        return Err(ApiError::field(
            field,
            format!("`{field}` has {length} characters; at most {NAME_CHARS} are taken"),
        ));
    }
    Ok(Some(text.clone()))
}

pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    use crate::routes::sorted;

    fn refused(body: Value) -> (u16, String, String) {
        let error = new_task(body).unwrap_err();
        (
            error.status.as_u16(),
            error.field.unwrap_or_default(),
            error.error.to_string(),
        )
    }

    #[test]
    fn what_is_taken_is_what_the_document_says() {
        assert_eq!(crate::routes::fields_of::<NewTaskBody>(), sorted(&FIELDS));
    }

    #[test]
    fn the_contracts_body_is_a_task() {
        let task = new_task(json!({
            "type": "deploy", "to": "devops", "priority": 7, "created_by": "pm", "repo_id": "r1", "parent_task_id": "p1",
            "payload": {"instruction": "deploy v1.4.2 to staging", "repo_id": "r1"}
        }))
        .unwrap();
        assert_eq!((task.task_type.as_str(), task.priority.get()), ("deploy", 7));
        assert_eq!(task.assigned_to.as_deref(), Some("devops"));
        assert_eq!(task.parent.unwrap().as_str(), "p1");
        assert_eq!(task.payload["instruction"], "deploy v1.4.2 to staging");
    }

    #[test]
    fn absent_and_null_are_the_same_and_the_payload_may_name_the_repository() {
        let task = new_task(
            json!({"task_type": "fix_build", "to": null, "priority": null, "payload": {"repo_id": "r2"}}),
        )
        .unwrap();
        assert_eq!(task.priority, Priority::DEFAULT);
        let whole = new_task(json!({"type": "x", "priority": 7.0})).unwrap();
        assert_eq!(whole.priority.get(), 7);
        assert_eq!((task.assigned_to, task.repo_id.as_deref()), (None, Some("r2")));
    }

    #[test]
    fn each_fault_names_its_field() {
        for (body, status, field) in [
            (json!([]), 400, ""),
            (json!({}), 422, "type"),
            (json!({"type": 4}), 422, "type"),
            (json!({"type": " "}), 422, "type"),
            (json!({"type": "x", "type_": "y"}), 422, "type_"),
            (json!({"type": "x", "task_type": "y"}), 422, "task_type"),
            (json!({"type": "x", "priority": 11}), 422, "priority"),
            (json!({"type": "x", "priority": 0}), 422, "priority"),
            (json!({"type": "x", "priority": 2.5}), 422, "priority"),
            (json!({"type": "x", "priority": 5e30}), 422, "priority"),
            (json!({"type": "x", "priority": "7"}), 422, "priority"),
            (json!({"type": "x", "to": ["devops"]}), 422, "to"),
            (json!({"type": "x", "repo_id": "a\u{0}b"}), 422, "repo_id"),
            (
                json!({"type": "x", "created_by": "n".repeat(201)}),
                422,
                "created_by",
            ),
            (
                json!({"type": "x", "run_at": "2026-01-29T16:28:00"}),
                422,
                "run_at",
            ),
            (json!({"type": "x", "run_at": 1769704080}), 422, "run_at"),
            (json!({"type": "x", "payload": "instruction"}), 422, "payload"),
            (
                json!({"type": "x", "payload": {"a": [1, {"b": "x\u{0}"}]}}),
                422,
                "payload.a[1].b",
            ),
            (json!({"type": "x", "payload": {"a\u{0}": 1}}), 422, "payload"),
        ] {
            let shown = body.to_string();
            let (got_status, got_field, text) = refused(body);
            assert_eq!(
                (got_status, got_field.as_str()),
                (status, field),
                "{shown}: {text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_it_is() {
        let (_, _, text) = refused(json!({"type": 5}));
        assert!(text.contains("`type` is a number, not text"), "{text}");
        let (_, _, text) = refused(json!({"type": "x", "priority": 2.5}));
        assert!(text.contains("`priority` is 2.5, not a whole number"), "{text}");
        let missing = new_task(json!({})).unwrap_err();
        let next = missing.error.next.unwrap_or_default();
        assert!(
            !next.contains("rollback"),
            "which types are served is not known here: {next}"
        );
        for (line, field) in [
            (r#"{"type": "x", "type": "y"}"#, "type"),
            (
                r#"{"type": "x", "payload": {"n": 99999999999999999999}}"#,
                "payload.n",
            ),
        ] {
            let error = read_task(line.as_bytes()).expect_err(line);
            assert_eq!(error.field.as_deref(), Some(field), "{}", error.error);
        }
    }

    #[test]
    fn a_payload_that_is_too_much_is_told_with_its_own_status() {
        let nested = (1..65).fold(json!({}), |inner, _| json!({ "a": inner }));
        let (status, field, text) = refused(json!({"type": "x", "payload": nested}));
        assert_eq!((status, field.as_str()), (422, "payload"));
        assert!(text.contains("64"), "{text}");
        let (status, field, text) =
            refused(json!({"type": "x", "payload": {"log": "y".repeat(PAYLOAD_BYTES)}}));
        assert_eq!((status, field.as_str()), (413, "payload"));
        assert!(text.contains("1 MiB"), "{text}");
    }
}
