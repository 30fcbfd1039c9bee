//! `longshore tasks watch`: a task's history as it happens, until it ends.

use std::time::Duration;

use api::TaskView;
use domain::{Error, TaskId, TaskStatus};
use serde_json::json;
use store::{Store, TaskEvent, TaskRow};
use tokio::time::Instant;

use super::tasks::headline;
use crate::cli::WatchTask;
use crate::exit::{Exit, Outcome};
use crate::output::{Output, harmless, moment};
use crate::shutdown::Shutdown;

/// Between looks. Watching is for people; a second is what they notice.
const EVERY: Duration = Duration::from_millis(500);
const EVENTS: u32 = 1000;

/// What was shown of a task so far.
#[derive(Default)]
pub struct Shown {
    state: Option<&'static str>,
    events: usize,
}

/// What is new since the last look.
pub struct News {
    pub task: TaskRow,
    pub state: Option<&'static str>,
    pub events: Vec<TaskEvent>,
}

impl Shown {
    pub async fn look(&mut self, store: &Store, id: &TaskId) -> Result<News, Error> {
        let task = store.task(id).await?;
        let events = store.events(id, EVENTS).await?;
        let state = api::shown_state(&task);
        let changed = (self.state != Some(state)).then_some(state);
        let fresh = events.into_iter().skip(self.events).collect::<Vec<_>>();
        self.state = Some(state);
        self.events += fresh.len();
        Ok(News {
            task,
            state: changed,
            events: fresh,
        })
    }
}

pub async fn run(store: &Store, wanted: &WatchTask, out: Output) -> Outcome {
    let shutdown = Shutdown::listen()?;
    let id = TaskId::from(wanted.id.as_str());
    let until = wanted
        .timeout
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut shown = Shown::default();
    loop {
        let news = match shown.look(store, &id).await {
            Ok(news) => news,
            // A database that restarts is waited for, as the task itself does.
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "the database does not answer; looking again");
                if pause(&shutdown, until).await? {
                    continue;
                }
                return Ok(shutdown.exit());
            }
            Err(error) => return Err(error.into()),
        };
        tell(&news, out)?;
        if api::is_over(&news.task) {
            return Ok(match news.task.status {
                TaskStatus::Completed => Exit::Done,
                _ => Exit::No,
            });
        }
        if !pause(&shutdown, until).await? {
            return Ok(shutdown.exit());
        }
    }
}

/// False when a signal came.
async fn pause(shutdown: &Shutdown, until: Option<Instant>) -> Result<bool, Error> {
    if until.is_some_and(|until| Instant::now() >= until) {
        return Err(
            Error::timeout("the task has not ended in the time that was given")
                .next("It goes on without being watched; look again with `longshore tasks show`"),
        );
    }
    Ok(shutdown.unless_stopped(tokio::time::sleep(EVERY)).await.is_some())
}

fn tell(news: &News, out: Output) -> Result<(), Error> {
    if out.json {
        for event in &news.events {
            out.value(&json!({ "event": event }))?;
        }
        if news.state.is_some() {
            out.value(&json!({ "task": TaskView::from(&news.task) }))?;
        }
        return Ok(());
    }
    for event in &news.events {
        out.text(&format!(
            "{}  {}: {}",
            moment(event.at),
            event.kind,
            harmless(&event.summary)
        ))?;
    }
    if let Some(state) = news.state {
        let about = headline(&news.task);
        let about = if about.is_empty() {
            String::new()
        } else {
            format!(": {about}")
        };
        out.text(&format!("{}{about}", out.state(state)))?;
    }
    Ok(())
}
