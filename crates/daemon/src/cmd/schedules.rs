//! `longshore schedules list|show|set|enable|disable|delete|run-now`.

use domain::Error;
use serde_json::{Value, json};
use store::{Missed, NewSchedule, Overlap, Schedule, Store, Timetable};

use super::create_task::{body, flag_error};
use crate::cli::{MissedArg, OverlapArg, SchedulesCommand, SetSchedule};
use crate::config::Settings;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, cell, harmless, indented, moment};
use crate::wiring::{self, As};

/// Changes that are shown to people; programs get all that are kept.
const CHANGES: usize = 5;

/// `who` is at the command line.
pub async fn run(command: SchedulesCommand, settings: &Settings, who: &str, out: Output) -> Outcome {
    // What is wrong with the flags is told without a database.
    let wanted = match &command {
        SchedulesCommand::Set(set) => Some(new_schedule(set)?),
        _ => None,
    };
    let store = wiring::store(settings, As::Command).await?.by(who);
    let outcome = match (command, wanted) {
        (SchedulesCommand::Set(_), Some(wanted)) => set(&store, &wanted, out).await,
        (SchedulesCommand::Show { name }, _) => show(&store, &name, out).await,
        (SchedulesCommand::Enable { names }, _) => {
            each(&names, out, async |name| {
                Ok(said(&store.enable_schedule(name, true).await?))
            })
            .await
        }
        (SchedulesCommand::Disable { names }, _) => {
            each(&names, out, async |name| {
                Ok(said(&store.enable_schedule(name, false).await?))
            })
            .await
        }
        (SchedulesCommand::Delete { names }, _) => {
            each(&names, out, async |name| {
                store.delete_schedule(name).await?;
                Ok((
                    json!({ "status": "deleted", "name": name }),
                    format!("{name} is deleted."),
                ))
            })
            .await
        }
        (SchedulesCommand::RunNow { name }, _) => run_now(&store, &name, out).await,
        _ => list(&store, out).await,
    };
    store.close().await;
    outcome
}

fn new_schedule(set: &SetSchedule) -> Result<NewSchedule, Failure> {
    Timetable::parse(&set.cron, &set.time_zone)?;
    Ok(NewSchedule {
        name: set.name.clone(),
        cron: set.cron.clone(),
        time_zone: set.time_zone.clone(),
        task: api::new_task(body(&set.task)?).map_err(flag_error)?,
        overlap: match set.overlap {
            OverlapArg::Skip => Overlap::Skip,
            OverlapArg::Allow => Overlap::Allow,
        },
        missed: match set.missed {
            MissedArg::Once => Missed::Once,
            MissedArg::Skip => Missed::Skip,
        },
        enabled: !set.disabled,
    })
}

async fn set(store: &Store, wanted: &NewSchedule, out: Output) -> Outcome {
    let schedule = store.set_schedule(wanted).await?;
    let (value, text) = said(&schedule);
    out.answer(&value, |_| text)?;
    Ok(Exit::Done)
}

/// What a change came to, for programs and for people.
fn said(schedule: &Schedule) -> (Value, String) {
    let text = match schedule.next_run {
        Some(next) => format!("{} runs next at {}.", schedule.name, moment(next)),
        None => format!("{} is disabled.", schedule.name),
    };
    (json!(api::schedule_view(schedule)), text)
}

async fn list(store: &Store, out: Output) -> Outcome {
    let schedules = store.schedules().await?;
    let views: Vec<Value> = schedules
        .iter()
        .map(|schedule| json!(api::schedule_view(schedule)))
        .collect();
    out.answer(&json!({ "schedules": views }), |out| {
        if schedules.is_empty() {
            return "No schedules yet. `longshore schedules set NAME --cron … --task-type …` makes one."
                .to_owned();
        }
        let mut table = out.table(
            &["NAME", "CRON", "ZONE", "TYPE", "NEXT RUN", "LAST RUN", "CAME TO"],
            3,
        );
        for schedule in &schedules {
            let next = match schedule.next_run {
                Some(next) => moment(next),
                None if schedule.enabled => "never".to_owned(),
                None => "disabled".to_owned(),
            };
            table.add_row([
                cell(&schedule.name).into(),
                cell(&schedule.cron).into(),
                cell(&schedule.time_zone).into(),
                cell(schedule.task["task_type"].as_str().unwrap_or("")).into(),
                next.into(),
                schedule.last_run.map(moment).unwrap_or_default().into(),
                out.status_cell(&came_to(schedule)),
            ]);
        }
        out.lines(table)
    })?;
    Ok(Exit::Done)
}

