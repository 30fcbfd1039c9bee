//! `GET /api/events` and `GET /api/tasks/{id}/events`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::TaskId;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{News, Progress};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::feed::{Feed, Item, Place};
use crate::error::{ApiError, ApiResult, ErrorBody};
use crate::server::Api;
use crate::tasks::task_id;
use crate::view::{EventView, TaskView, is_over, shown_state, waits_for};

/// A comment is sent after so long a silence, so that nobody in between takes the line for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How many pieces of news wait for one follower's line, and how long the first of them may.
const OUTBOX: usize = 64;
const SLOWEST: Duration = Duration::from_secs(10);
/// Most events that are told anew to one who comes back, or of a task's past.
const REPLAY: u32 = 1000;

/// Which events are wanted.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Only of this repository's tasks.
    repo_id: Option<String>,
    /// Only of tasks of this type.
    #[serde(rename = "type")]
    task_type: Option<String>,
}

impl Wanted {
    fn wants(&self, news: &News) -> bool {
        let fits = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
        fits(&self.repo_id, &news.repo_id) && fits(&self.task_type, &news.task_type)
    }
}

/// One event with its task, as a line of the stream.
#[derive(Serialize)]
struct Line<'a> {
    task_id: &'a TaskId,
    task_type: &'a Option<String>,
    repo_id: &'a Option<String>,
    #[serde(flatten)]
    event: EventView,
}

fn history(news: &News) -> Event {
    let line = Line {
        task_id: &news.task,
        task_type: &news.task_type,
        repo_id: &news.repo_id,
        event: EventView::from(&news.event),
    };
    event("history", &line).id(news.event.id.to_string())
}

/// How far a task is, in a line.
fn state(progress: &Progress) -> Event {
    let task = &progress.task;
    event(
        "state",
        &json!({
            "task_id": task.id,
            "state": shown_state(task),
            "attempt": task.attempt,
            "waits_for": waits_for(task),
            "steps_done": progress.steps_done,
            "step": progress.step,
        }),
    )
}

fn event(name: &str, data: &impl Serialize) -> Event {
    Event::default()
        .event(name)
        .data(serde_json::to_string(data).unwrap_or_default())
}

/// Follow what happens to all tasks
///
/// `history`: an event, with `task_id`, `task_type` and `repo_id`. Whoever comes back with `Last-Event-ID` is told what came
/// after it; where that is more than 1000 events the stream ends after so many, and the next call goes on. Without it the
/// stream begins now. `dropped`: the follower was too slow; call again.
#[utoipa::path(get, path = "/api/events", tag = "live",
    params(Wanted, ("Last-Event-ID" = Option<i64>, Header, description = "The id of the last event that was heard")),
    responses(
        (status = 200, description = "Server-sent events, without end", body = String, content_type = "text/event-stream"),
        (status = 503, description = "Too many follow already", body = ErrorBody)))]
pub async fn of_all(
    State(api): State<Api>,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> ApiResult<Response> {
    let Query(wanted) = wanted.map_err(|error| ApiError::unreadable(error.body_text()))?;
    // Read before the place is live, so that nothing can fall between.
    let after = match last_event(&headers)? {
        Some(id) => id,
        None => api.store.newest_event().await?,
    };
    let place = api.feed.follow(None).await?;
    let missed = api
        .store
        .news_of(
            after,
            wanted.task_type.as_deref(),
            wanted.repo_id.as_deref(),
            REPLAY,
        )
        .await?;
    // What came behind these would be lost if the stream went on with what is new.
    let more = missed.len() >= REPLAY as usize;
    let told: BTreeSet<i64> = missed.iter().map(|news| news.event.id).collect();
    let past = missed.iter().map(history).collect();
    let pick = move |item: Item| match item {
        Item::News(news) if wanted.wants(&news) && !told.contains(&news.event.id) => {
            vec![history(&news)]
        }
        _ => Vec::new(),
    };
    Ok(open(&api.feed, place, past, more, move |item| {
        (pick(item), false)
    }))
}

/// Follow one task until it ends
///
/// `history`: an event of its, those of its past first (with `Last-Event-ID`: those after it). `state`: how far it is:
/// `{"task_id", "state", "attempt", "waits_for", "steps_done", "step"}`. `end`: it is over: `{"task": {…}}`, and the stream
/// ends. `dropped`: the follower was too slow; call again.
#[utoipa::path(get, path = "/api/tasks/{id}/events", tag = "live",
    params(("id" = String, Path, description = "The task's id"), ("Last-Event-ID" = Option<i64>, Header, description = "The id of the last event that was heard")),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 404, description = "There is no such task", body = ErrorBody),
        (status = 503, description = "Too many follow already", body = ErrorBody)))]
