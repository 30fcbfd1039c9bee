use chrono::{DateTime, Utc};
use domain::{RepoStatus, Result};
use serde::Serialize;
use sqlx::{PgConnection, Row};

use super::{Running, Scope};
use crate::Store;
use crate::error::SqlResult;

/// Who holds tasks back, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pause {
    pub at: DateTime<Utc>,
    pub by: Option<String>,
    pub reason: Option<String>,
}

/// A rule as the table has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) scope: Scope,
    pub(crate) max_running: Option<u32>,
    pub(crate) paused: Option<Pause>,
}

/// A rule, and how things stand under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueRule {
    pub scope: Scope,
    /// What people call the repository; the type's name; empty for everything.
    pub label: String,
    /// At most so many at once, across all workers.
    pub max_running: Option<u32>,
    /// None is started.
    pub paused: Option<Pause>,
    /// Those that take a place now.
    pub running: i64,
}

/// A repository whose own row holds its tasks back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resting {
    pub repo_id: String,
    pub label: String,
    /// `Paused` or `Archived`.
    pub status: RepoStatus,
}

/// All that holds tasks back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// Everything first, then types, then repositories, by name.
    pub rules: Vec<QueueRule>,
    pub resting: Vec<Resting>,
}

/// What people call a repository.
macro_rules! label {
    () => {
        "coalesce(nullif(r.gitlab_project_id, ''), nullif(r.name, ''), r.id)"
    };
}

impl Store {
    /// Every rule, and every repository that is paused or archived.
    pub async fn queue(&self) -> Result<Queue> {
        let doing = "read the queue's rules";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let rules = self.rules_in(&mut tx).await?;
        let resting = self
            .query(concat!(
                "SELECT r.id, r.status, ",
                label!(),
                " AS label FROM repos r WHERE r.status IN ('paused', 'archived') ORDER BY 3, 1"
            ))
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        let resting = resting
            .iter()
            .map(|row| {
                let status: String = row.try_get("status")?;
                Ok(Resting {
                    repo_id: row.try_get("id")?,
                    label: row.try_get("label")?,
                    status: match status.as_str() {
                        "archived" => RepoStatus::Archived,
                        _ => RepoStatus::Paused,
                    },
                })
            })
            .collect::<sqlx::Result<_>>()
            .doing(doing)?;
        Ok(Queue { rules, resting })
    }

    /// The types that live workers serve, by name.
    pub async fn served_types(&self) -> Result<Vec<String>> {
        let doing = "look up what workers serve";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let types = self
            .query(
                // What follows the last slash is the version: a type may hold others.
                "SELECT DISTINCT regexp_replace(served, '/[^/]*$', '') AS task_type
                   FROM longshore.workers w CROSS JOIN unnest(w.serves) AS served
                  WHERE w.lease_until > clock_timestamp() ORDER BY 1",
            )
            .fetch_all(&mut *tx)
            .await
            .and_then(|rows| rows.iter().map(|row| row.try_get("task_type")).collect())
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(types)
    }

    pub(crate) async fn rules_in(&self, tx: &mut PgConnection) -> Result<Vec<QueueRule>> {
        let doing = "read the queue's rules";
        let stored = self.stored_rules(tx).await?;
        let running = if stored.is_empty() {
            Vec::new()
        } else {
            self.running(tx, &self.config().agents).await?
        };
        let repos: Vec<&str> = stored
            .iter()
            .filter(|rule| matches!(rule.scope, Scope::Repo(_)))
            .map(|rule| rule.scope.name())
            .collect();
        let labels: Vec<(String, String)> = self
            .query(concat!(
                "SELECT r.id, ",
                label!(),
                " AS label FROM repos r WHERE r.id = ANY ($1)"
            ))
            .bind(&repos)
            .fetch_all(tx)
            .await
            .and_then(|rows| {
                rows.iter()
                    .map(|row| Ok((row.try_get("id")?, row.try_get("label")?)))
                    .collect()
            })
            .doing(doing)?;
        let mut rules: Vec<QueueRule> = stored
            .into_iter()
            .map(|rule| QueueRule {
                label: labels
                    .iter()
                    .find(|(id, _)| matches!(&rule.scope, Scope::Repo(name) if name == id))
                    .map_or_else(|| rule.scope.name().to_owned(), |(_, label)| label.clone()),
                running: places(&rule.scope, &running),
                scope: rule.scope,
                max_running: rule.max_running,
                paused: rule.paused,
            })
            .collect();
        rules.sort_by(|a, b| (order(&a.scope), &a.label).cmp(&(order(&b.scope), &b.label)));
        Ok(rules)
    }

    pub(crate) async fn stored_rules(&self, tx: &mut PgConnection) -> Result<Vec<Stored>> {
        let doing = "read the queue's rules";
        let rows = self
            .query("SELECT kind, name, max_running, paused_at, paused_by, reason FROM longshore.queue_rules")
            .fetch_all(tx)
            .await
            .doing(doing)?;
        rows.iter()
            .map(|row| {
                let kind: String = row.try_get("kind")?;
                let at: Option<DateTime<Utc>> = row.try_get("paused_at")?;
                let (by, reason) = (row.try_get("paused_by")?, row.try_get("reason")?);
                Ok(Stored {
                    scope: Scope::read(&kind, row.try_get("name")?),
                    max_running: row
                        .try_get::<Option<i32>, _>("max_running")?
                        .map(i32::unsigned_abs),
                    paused: at.map(|at| Pause { at, by, reason }),
                })
            })
            .collect::<sqlx::Result<_>>()
            .doing(doing)
    }
}

/// How many places are taken under a scope.
pub(super) fn places(scope: &Scope, running: &[Running]) -> i64 {
    running
        .iter()
        .filter(|group| match scope {
            Scope::All => true,
            Scope::Type(name) => group.task_type == *name,
            Scope::Repo(id) => group.repo_id.as_deref() == Some(id),
        })
        .map(|group| group.alive + group.abandoned)
        .sum()
}

fn order(scope: &Scope) -> u8 {
    match scope {
        Scope::All => 0,
        Scope::Type(_) => 1,
        Scope::Repo(_) => 2,
    }
}
