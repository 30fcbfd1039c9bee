//! `longshore tasks watch`: a task's history as it happens, until it ends.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::Duration;

use api::TaskView;
use domain::{Error, TaskId, TaskStatus};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use store::{Store, TaskEvent, TaskRow};
use tokio::io::Interest;
use tokio::net::unix::pipe::Sender;
use tokio::time::Instant;

use super::tasks::headline;
use crate::cli::WatchTask;
use crate::exit::{Exit, Outcome};
use crate::output::{Output, cell, indented, moment};
use crate::shutdown::Shutdown;

/// Between looks. Watching is for people; a second is what they notice.
const EVERY: Duration = Duration::from_millis(500);
const EVENTS: u32 = 1000;
/// So many events that were shown are looked at again: one before them may be committed late.
const AGAIN: usize = 20;

/// What was shown of a task so far.
#[derive(Default)]
pub struct Shown {
    state: Option<&'static str>,
    events: BTreeSet<i64>,
}

/// What is new since the last look.
pub struct News {
    /// The whole task where its state is new.
    pub task: Option<TaskRow>,
    pub events: Vec<TaskEvent>,
}

impl Shown {
    /// `task`: as it stood just before, without what may be large.
    pub async fn look(&mut self, store: &Store, task: &TaskRow) -> Result<News, Error> {
        let id = &task.id;
        // The task before its events: if it is over here, all of them are there.
        let task = match self.state == Some(api::shown_state(task)) {
            true => None,
            false => Some(store.task(id).await?),
        };
        let after = self.events.iter().rev().nth(AGAIN).copied().unwrap_or(0);
        let mut events = store.events_after(id, after, EVENTS).await?;
        events.retain(|event| !self.events.contains(&event.id));
        self.events.extend(events.iter().map(|event| event.id));
        if let Some(task) = &task {
            self.state = Some(api::shown_state(task));
        }
        Ok(News { task, events })
    }
}

/// How far the task is, on a line that is redrawn; for programs a line of JSON each time it changes.
struct Meter {
    out: Output,
    bar: Option<ProgressBar>,
    last: Option<(i64, Option<String>)>,
}

impl Meter {
    fn new(out: Output) -> Self {
        let bar = (out.terminal && !out.json).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { out, bar, last: None }
    }

    /// The task as it stands, without what may be large.
    async fn look(&mut self, store: &Store, id: &TaskId) -> Result<TaskRow, Error> {
        let Some(progress) = store.progress(std::slice::from_ref(id)).await?.pop() else {
            // The words for what is not there.
            return store.task(id).await;
        };
        let now = (progress.steps_done, progress.step);
        if let Some(bar) = &self.bar {
            bar.set_message(said(&progress.task, &now));
        } else if self.out.json && self.last.as_ref() != Some(&now) {
            let (done, step) = &now;
            self.out
                .value(&json!({ "progress": { "steps_done": done, "step": step } }))?;
        }
        self.last = Some(now);
        Ok(progress.task)
    }

    /// Prints above the line.
    fn above(&self, print: impl FnOnce() -> Result<(), Error>) -> Result<(), Error> {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `in_progress, 3 steps done, at shift/30`, or what it waits for.
fn said(task: &TaskRow, (done, step): &(i64, Option<String>)) -> String {
    let steps = if *done == 1 { "step" } else { "steps" };
    let mut text = format!("{}, {done} {steps} done", api::shown_state(task));
    let view = TaskView::from(task);
    if let Some(why) = &view.waits_for {
        text.push_str(&format!(", waits {}", cell(why)));
    } else if let Some(step) = step {
        text.push_str(&format!(", at {}", cell(step)));
    }
    text
}

pub async fn run(store: &Store, wanted: &WatchTask, out: Output) -> Outcome {
    let shutdown = Shutdown::listen()?;
    let watching = watch(store, wanted, out);
    tokio::select! {
        seen = shutdown.unless_stopped(watching) => seen.unwrap_or_else(|| Ok(shutdown.exit())),
        // Nobody sees the end any more.
        () = reader_gone() => Ok(Exit::Unreachable),
    }
}

async fn watch(store: &Store, wanted: &WatchTask, out: Output) -> Outcome {
    let id = TaskId::from(wanted.id.as_str());
    // A moment past the end of all clocks is none.
    let until = wanted
        .timeout
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let mut shown = Shown::default();
    let mut meter = Meter::new(out);
    let mut away = false;
    loop {
        let looked = async {
            let task = meter.look(store, &id).await?;
            shown.look(store, &task).await
        };
        match looked.await {
            Ok(news) => {
                away = false;
                meter.above(|| tell(&news, out))?;
                if let Some(task) = news.task.filter(api::is_over) {
                    return Ok(match task.status {
                        TaskStatus::Completed => Exit::Done,
                        _ => Exit::No,
                    });
                }
            }
            // A database that restarts is waited for, as the task itself does.
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut away, true) {
                    let error = error.next("It is looked again until it answers; Ctrl-C ends the watching");
                    meter.above(|| {
                        out.error(&error);
                        Ok(())
                    })?;
                }
            }
            Err(error) => return Err(error.into()),
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            return Err(
                Error::timeout("the task has not ended in the time that was given")
                    .next("It goes on without being watched; look again with `longshore tasks show`")
                    .into(),
            );
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Ends when whoever reads standard output has closed it. A file never does.
async fn reader_gone() {
    // Only watched: what is written goes the usual way.
    let reader = std::io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .and_then(|own| Sender::from_file_unchecked(own.into()));
    match reader {
        Ok(reader) => {
            let _ = reader.ready(Interest::ERROR).await;
        }
        Err(_) => std::future::pending().await,
    }
}

fn tell(news: &News, out: Output) -> Result<(), Error> {
    if out.json {
        for event in &news.events {
            out.value(&json!({ "event": event }))?;
        }
        if let Some(task) = &news.task {
            out.value(&json!({ "task": TaskView::from(task) }))?;
        }
        return Ok(());
    }
    for event in &news.events {
        out.text(&format!(
            "{}  {}: {}",
            moment(event.at),
            cell(&event.kind),
            indented(&event.summary, 4)
        ))?;
    }
    if let Some(task) = &news.task {
        let (state, about) = (api::shown_state(task), headline(task));
        let about = if about.is_empty() {
            String::new()
        } else {
            format!(": {about}")
        };
        out.text(&format!("{}{about}", out.state(state)))?;
    }
    Ok(())
}