/// What became of the last run, be it made or skipped.
fn came_to(schedule: &Schedule) -> String {
    if schedule.skipped_run > schedule.last_run {
        return "skipped".to_owned();
    }
    match (&schedule.last_task_status, schedule.last_run) {
        (Some(status), _) => cell(status),
        (None, Some(_)) => "(no longer kept)".to_owned(),
        (None, None) => String::new(),
    }
}

async fn show(store: &Store, name: &str, out: Output) -> Outcome {
    let schedule = store.schedule(name).await?;
    let changes = api::schedule_changes(store, name).await?;
    let mut view = json!(api::schedule_view(&schedule));
    view["changes"] = json!(changes);
    out.answer(&view, |_| {
        let mut text = format!("{}\n", cell(&schedule.name));
        let mut fact = |name: &str, value: &str| {
            if !value.is_empty() {
                text.push_str(&format!("{:<14} {}\n", format!("{name}:"), indented(value, 15)));
            }
        };
        fact("Cron", &schedule.cron);
        fact("In words", view["in_words"].as_str().unwrap_or(""));
        fact("Time zone", &schedule.time_zone);
        fact("Enabled", if schedule.enabled { "yes" } else { "no" });
        fact("Overlapping", &schedule.overlap);
        fact("Missed runs", &schedule.missed);
        fact("Next run", &schedule.next_run.map(moment).unwrap_or_default());
        let last = schedule.last_run.map(moment).unwrap_or_default();
        fact("Last run", &last);
        let status = schedule.last_task_status.as_deref().unwrap_or("no longer kept");
        fact(
            "Last task",
            &schedule
                .last_task
                .as_ref()
                .map(|id| format!("{id} ({status})"))
                .unwrap_or_default(),
        );
        if let (Some(run), Some(why)) = (schedule.skipped_run, &schedule.skipped_why) {
            fact("Last skipped", &format!("{}: {why}", moment(run)));
        }
        for change in changes.iter().take(CHANGES) {
            fact(
                "Changed",
                &format!("{}: {} by {}", change.at, change.what, change.by),
            );
        }
        // What a key gives away is seen in the JSON itself, not in its text.
        let mut task = schedule.task.clone();
        domain::redact_json(&mut task);
        fact("Task", &task.to_string());
        text
    })?;
    Ok(Exit::Done)
}

async fn run_now(store: &Store, name: &str, out: Output) -> Outcome {
    let made = store.run_schedule(name).await?;
    out.answer(&api::made(&made), |_| {
        if made.exists {
            format!(
                "Task {} of an earlier run is unfinished; no other was made.",
                made.id
            )
        } else {
            format!("Created task {}.", made.id)
        }
    })?;
    Ok(Exit::Done)
}

/// Does the same to several schedules; goes on after one that cannot be, and then says no.
async fn each(
    names: &[String],
    out: Output,
    change: impl AsyncFn(&str) -> Result<(Value, String), Error>,
) -> Outcome {
    let mut last = None;
    for name in names {
        match change(name).await {
            Ok((value, text)) => out.answer(&value, |_| harmless(&text))?,
            Err(error) if names.len() == 1 || error.is_transient() => return Err(error.into()),
            Err(error) => {
                out.error(&error);
                last = Some(Exit::of(&error));
            }
        }
    }
    Ok::<_, Failure>(last.unwrap_or(Exit::Done))
}
