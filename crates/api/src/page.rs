//! The page: a list of tasks, and one task with its history, steps and comments. Every text is escaped by the
//! templates; nothing on it runs or is loaded from elsewhere.

use askama::Template;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Error, ErrorKind, TaskId, TaskStatus};
use serde::Deserialize;
use serde_json::Value;
use store::{TaskFilter, TaskRow};

use crate::report::{self, ReportView};
use crate::server::Api;
use crate::view::{asks_for, clean, clean_json, is_over, shown_state, waits_for};

const SHOWN: u32 = 100;
const EVENTS: u32 = 200;
/// A payload or result longer than this is cut on the page; the API has it whole.
const SHOWN_CHARS: usize = 20_000;

#[derive(Template)]
#[template(path = "tasks.html")]
struct TasksPage {
    status: String,
    stats: Vec<(&'static str, i64)>,
    tasks: Vec<Row>,
    limit: usize,
}

#[derive(Template)]
#[template(path = "task.html")]
struct TaskPage {
    task: Row,
    report: Option<ReportView>,
    events: Vec<Event>,
    steps: Vec<Step>,
}

#[derive(Template)]
#[template(path = "missing.html")]
struct MissingPage {
    title: String,
    what: String,
}

struct Row {
    id: String,
    href: String,
    task_type: String,
    headline: String,
    state: &'static str,
    state_class: &'static str,
    asks_for: &'static str,
    over: bool,
    priority: i64,
    assigned_to: String,
    created_by: String,
    repo_id: String,
    parent: String,
    parent_href: String,
    created_at: String,
    completed_at: String,
    took: String,
    attempt: i64,
    waits_for: String,
    error: String,
    payload: String,
    result: String,
}

struct Event {
    at: String,
    kind: String,
    summary: String,
}

struct Step {
    key: String,
    kind: String,
    state: &'static str,
    started_at: String,
    took: String,
}

#[derive(Deserialize)]
pub struct Asked {
    #[serde(default)]
    status: String,
}

/// The page: a list of tasks
#[utoipa::path(get, path = "/", tag = "page",
    params(("status" = Option<String>, Query, description = "Only tasks in this state")),
    responses((status = 200, description = "HTML", body = String, content_type = "text/html")))]
pub async fn tasks(State(api): State<Api>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    answer(match asked {
        Ok(Query(asked)) => list(&api, asked).await,
        Err(_) => Err(Error::not_found(
            "the address asks for something that the page does not have",
        )),
    })
}

/// The page: one task with its history, steps and comments
#[utoipa::path(get, path = "/tasks/{id}", tag = "page", params(("id" = String, Path, description = "The task's id")),
    responses(
        (status = 200, description = "HTML", body = String, content_type = "text/html"),
        (status = 404, description = "HTML that says so", body = String, content_type = "text/html")))]
pub async fn task(State(api): State<Api>, id: Result<Path<String>, PathRejection>) -> Response {
    answer(match id {
        // Postgres would refuse it in words of its own.
        Ok(Path(id)) if id.contains('\0') => Err(Error::not_found(format!("there is no task {id:?}"))),
        Ok(Path(id)) => detail(&api, &TaskId::from(id)).await,
        Err(_) => Err(Error::not_found("the address holds no task id: it is not UTF-8")),
    })
}

/// The page's style sheet
#[utoipa::path(get, path = "/style.css", tag = "page",
    responses((status = 200, description = "CSS", body = String, content_type = "text/css")))]
pub async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("../templates/style.css"),
    )
}

