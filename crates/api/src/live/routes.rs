//! `GET /api/events` and `GET /api/tasks/{id}/events`.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use domain::{ErrorKind, TaskId};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{News, Past, Progress};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use utoipa::IntoParams;

use super::feed::{Item, Place};
use super::heard::Heard;
use crate::auth::{self, Caller};
use crate::error::{ApiError, ApiResult, ErrorBody};
use crate::query::said;
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
    #[serde(default, deserialize_with = "said")]
    repo_id: Option<String>,
    /// Only of tasks of this type.
    #[serde(rename = "type", default, deserialize_with = "said")]
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

/// `heard`: with this event, what `Last-Event-ID` brings back.
fn history(news: &News, heard: &Heard) -> Event {
    let line = Line {
        task_id: &news.task,
        task_type: &news.task_type,
        repo_id: &news.repo_id,
        event: EventView::from(&news.event),
    };
    event("history", &line).id(heard.to_string())
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
/// `history`: an event, with `task_id`, `task_type` and `repo_id`. Whoever comes back with `Last-Event-ID`, the `id` of the last
/// event that was heard, is told what came after it, also what was written before and committed later; where that is more than
/// 1000 events the stream ends after so many, and the next call goes on. Without it the stream begins now. `dropped`: the
/// follower was too slow; call again. `denied`: the token is of no use any more, and the stream ends.
#[utoipa::path(get, path = "/api/events", tag = "live",
    params(Wanted, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard")),
    responses(
        (status = 200, description = "Server-sent events, without end", body = String, content_type = "text/event-stream"),
        (status = 503, description = "Too many follow already", body = ErrorBody)))]
pub async fn of_all(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> ApiResult<Response> {
    let Query(wanted) = wanted.map_err(|error| ApiError::unreadable(error.body_text()))?;
    let sent = last_event(&api, &headers).await?;
    let place = api.feed.follow(None).await?;
    // What this place does not bring, as it was read before.
    let from = place.from.clone();
    let known = sent.unwrap_or_else(|| from.clone());
    let whole = known.and(&from);
    let late: Vec<i64> = known
        .missing
        .iter()
        .copied()
        .filter(|id| from.knows(*id))
        .collect();
    let except: Vec<i64> = from.missing.range(known.last..).copied().collect();
    let missed = match known.last < from.last || !late.is_empty() {
        true => {
            let past = Past {
                late: &late,
                after: known.last,
                until: from.last,
                except: &except,
                task_type: wanted.task_type.as_deref(),
                repo_id: wanted.repo_id.as_deref(),
                limit: REPLAY,
            };
            api.store.news_of(&past).await?
        }
        false => Vec::new(),
    };
    // What came behind these would be lost if the stream went on with what is new.
    let then = match missed.len() >= REPLAY as usize {
        true => Then::Stop,
        false => Then::GoOn,
    };
    let past = missed
        .iter()
        .map(|news| history(news, &known.on_the_way_to(&whole, news.event.id)))
        .collect();
    let pick = move |item: Item| match item {
        Item::News(news, heard) if wanted.wants(&news) && !known.knows(news.event.id) => {
            (vec![history(&news, &known.and(&heard))], Then::GoOn)
        }
        _ => (Vec::new(), Then::GoOn),
    };
    Ok(open(api, caller, place, (past, then), pick))
}

/// Follow one task until it ends
///
/// `history`: an event of its, the newest 1000 of its past first. With `Last-Event-ID` those that came after it are told instead;
/// where that is more than 1000 events the stream ends after so many, and the next call goes on. `state`: how far it is:
/// `{"task_id", "state", "attempt", "waits_for", "steps_done", "step"}`. `end`: it is over: `{"task": {…}}`, and the stream
/// ends. `gone`: it was deleted: `{"task_id"}`, and the stream ends. `dropped`: the follower was too slow; call again. `denied`:
/// the token is of no use any more, and the stream ends.
#[utoipa::path(get, path = "/api/tasks/{id}/events", tag = "live",
    params(("id" = String, Path, description = "The task's id"), ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was heard")),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        (status = 404, description = "There is no such task", body = ErrorBody),
        (status = 503, description = "Too many follow already", body = ErrorBody)))]
