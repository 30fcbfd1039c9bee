//! `longshore create-task --from`: tasks from a file, one a line, in batches that are made whole or not at all.

use std::path::Path;

use domain::{Error, ErrorKind};
use serde_json::json;
use store::{NotMade, Store};
use tokio::sync::mpsc;

use super::batches::{Batch, Lines, Unread};
use super::go_on::GoOn;
use super::remote::{Api, Refused};
use crate::cli::Global;
use crate::config::Settings;
use crate::exit::{Exit, Outcome, lacks_tables};
use crate::output::{Output, harmless};
use crate::shutdown::Shutdown;
use crate::wiring::{self, As};

pub async fn run(
    from: &Path,
    url: Option<&str>,
    global: &Global,
    settings: &Settings,
    out: Output,
) -> Outcome {
    let lines = Lines::open(from)?;
    let target = match url {
        Some(url) => Target::Api(Api::at(url, settings)?),
        None => Target::Database(wiring::store(settings, As::Command).await?),
    };
    let shutdown = Shutdown::listen()?;
    let source = Source {
        name: lines.name.clone(),
        go_on: GoOn::of(from, url, global),
    };
    let mut done = Done::default();
    let sent = send_all(&source, lines.read(), &target, &shutdown, &mut done).await;
    // Who asks twice does not wait for what is under way.
    if let (Target::Database(store), false) = (&target, shutdown.kill.is_cancelled()) {
        store.close().await;
    }
    match sent {
        Ok(()) => {}
        Err(Cut::Fault(error)) => return Err(error.into()),
        Err(Cut::Signal(error)) => {
            out.error(&error);
            return Ok(shutdown.exit());
        }
    }
    out.answer(
        &json!({"created": done.created, "existing": done.existing}),
        |_| {
            let there = match done.existing {
                0 => String::new(),
                1 => " 1 was there: an unfinished one with its dedupe key.".to_owned(),
                n => format!(" {n} were there: unfinished ones with their dedupe keys."),
            };
            match done.created {
                0 if done.existing == 0 => harmless(&format!("{} holds no task.", source.name)),
                1 => format!("Created 1 task.{there}"),
                n => format!("Created {n} tasks.{there}"),
            }
        },
    )?;
    Ok(Exit::Done)
}

/// Why not all are in.
enum Cut {
    Fault(Error),
    Signal(Error),
}

/// Sends batch after batch. At a first signal the one under way is waited for, so that it is known what is in.
async fn send_all(
    source: &Source,
    mut batches: mpsc::Receiver<Result<Batch, Unread>>,
    target: &Target,
    shutdown: &Shutdown,
    done: &mut Done,
) -> Result<(), Cut> {
    loop {
        let Some(read) = shutdown.unless_stopped(batches.recv()).await else {
            return Err(Cut::Signal(source.stopped(done)));
        };
        let read = read.unwrap_or_else(|| {
            Err(Unread {
                line: None,
                error: Error::internal(format!("the reading of {} broke off", source.name)),
            })
        });
        let batch = read.map_err(|unread| Cut::Fault(source.unread(unread, done)))?;
        if batch.tasks.is_empty() {
            return Ok(());
        }
        let sent = tokio::select! {
            sent = target.send(&batch) => sent,
            () = shutdown.kill.cancelled() => {
                let fault = Fault { place: None, error: Error::timeout(STOPPED) };
                return Err(Cut::Signal(source.not_sent(&batch, fault, done)));
            }
        };
        let (created, existing) = sent.map_err(|fault| Cut::Fault(source.not_sent(&batch, fault, done)))?;
        done.created += created;
        done.existing += existing;
        done.lines = batch.last;
    }
}

const STOPPED: &str = "stopped by a signal";

/// What is in the table.
#[derive(Default)]
struct Done {
    created: u64,
    existing: u64,
    /// The lines before the next batch.
    lines: usize,
}

/// Where tasks come from, in errors.
struct Source {
    name: String,
    go_on: GoOn,
}

impl Source {
    /// The error of one line, with what is in already.
    fn wrong_line(&self, line: usize, error: Error, done: &Done) -> Error {
        let what = format!("{}, line {line}: {}", self.name, error.what);
        told(
            Error { what, ..error },
            &self.go_on.after(done.lines, "mend the line and "),
        )
    }

    fn unread(&self, unread: Unread, done: &Done) -> Error {
        match unread.line {
            Some(line) => self.wrong_line(line, unread.error, done),
            None => told(unread.error, &self.go_on.after(done.lines, "")),
        }
    }

    fn stopped(&self, done: &Done) -> Error {
        let error = Error::unavailable(format!("{}: {STOPPED}", self.name));
        told(error, &self.go_on.after(done.lines, ""))
    }