async fn list(api: &Api, asked: Asked) -> Result<String, Error> {
    let states = match asked.status.as_str() {
        "" => Vec::new(),
        word => vec![
            word.parse::<store::State>()
                .map_err(|error| Error::not_found(error.what))?,
        ],
    };
    let filter = TaskFilter {
        limit: SHOWN,
        ..TaskFilter::default()
    };
    let counts = api.store.task_counts().await?;
    let tasks = api.store.page_of(&states, &filter, None).await?.tasks;
    render(&TasksPage {
        status: asked.status,
        stats: TaskStatus::ALL
            .into_iter()
            .map(|status| {
                (
                    status.as_str(),
                    counts.by_status.get(status.as_str()).copied().unwrap_or(0),
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect(),
        tasks: tasks.iter().map(Row::from).collect(),
        limit: SHOWN as usize,
    })
}

async fn detail(api: &Api, id: &TaskId) -> Result<String, Error> {
    let task = api.store.task(id).await?;
    let events = api.store.events(id, EVENTS).await?;
    let steps = api.store.steps(id).await?;
    render(&TaskPage {
        task: Row::from(&task),
        report: clean_json(task.result.as_ref()).as_ref().and_then(report::of),
        events: events
            .into_iter()
            .map(|event| Event {
                at: moment(event.at),
                kind: event.kind,
                summary: clean(&event.summary),
            })
            .collect(),
        steps: steps
            .into_iter()
            .map(|step| Step {
                state: if step.done_at.is_some() { "done" } else { "begun" },
                took: step
                    .done_at
                    .map(|done| length(done - step.started_at))
                    .unwrap_or_default(),
                started_at: moment(step.started_at),
                key: if step.scope == "run" {
                    step.key
                } else {
                    format!("{}: {}", step.scope, step.key)
                },
                kind: step.kind,
            })
            .collect(),
    })
}

fn render(page: &impl Template) -> Result<String, Error> {
    page.render()
        .map_err(|error| Error::internal("could not make the page").because(&error))
}

fn answer(page: Result<String, Error>) -> Response {
    let error = match page {
        Ok(html) => return Html(html).into_response(),
        Err(error) => error,
    };
    let (status, title) = match error.kind {
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, "There is no such thing"),
        _ => {
            tracing::error!(%error, "the page could not be shown");
            (StatusCode::SERVICE_UNAVAILABLE, "The page cannot be shown now")
        }
    };
    let page = MissingPage {
        title: title.to_owned(),
        what: error.to_string(),
    };
    match render(&page) {
        Ok(html) => (status, Html(html)).into_response(),
        Err(_) => status.into_response(),
    }
}

impl From<&TaskRow> for Row {
    fn from(task: &TaskRow) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let id = task.id.to_string();
        let parent = task
            .parent_task_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        Self {
            href: path_part(&id),
            parent_href: path_part(&parent),
            headline: headline(task),
            state: shown_state(task),
            state_class: shown_state(task),
            asks_for: asks_for(task).unwrap_or(""),
            over: is_over(task),
            priority: task.priority.into(),
            task_type: task.task_type.clone(),
            assigned_to: text(&task.assigned_to),
            created_by: text(&task.created_by),
            repo_id: text(&task.repo_id),
            created_at: moment(task.created_at),
            completed_at: task.completed_at.map(moment).unwrap_or_default(),
            took: task
                .started_at
                .zip(task.completed_at)
                .map(|(begun, done)| length(done - begun))
                .unwrap_or_default(),
            attempt: task.attempt,
            waits_for: waits_for(task).unwrap_or_default(),
            error: clean(task.error.as_deref().unwrap_or_default()),
            payload: json(task.payload.as_ref()),
            result: json(task.result.as_ref()),
            id,
            parent,
        }
    }
}

/// What the task came to, or else what it asks: one line that tells it from its neighbours.
fn headline(task: &TaskRow) -> String {
    let result = task.result.as_ref().and_then(|result| result["summary"].as_str());
    let payload = task.payload.as_ref();
    let asked = payload.and_then(|payload| payload["instruction"].as_str());
    let pipeline = payload.and_then(|payload| payload["pipeline"]["id"].as_u64());
    let text = match (result.or(asked), pipeline) {
        (Some(text), _) => text.to_owned(),
        (None, Some(pipeline)) => format!("pipeline {pipeline}"),
        (None, None) => task.id.to_string(),
    };
    let line = clean(text.lines().next().unwrap_or_default());
    match line.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn json(value: Option<&Value>) -> String {
    let Some(value) = clean_json(value).filter(|value| !value.is_null()) else {
        return String::new();
    };
    let text = serde_json::to_string_pretty(&value).unwrap_or_default();
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}\n… cut here; GET /api/tasks/ID has the rest", &text[..end]),
        None => text,
    }
}

/// An id is whatever its creator wrote; in an address it must stay one part of the path.
fn path_part(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn length(delta: TimeDelta) -> String {
    let millis = delta.num_milliseconds().max(0);
    match millis {
        0..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis / 1000 % 60),
        _ => format!("{} h {} min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_as_people_say_them() {
        let said = |millis| length(TimeDelta::milliseconds(millis));
        assert_eq!(
            [said(7), said(1540), said(61_000), said(3_720_000)],
            ["7 ms", "1.5 s", "1 min 1 s", "1 h 2 min"]
        );
    }

    #[test]
    fn any_id_is_one_part_of_a_path() {
        assert_eq!(path_part("a/b ?#é"), "a%2Fb%20%3F%23%C3%A9");
    }
}
