//! Which ticket a task is about: its own payload names it, or the nearest ancestor's does.

use std::collections::HashMap;

use domain::{Error, Repo, Result, TaskId, TicketKind, TicketRef};
use serde_json::Value;
use sqlx::{PgConnection, Row};

use crate::Store;
use crate::error::SqlResult;

/// Longer chains of parents are taken for a mistake.
const DEEPEST: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Ancestor {
    id: String,
    /// Nothing when the row does not exist.
    found: Option<(Value, Option<Repo>)>,
}

/// The parents of each task, nearest first.
pub(super) async fn ancestors(
    store: &Store,
    tx: &mut PgConnection,
    tasks: &[String],
) -> Result<HashMap<String, Vec<Ancestor>>> {
    let rows = store
        .query(
            "WITH RECURSIVE chain AS (
                 SELECT t.id AS task, t.parent_task_id AS id, 1 AS depth FROM tasks t
                  WHERE t.id = ANY ($1) AND t.parent_task_id IS NOT NULL
                 UNION ALL
                 SELECT c.task, p.parent_task_id, c.depth + 1 FROM chain c JOIN tasks p ON p.id = c.id
                  WHERE p.parent_task_id IS NOT NULL AND c.depth <= $2)
             SELECT c.task, c.id, p.id IS NOT NULL AS found, p.repo_id,
                    -- What names a ticket, and no more: chains can be long and payloads large.
                    jsonb_strip_nulls(jsonb_build_object(
                        'issue', jsonb_build_object('iid', p.payload #>> '{issue,iid}'),
                        'issue_iid', p.payload ->> 'issue_iid',
                        'merge_request', jsonb_build_object('iid', p.payload #>> '{merge_request,iid}'))) AS payload
               FROM chain c LEFT JOIN tasks p ON p.id = c.id
              ORDER BY c.task, c.depth",
        )
        .bind(tasks)
        .bind(i32::try_from(DEEPEST).unwrap_or(i32::MAX))
        .fetch_all(&mut *tx)
        .await
        .doing("look up parent tasks")?;
    let read = "read a parent task";
    let mut ids: Vec<String> = Vec::new();
    for row in &rows {
        ids.extend(row.try_get::<Option<String>, _>("repo_id").doing(read)?);
    }
    ids.sort_unstable();
    ids.dedup();
    let repos: HashMap<String, Repo> = store
        .repos_by_ids(tx, &ids)
        .await?
        .into_iter()
        .map(|repo| (repo.id.clone(), repo))
        .collect();
    let mut chains: HashMap<String, Vec<Ancestor>> = HashMap::new();
    for row in &rows {
        let found = if row.try_get::<bool, _>("found").doing(read)? {
            let repo_id: Option<String> = row.try_get("repo_id").doing(read)?;
            let payload: Option<Value> = row.try_get("payload").doing(read)?;
            Some((
                payload.unwrap_or(Value::Null),
                repo_id.and_then(|id| repos.get(&id).cloned()),
            ))
        } else {
            None
        };
        let task: String = row.try_get("task").doing(read)?;
        chains.entry(task).or_default().push(Ancestor {
            id: row.try_get("id").doing(read)?,
            found,
        });
    }
    Ok(chains)
}

pub(super) fn refuse_parents(task: &TaskId, parent: Option<&str>, ancestors: &[Ancestor]) -> Option<Error> {
    let parent = parent?;
    if let Some(missing) = ancestors.iter().find(|ancestor| ancestor.found.is_none()) {
        let whose = if missing.id == parent {
            "parent_task_id".to_owned()
        } else {
            format!("an ancestor, {:?},", missing.id)
        };
        return Some(
            Error::invalid(format!(
                "{whose} names task {:?}, which does not exist",
                missing.id
            ))
            .next("Insert the parent first, or leave parent_task_id out"),
        );
    }
    if ancestors.iter().any(|ancestor| ancestor.id == task.as_str()) || ancestors.len() > DEEPEST {
        return Some(
            Error::invalid(format!(
                "parent_task_id {parent:?} leads into a cycle or a chain of more than {DEEPEST} tasks"
            ))
            .next("A task's parents must end at a task without a parent"),
        );
    }
    None
}

pub(super) fn of(payload: &Value, repo: Option<&Repo>, ancestors: &[Ancestor]) -> Option<TicketRef> {
    let own = named(payload).map(|found| (found, repo.or_else(|| nearest_repo(ancestors))));
    let (named, repo) = own.or_else(|| {
        ancestors.iter().enumerate().find_map(|(at, ancestor)| {
            let (payload, own_repo) = ancestor.found.as_ref()?;
            let repo = own_repo
                .as_ref()
                .or_else(|| nearest_repo(&ancestors[at..]))
                .or(repo);
            Some((named(payload)?, repo))
        })
    })?;
    Some(TicketRef {
        repo: repo?.at.clone(),
        kind: named.0,
        iid: named.1,
    })
}

fn nearest_repo(ancestors: &[Ancestor]) -> Option<&Repo> {
    ancestors
        .iter()
        .find_map(|ancestor| ancestor.found.as_ref()?.1.as_ref())
}

/// `issue.iid`, `issue_iid` or `merge_request.iid`, as a number or its digits.
fn named(payload: &Value) -> Option<(TicketKind, u64)> {
    let number = |value: &Value| match value {
        Value::Number(number) => number.as_u64(),
        Value::String(digits) => digits.trim().parse().ok(),
        _ => None,
    };
    let issue = payload
        .pointer("/issue/iid")
        .and_then(number)
        .or_else(|| payload.get("issue_iid").and_then(number));
    let merge_request = || payload.pointer("/merge_request/iid").and_then(number);
    issue
        .map(|iid| (TicketKind::Issue, iid))
        .or_else(|| merge_request().map(|iid| (TicketKind::MergeRequest, iid)))
        .filter(|(_, iid)| *iid > 0)
}
