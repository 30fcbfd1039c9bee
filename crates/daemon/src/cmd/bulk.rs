//! `longshore tasks cancel|retry` by filter.

use domain::Error;
use serde_json::json;
use store::{Bulk, BulkDone, BulkFilter, Store};

use super::repos::id_of;
use crate::cli::Which;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Output, harmless};

pub async fn run(store: &Store, what: Bulk, which: &Which, out: Output) -> Outcome {
    let filter = BulkFilter {
        states: which.status.clone(),
        task_type: which.task_type.clone(),
        assigned_to: which.agent.clone(),
        repo_id: id_of(store, which.repo_id.clone()).await?,
        created_before: which.created_before,
        created_after: which.created_after,
        error: which.error.clone(),
    };
    if filter.is_empty() && !which.all {
        return Err(Failure(Error::invalid("it is not said which tasks").next(
            "Name them, or say by filter which: --status, --task-type, --agent, --repo-id, --created-before, --created-after, --error, or --all",
        )));
    }
    if !which.dry_run && !which.yes {
        let would = to_the_end(store, what, &filter, true).await?;
        if would.changed > 1 {
            return Err(Failure(
                Error::invalid(format!("{} tasks would be {}", would.changed, done_word(what)))
                    .next("Say --yes to do it, or --dry-run to look closer"),
            ));
        }
    }
    let done = to_the_end(store, what, &filter, which.dry_run).await?;
    let mut value = json!(done);
    value["dry_run"] = which.dry_run.into();
    out.answer(&value, |_| text(what, &done, which.dry_run))?;
    Ok(Exit::Done)
}

/// As many calls as it takes.
async fn to_the_end(store: &Store, what: Bulk, filter: &BulkFilter, dry: bool) -> Result<BulkDone, Error> {
    let mut all = BulkDone::default();
    loop {
        let from = all.next.take();
        all.add(store.bulk(what, filter, from.as_ref(), dry).await?);
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn done_word(what: Bulk) -> &'static str {
    match what {
        Bulk::Cancel => "cancelled",
        Bulk::Retry => "tried again",
    }
}

fn text(what: Bulk, done: &BulkDone, dry: bool) -> String {
    let would = if dry { "would be " } else { "" };
    let mut text = format!(
        "{} of {} tasks {would}{}.\n",
        done.changed,
        done.matched,
        done_word(what)
    );
    for skipped in &done.skipped {
        let ids: Vec<&str> = skipped.task_ids.iter().map(|id| id.as_str()).collect();
        let more = if skipped.count > ids.len() as u64 {
            ", …"
        } else {
            ""
        };
        text.push_str(&format!(
            "left alone: {}, as {} ({}{more})\n",
            skipped.count,
            skipped.why,
            ids.join(", ")
        ));
    }
    harmless(&text)
}
