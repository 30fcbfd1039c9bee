//! `longshore tasks dead`.

use store::{DeadFilter, DeadGroup, Store};

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
    let dead = store.dead_letters(&filter).await?;
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