pub async fn of_task(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> ApiResult<Response> {
    let id = task_id(id)?;
    let sent = last_event(&api, &headers).await?;
    api.store.task(&id).await?;
    let place = api.feed.follow(Some(id.clone())).await?;
    // The task before its events: if it is over here, all of them are there.
    let now = api.store.progress(std::slice::from_ref(&id)).await?.pop();
    let (events, is_cut) = match &sent {
        None => (api.store.events(&id, REPLAY).await?, false),
        Some(known) => {
            let late: Vec<i64> = known.missing.iter().copied().collect();
            let missed = api.store.missed_events(&id, &late, known.last, REPLAY).await?;
            let is_cut = missed.len() >= REPLAY as usize;
            (missed, is_cut)
        }
    };
    let known = sent.unwrap_or_default();
    let whole = known.and(&place.from);
    let told: BTreeSet<i64> = events.iter().map(|event| event.id).collect();
    let mut past: Vec<Event> = Vec::new();
    for event in events {
        let news = News {
            task: id.clone(),
            task_type: now.as_ref().map(|now| now.task.task_type.clone()),
            repo_id: now.as_ref().and_then(|now| now.task.repo_id.clone()),
            event,
        };
        // Of what was written since, others may be about to appear before it: it is told twice rather than they never.
        let heard = match place.from.knows(news.event.id) {
            true => known.on_the_way_to(&whole, news.event.id),
            false => whole.clone(),
        };
        past.push(history(&news, &heard));
    }
    past.extend(now.as_ref().filter(|_| !is_cut).map(state));
    let then = match now.as_ref().is_none_or(|now| is_over(&now.task)) {
        // What came behind these would be lost if the stream went on with what is new.
        _ if is_cut => Then::Stop,
        true => Then::End,
        false => Then::GoOn,
    };
    let mut before = now;
    let pick = move |item: Item| match item {
        Item::News(news, heard)
            if news.task == id && !told.contains(&news.event.id) && !known.knows(news.event.id) =>
        {
            (vec![history(&news, &known.and(&heard))], Then::GoOn)
        }
        Item::Progress(progress) if progress.task.id == id && before.as_ref() != Some(&progress) => {
            before = Some((*progress).clone());
            let then = match is_over(&progress.task) {
                true => Then::End,
                false => Then::GoOn,
            };
            (vec![state(&progress)], then)
        }
        Item::Gone(task) if task == id => (vec![gone(&task)], Then::Stop),
        _ => (Vec::new(), Then::GoOn),
    };
    Ok(open(api, caller, place, (past, then), pick))
}

async fn last_event(api: &Api, headers: &HeaderMap) -> ApiResult<Option<Heard>> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let heard: Option<Heard> = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let heard = heard.ok_or_else(|| {
        ApiError::field("Last-Event-ID", "`Last-Event-ID` is not the id of an event")
            .next("Send the `id` of the last event that was heard as it stood in the stream, or leave it out")
    })?;
    // From there on nothing would be told until this database has written as many.
    if heard.last > api.store.last_event_id().await? {
        return Err(ApiError::field(
            "Last-Event-ID",
            "`Last-Event-ID` is ahead of all events: it is of another database, or of this one before it was restored",
        )
        .next("Leave it out: the stream then begins now"));
    }
    Ok(Some(heard))
}

/// How a stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    /// The task is over, which is told last.
    End,
    Stop,
}

fn gone(id: &TaskId) -> Event {
    event("gone", &json!({ "task_id": id, "what": "the task was deleted" }))
}

async fn end(api: &Api, id: &TaskId) -> Option<Event> {
    match api.store.task(id).await {
        Ok(task) => Some(event("end", &json!({ "task": TaskView::from(&task) }))),
        Err(error) if error.kind == ErrorKind::NotFound => Some(gone(id)),
        Err(error) => {
            tracing::warn!(%error, task.id = %id, "the end of a task could not be told");
            None
        }
    }
}

/// A stream of what was, and then of what is picked.
fn open(
    api: Api,
    caller: Caller,
    place: Place,
    past: (Vec<Event>, Then),
    pick: impl FnMut(Item) -> (Vec<Event>, Then) + Send + 'static,
) -> Response {
    let (sender, response) = line();
    tokio::spawn(async move {
        let id = place.task().cloned();
        if forward(&api, &caller, place, &sender, past, pick).await == Some(Then::End)
            && let Some(id) = id
            && let Some(end) = end(&api, &id).await
        {
            let _ = sender.send_timeout(end, SLOWEST).await;
        }
    });
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

/// Sends what is picked until nothing more is to be sent, and answers why; none when the follower went or is too slow.
async fn forward(
    api: &Api,
    caller: &Caller,
    mut place: Place,
    sender: &mpsc::Sender<Event>,
    (past, mut then): (Vec<Event>, Then),
    mut pick: impl FnMut(Item) -> (Vec<Event>, Then),
) -> Option<Then> {
    for event in past {
        sender.send_timeout(event, SLOWEST).await.ok()?;
    }
    let period = api.config.live_check;
    let mut check = tokio::time::interval_at(Instant::now() + period, period);
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while then == Then::GoOn {
        let item = tokio::select! {
            item = place.items.recv() => item,
            _ = check.tick() => {
                if let Err(refusal) = auth::still(api, caller).await {
                    tracing::info!(caller.name = %caller.name, "a follower's token is of no use any more, and the stream ends");
                    let error = refusal.error;
                    let told = json!({ "what": error.what, "next": error.next });
                    sender.send_timeout(event("denied", &told), SLOWEST).await.ok()?;
                    return Some(Then::Stop);
                }
                continue;
            }
            () = sender.closed() => return None,
            () = api.feed.closed() => return None,
        };
        let events = match item {
            Ok(item) => {
                let (events, next) = pick(item);
                then = next;
                events
            }
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
    }
    Some(then)
}
