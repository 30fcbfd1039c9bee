//! `longshore create-task`: by the API's own rules, into the database or to an API elsewhere.

use std::io::Read;

use domain::Error;
use serde_json::{Map, Value, json};

use super::create_tasks;
use super::queue::strange;
use super::remote::Api;
use crate::cli::{CreateTask, Global, TaskFlags};
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, harmless};
use crate::wiring::{self, As};

pub async fn run(command: CreateTask, global: &Global, settings: &Settings, out: Output) -> Outcome {
    let url = command.dashboard_url.as_deref();
    let flags = match (&command.from, &command.task) {
        (Some(from), _) => return create_tasks::run(from, url, global, settings, out).await,
        (None, Some(flags)) => flags,
        (None, None) => {
            return Err(Failure(
                Error::invalid("it is not said what task").next("Give --task-type, or --from FILE"),
            ));
        }
    };
    let body = body(flags)?;
    // Judged here too, so that a wrong field is told in this command's words, wherever the task goes.
    let task = api::new_task(body.clone()).map_err(flag_error)?;
    let mut note = None;
    let answer = match url {
        Some(url) => Api::at(url, settings)?
            .create_task(&body)
            .await
            .map_err(Error::from)?,
        None => {
            let store = wiring::store(settings, As::Command).await?;
            let made = store.make_task(&task).await?;
            // A hint is not worth an error once the task is made.
            let served = store.served_types().await.unwrap_or_default();
            note = strange(&served, &task.task_type);
            store.close().await;
            json!(api::made(&made))
        }
    };
    let answer = match &note {
        Some(note) => with_note(answer, note),
        None => answer,
    };
    out.answer(&answer, |_| {
        let id = answer["task_id"].as_str().unwrap_or("(the API named no id)");
        if answer["status"] == "exists" {
            return harmless(&format!(
                "Task {id} with this dedupe key is unfinished; no other was made."
            ));
        }
        let whom = task
            .assigned_to
            .as_deref()
            .map_or_else(String::new, |agent| format!(" for {agent}"));
        let note = note
            .as_ref()
            .map_or_else(String::new, |note| format!("\nNote: {note}"));
        harmless(&format!(
            "Created {} task {id}{whom}, priority {}.{note}",
            task.task_type,
            task.priority.get()
        ))
    })?;
    Ok(Exit::Done)
}

fn with_note(mut answer: Value, note: &str) -> Value {
    answer["note"] = note.into();
    answer
}

/// The body that `POST /api/tasks` takes.
pub fn body(command: &TaskFlags) -> Result<Value, Failure> {
    let mut payload = payload(command.payload_json.as_deref())?;
    if let Some(instruction) = &command.instruction {
        if instruction.trim().is_empty() {
            return Err(Failure(
                Error::invalid("--instruction is blank").next("Say in it what is to be done"),
            ));
        }
        payload.insert("instruction".to_owned(), instruction.clone().into());
    }
    if payload.is_empty() {
        return Err(Failure(
            Error::invalid("the task says nothing of what to do")
                .next("Give --instruction \"…\" or --payload-json '{…}'; docs/cli.md shows both"),
        ));
    }
    if let Some(repo_id) = &command.repo_id {
        payload.entry("repo_id").or_insert_with(|| repo_id.clone().into());
    }
    let mut body = json!({ "type": command.task_type, "payload": payload });
    for (field, value) in [
        ("to", &command.agent),
        ("created_by", &command.created_by),
        ("repo_id", &command.repo_id),
        ("parent_task_id", &command.parent_task_id),
        ("dedupe_key", &command.dedupe_key),
    ] {
        if let Some(value) = value {
            body[field] = value.clone().into();
        }
    }
    if let Some(run_at) = command.run_at {
        body["run_at"] = json!(run_at);
    }
    if let Some(priority) = command.priority {
        body["priority"] = priority.into();
    }
    Ok(body)
}

fn payload(given: Option<&str>) -> Result<Map<String, Value>, Failure> {
    let wrong = |what: String| {
        Failure(
            Error::invalid(what)
                .next(r#"--payload-json takes one JSON object, such as '{"pipeline": {"id": 31}}'"#),
        )
    };
    let text = match given {
        None => return Ok(Map::new()),
        Some("-") => {
            let mut text = String::new();
            // A little over the limit is enough to say that it is too much.
            std::io::stdin()
                .lock()
                .take(8 * api::PAYLOAD_BYTES as u64)
                .read_to_string(&mut text)
                .map_err(|error| wrong(format!("could not read the payload from standard input: {error}")))?;
            text
        }
        Some(text) => text.to_owned(),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(payload)) => Ok(payload),
        Ok(_) => Err(wrong("the payload is not a JSON object".to_owned())),
        Err(error) => Err(wrong(format!("the payload is not JSON: {error}"))),
    }
}

/// The API's error, with the flag in place of the field where they differ in name.
pub fn flag_error(error: api::ApiError) -> Error {
    let flag = match error.field.as_deref() {
        Some("type") => "--task-type",
        Some("to") => "--agent",
        Some("priority") => "--priority",
        Some("created_by") => "--created-by",
        Some("repo_id") => "--repo-id",
        Some("parent_task_id") => "--parent-task-id",
        Some("dedupe_key") => "--dedupe-key",
        Some("run_at") => "--run-at",
        Some(_) => "the payload",
        None => return error.error,
    };
    error.error.context(format!("{flag} cannot be used"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[test]
    fn all_that_the_api_takes_can_be_said_by_flags() {
        let cli = Cli::try_parse_from([
            "longshore",
            "create-task",
            "--task-type=deploy",
            "--agent=devops",
            "--priority=7",
            "--created-by=pm",
            "--repo-id=r1",
            "--parent-task-id=p1",
            "--dedupe-key=k",
            "--run-at=2031-01-29T17:28:00+01:00",
            r#"--payload-json={"version": "v1"}"#,
        ]);
        let Ok(Command::CreateTask(CreateTask {
            task: Some(flags), ..
        })) = cli.map(|cli| cli.command)
        else {
            panic!("these are its flags");
        };
        let Ok(body) = body(&flags) else {
            panic!("they are a body");
        };
        let sent = json!({
            "type": "deploy", "to": "devops", "priority": 7, "created_by": "pm", "repo_id": "r1", "parent_task_id": "p1",
            "dedupe_key": "k", "run_at": "2031-01-29T16:28:00Z", "payload": {"version": "v1", "repo_id": "r1"}
        });
        assert_eq!(body, sent);
        let task = api::new_task(body).expect("the API takes it");
        assert_eq!(
            task.run_at.map(|at| at.timestamp()),
            Some(1_927_470_480),
            "{task:?}"
        );
    }
}