pub async fn of_task(
    State(api): State<Api>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> ApiResult<Response> {
    let id = task_id(id)?;
    let after = last_event(&headers)?.unwrap_or(0);
    api.store.task(&id).await?;
    let place = api.feed.follow(Some(id.clone())).await?;
    // The task before its events: if it is over here, all of them are there.
    let now = api.store.progress(std::slice::from_ref(&id)).await?.pop();
    let events = api.store.events(&id, REPLAY).await?;
    let told: BTreeSet<i64> = events.iter().map(|event| event.id).collect();
    let mut past: Vec<Event> = Vec::new();
    for event in events.into_iter().filter(|event| event.id > after) {
        past.push(history(&News {
            task: id.clone(),
            task_type: now.as_ref().map(|now| now.task.task_type.clone()),
            repo_id: now.as_ref().and_then(|now| now.task.repo_id.clone()),
            event,
        }));
    }
    past.extend(now.as_ref().map(state));
    let over = now.as_ref().is_none_or(|now| is_over(&now.task));
    if over {
        past.push(end(&api, &id).await?);
    }
    let mut known = now;
    let pick = move |item: Item| match item {
        Item::News(news) if news.task == id && !told.contains(&news.event.id) => {
            (vec![history(&news)], false)
        }
        Item::Progress(progress) if progress.task.id == id && known.as_ref() != Some(&progress) => {
            known = Some((*progress).clone());
            (vec![state(&progress)], is_over(&progress.task))
        }
        _ => (Vec::new(), false),
    };
    Ok(open_task(&api, place, past, over, pick))
}

fn last_event(headers: &HeaderMap) -> ApiResult<Option<i64>> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    id.map(Some).ok_or_else(|| {
        ApiError::field("Last-Event-ID", "`Last-Event-ID` is not the id of an event")
            .next("Send the `id` of the last event that was heard, a whole number, or leave it out")
    })
}

async fn end(api: &Api, id: &TaskId) -> domain::Result<Event> {
    let task = api.store.task(id).await?;
    Ok(event("end", &json!({ "task": TaskView::from(&task) })))
}

fn open_task(
    api: &Api,
    place: Place,
    past: Vec<Event>,
    over: bool,
    pick: impl FnMut(Item) -> (Vec<Event>, bool) + Send + 'static,
) -> Response {
    let (sender, response) = line();
    let (api, feed) = (api.clone(), api.feed.clone());
    tokio::spawn(async move {
        let id = place.task().cloned();
        if forward(&feed, place, &sender, past, over, pick).await.is_some()
            && let Some(id) = id
        {
            match end(&api, &id).await {
                Ok(end) => _ = sender.send_timeout(end, SLOWEST).await,
                Err(error) => tracing::warn!(%error, task.id = %id, "the end of a task could not be told"),
            }
        }
    });
    response
}

fn open(
    feed: &Feed,
    place: Place,
    past: Vec<Event>,
    over: bool,
    pick: impl FnMut(Item) -> (Vec<Event>, bool) + Send + 'static,
) -> Response {
    let (sender, response) = line();
    let feed = feed.clone();
    tokio::spawn(async move { forward(&feed, place, &sender, past, over, pick).await });
    response
}

fn line() -> (mpsc::Sender<Event>, Response) {
    let (sender, receiver) = mpsc::channel(OUTBOX);
    let events = stream::unfold(receiver, |mut receiver| async move {
        let event: Event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(event), receiver))
    });
    let alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    (sender, Sse::new(events).keep_alive(alive).into_response())
}

/// Sends what is picked until the follower goes or is too slow, or the task is over: only then something.
async fn forward(
    feed: &Feed,
    mut place: Place,
    sender: &mpsc::Sender<Event>,
    past: Vec<Event>,
    over: bool,
    mut pick: impl FnMut(Item) -> (Vec<Event>, bool),
) -> Option<()> {
    for event in past {
        sender.send_timeout(event, SLOWEST).await.ok()?;
    }
    if over {
        return None;
    }
    loop {
        let item = tokio::select! {
            item = place.items.recv() => item,
            () = sender.closed() => return None,
            () = feed.closed() => return None,
        };
        let (events, over) = match item {
            Ok(item) => pick(item),
            Err(RecvError::Closed) => return None,
            Err(RecvError::Lagged(missed)) => {
                tracing::info!(live.missed = missed, "a follower was too slow and is dropped");
                let told = json!({ "missed": missed, "next": "Call again with Last-Event-ID" });
                sender.send_timeout(event("dropped", &told), SLOWEST).await.ok()?;
                return None;
            }
        };
        for event in events {
            if sender.send_timeout(event, SLOWEST).await.is_err() {
                tracing::info!("a follower does not read and is dropped");
                return None;
            }
        }
        if over {
            return Some(());
        }
    }
}
