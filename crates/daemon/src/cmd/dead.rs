//! `longshore tasks dead`.

use std::collections::HashMap;

use domain::{Error, TaskId};
use store::{DeadFilter, DeadGroup, Store, TaskRow};

use super::repos::id_of;
use crate::cli::ListDead;
use crate::exit::{Exit, Outcome};
use crate::output::{Output, Paint, cell, moment, quoted};

/// Groups in one answer.
const GROUPS: u32 = 100;

pub async fn run(store: &Store, wanted: ListDead, out: Output) -> Outcome {
    let filter = DeadFilter {
        task_type: wanted.task_type,
        assigned_to: wanted.agent,
        repo_id: id_of(store, wanted.repo_id).await?,
        created_after: wanted.created_after,
        limit: GROUPS,
    };
    let mut dead = store.dead_letters(&filter).await?;
    clean(store, &mut dead.groups).await?;
    out.answer(&dead, |out| {
        if dead.groups.is_empty() {
            return "Nothing failed, and nothing is held.".to_owned();
        }
        let mut table = out.table(&["STATE", "TYPE", "COUNT", "LAST SEEN", "NEWEST", "ERROR"], 5);
        for group in &dead.groups {
            let newest = group.task_ids.first().map(|id| id.as_str()).unwrap_or_default();
            table.add_row([
                out.status_cell(&group.state),
                cell(&group.task_type).into(),
                out.number_cell(group.count),
                moment(group.last_seen).into(),
                cell(newest).into(),
                cell(&group.error).into(),
            ]);
        }
        let mut text = format!("{}\n", out.lines(table));
        if !dead.complete {
            text.push_str("Only the newest ten thousand were looked at.\n");
        }
        if let Some(group) = dead.groups.first() {
            text.push_str(&format!(
                "{} {}",
                out.paint(Paint::Dim, "retry a group:"),
                again(group)
            ));
        }
        text
    })?;
    Ok(Exit::Done)
}

/// Takes secrets out of what the groups' errors have in common. That has `#` for numbers, and a token with `#` in its middle is
/// one that nobody would recognise: the errors themselves are looked at.
async fn clean(store: &Store, groups: &mut [DeadGroup]) -> Result<(), Error> {
    let newest: Vec<TaskId> = groups
        .iter()
        .filter_map(|group| group.task_ids.first().cloned())
        .collect();
    let tasks: HashMap<TaskId, TaskRow> = store
        .progress(&newest)
        .await?
        .into_iter()
        .map(|progress| (progress.task.id.clone(), progress.task))
        .collect();
    for group in groups {
        let task = group.task_ids.first().and_then(|id| tasks.get(id));
        let said = task.and_then(|task| {
            let held = task.wait.as_ref().and_then(|wait| wait["held"].as_str());
            held.or(task.error.as_deref())
        });
        let line = said.and_then(|said| said.lines().next()).unwrap_or_default();
        let seen = domain::redact(line);
        group.error = match seen == line {
            true => domain::redact(&group.error).into_owned(),
            false => seen.into_owned(),
        };
    }
    Ok(())
}

/// The command that tries a group again. What holds a secret, or says nothing, cannot be named by its error: the tasks are.
fn again(group: &DeadGroup) -> String {
    let by_error = format!(
        "longshore tasks retry --status {} --task-type {} --error {}",
        group.state,
        quoted(&group.task_type),
        quoted(&group.error)
    );
    let hides = group.error.contains("[redacted: ") || domain::redact(&by_error) != by_error;
    if !group.error.is_empty() && !hides {
        return by_error;
    }
    let ids: Vec<String> = group.task_ids.iter().map(|id| quoted(id.as_str())).collect();
    let newest = match usize::try_from(group.count) {
        Ok(count) if count > ids.len() => "  (its newest)",
        _ => "",
    };
    format!("longshore tasks retry {}{newest}", ids.join(" "))
}