    fn not_sent(&self, batch: &Batch, fault: Fault, done: &Done) -> Error {
        if let Some(line) = fault.place.and_then(|place| batch.lines.get(place)) {
            return self.wrong_line(*line, fault.error, done);
        }
        let error = fault.error;
        let lines = format!("{}-{}", done.lines + 1, batch.last);
        // What answers with something else than an API may have passed the tasks on to one.
        let is_strange = matches!(error.kind, ErrorKind::Internal | ErrorKind::Rejected);
        let is_known = lacks_tables(&error) || !error.is_transient() && !is_strange;
        let then = match (is_known, done.lines) {
            (true, _) => format!("Of {lines} none is in. {}", self.go_on.after(done.lines, "")),
            (false, 0) => unknown(&lines),
            (false, before) => format!("Lines 1-{before} are in. {}", unknown(&lines)),
        };
        let what = format!("{}, lines {lines}: {}", self.name, error.what);
        told(Error { what, ..error }, &then)
    }
}

fn unknown(lines: &str) -> String {
    format!("Whether {lines} are in is not known: tasks with a `dedupe_key` can be sent again")
}

/// The error with what to do about it, and then.
fn told(mut error: Error, then: &str) -> Error {
    let first = error.next.take().map_or_else(String::new, |next| {
        let stop = if next.ends_with(['.', '?']) { "" } else { "." };
        format!("{next}{stop} ")
    });
    error.next(format!("{first}{then}"))
}

enum Target {
    Database(Store),
    Api(Api),
}

/// Why a batch is not in; where one of its tasks is at fault, which.
struct Fault {
    place: Option<usize>,
    error: Error,
}

impl From<NotMade> for Fault {
    fn from(fault: NotMade) -> Self {
        Self {
            place: fault.place,
            error: fault.error,
        }
    }
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        let place = refused.field.as_deref().and_then(place);
        let error = match (place, refused.said) {
            // In the API's own words, but for the line, which it counts from the start of the batch.
            (Some(_), Some(said)) => Error {
                what: match said.split_once(": ") {
                    Some((line, what)) if line.starts_with("line ") => what.to_owned(),
                    _ => said,
                },
                causes: Vec::new(),
                ..refused.error
            },
            _ => refused.error,
        };
        Self { place, error }
    }
}

/// `17` of `tasks[17].priority`.
fn place(field: &str) -> Option<usize> {
    let (place, _) = field.strip_prefix("tasks[")?.split_once(']')?;
    place.parse().ok()
}

impl Target {
    /// How many were created, and how many existed.
    async fn send(&self, batch: &Batch) -> Result<(u64, u64), Fault> {
        match self {
            Self::Database(store) => {
                let made = store.make_tasks(&batch.tasks).await?;
                let existing = made.iter().filter(|made| made.exists).count();
                Ok(((made.len() - existing) as u64, existing as u64))
            }
            Self::Api(api) => Ok(api.create_tasks(batch.text.clone(), batch.tasks.len()).await?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            name: "tasks.ndjson".to_owned(),
            go_on: GoOn::at("tasks.ndjson"),
        }
    }

    fn batch() -> Batch {
        let text = "{\"type\": \"x\"}\n\n{\"type\": \"x\", \"repo_id\": \"r\"}\n";
        Lines::of("tasks.ndjson", text).batch().ok().expect("lines")
    }

    fn done(lines: usize) -> Done {
        Done {
            lines,
            ..Done::default()
        }
    }

    #[test]
    fn an_api_names_the_line_of_its_batch_and_we_that_of_the_file() {
        let refused = Refused {
            error: Error::invalid("http://x answered 422").next("Add it"),
            said: Some("line 3: `repo_id` is \"r\"".to_owned()),
            field: Some("tasks[1].repo_id".to_owned()),
        };
        let told = source()
            .not_sent(&batch(), refused.into(), &done(20_000))
            .to_string();
        assert_eq!(
            told,
            "tasks.ndjson, line 3: `repo_id` is \"r\". Add it. Lines 1-20000 are in: mend the line and go on with \
             `tail -n +20001 tasks.ndjson | longshore create-task --from -`"
        );
    }

    #[test]
    fn what_is_not_known_is_not_denied() {
        let told = |error: Error, lines: usize| {
            let fault = Fault::from(NotMade::from(error));
            source().not_sent(&batch(), fault, &done(lines)).to_string()
        };
        for error in [
            Error::unavailable("gone"),
            Error::timeout("gone"),
            Error::internal("gone"),
        ] {
            assert_eq!(
                told(error, 0),
                "tasks.ndjson, lines 1-3: gone. Whether 1-3 are in is not known: tasks with a `dedupe_key` can be sent again"
            );
        }
        let bare = told(Error::internal("no table").next(store::NOT_MIGRATED), 0);
        assert!(
            bare.contains("Of 1-3 none is in. None of the tasks is in") && !bare.contains("not known"),
            "{bare}"
        );
        assert_eq!(
            told(Error::denied("no"), 2),
            "tasks.ndjson, lines 3-3: no. Of 3-3 none is in. Lines 1-2 are in: go on with \
             `tail -n +3 tasks.ndjson | longshore create-task --from -`"
        );
    }

    #[test]
    fn what_cannot_be_read_is_no_fault_of_a_line() {
        let unread = Unread {
            line: None,
            error: Error::invalid("could not read tasks.ndjson"),
        };
        let told = source().unread(unread, &done(0)).to_string();
        assert_eq!(
            told,
            "could not read tasks.ndjson. None of the tasks is in: run the command again"
        );
    }
}
