//! Why a pending task is not started, or a parked one does not go on, for people.

use std::collections::HashMap;

use chrono::NaiveDateTime;
use domain::{Result, TaskStatus};
use sqlx::{PgConnection, Row};

use super::table::places;
use super::{Running, Scope, Stored};
use crate::error::SqlResult;
use crate::{Store, TaskRow};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldBy {
    Pause,
    Limit,
}

impl HeldBy {
    /// `paused` or `limit`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Limit => "limit",
        }
    }
}

/// What keeps a pending task from being started, or a parked one whose wait is over from going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    pub by: HeldBy,
    /// In words, as the end of "it waits because …".
    pub why: String,
}

impl HeldBack {
    /// The same of a task that was begun and has been due since then.
    fn since(self, due: Option<NaiveDateTime>) -> Self {
        let Some(due) = due else { return self };
        Self {
            why: format!(
                "{}; it is due since {}",
                self.why,
                due.format("%Y-%m-%d %H:%M UTC")
            ),
            ..self
        }
    }
}

/// All that is needed to say so of some tasks.
struct Holding {
    rules: Vec<Stored>,
    running: Vec<Running>,
    /// Of repositories that rest, the status.
    resting: HashMap<String, String>,
}

impl Store {
    /// Notes at pending tasks, and at parked ones that are due, what holds them back.
    pub(crate) async fn note_held_back(&self, tx: &mut PgConnection, tasks: &mut [TaskRow]) -> Result<()> {
        let doing = "look what holds tasks back";
        let ours = self.agents(tx).await?;
        let mine = |agent: &String| ours.iter().any(|ours| ours == agent);
        // What is pending of other agents knows no rules of ours.
        let is_pending =
            |task: &TaskRow| task.status == TaskStatus::Pending && task.assigned_to.as_ref().is_none_or(mine);
        let is_parked = |task: &TaskRow| {
            matches!(task.status, TaskStatus::Waiting | TaskStatus::Cancelled)
                && task.wait.is_some()
                && task.worker_id.is_none()
                && task.assigned_to.as_ref().is_some_and(mine)
        };
        if !tasks.iter().any(|task| is_pending(task) || is_parked(task)) {
            return Ok(());
        }
        let rules = self.stored_rules(tx).await?;
        let limited = rules.iter().any(|rule| rule.max_running.is_some());
        let running = if limited {
            self.running(tx, &self.config().agents).await?
        } else {
            Vec::new()
        };
        let parked: Vec<&str> = tasks
            .iter()
            .filter(|task| limited && is_parked(task))
            .map(|task| task.id.as_str())
            .collect();
        let due = self.due(tx, &parked).await?;
        let repos: Vec<&str> = tasks.iter().filter_map(|task| task.repo_id.as_deref()).collect();
        let resting = self
            .query("SELECT id, status FROM repos WHERE id = ANY ($1) AND status IN ('paused', 'archived')")
            .bind(&repos)
            .fetch_all(tx)
            .await
            .and_then(|rows| {
                rows.iter()
                    .map(|row| Ok((row.try_get("id")?, row.try_get("status")?)))
                    .collect()
            })
            .doing(doing)?;
        let holding = Holding {
            rules,
            running,
            resting,
        };
        for task in tasks {
            let (task_type, repo_id) = (&task.task_type, task.repo_id.as_deref());
            if is_pending(task) {
                task.held_back = holding.back(task_type, repo_id);
            } else if let Some(since) = due.get(task.id.as_str()) {
                // What was begun goes on in a pause.
                task.held_back = holding.full(task_type, repo_id).map(|held| held.since(*since));
            }
        }
        Ok(())
    }

    /// Those of the parked tasks that need but a place: those that are to be undone, and those whose wait is over, with the
    /// time since when it is.
    async fn due(
        &self,
        tx: &mut PgConnection,
        parked: &[&str],
    ) -> Result<HashMap<String, Option<NaiveDateTime>>> {
        if parked.is_empty() {
            return Ok(HashMap::new());
        }
        let doing = "look which tasks are due";
        self.query(
            "SELECT id, CASE WHEN status = 'waiting' AND run_at >= '0001-01-01' THEN run_at END AS since FROM tasks
              WHERE id = ANY ($1) AND wait IS NOT NULL AND worker_id IS NULL
                AND (status = 'waiting' AND run_at <= longshore.utc_now() OR status = 'cancelled')",
        )
        .bind(parked)
        .fetch_all(tx)
        .await
        .and_then(|rows| {
            rows.iter()
                .map(|row| Ok((row.try_get("id")?, row.try_get("since")?)))
                .collect()
        })
        .doing(doing)
    }

    /// Whom workers of ours claim for.
    async fn agents(&self, tx: &mut PgConnection) -> Result<Vec<String>> {
        let doing = "look whom workers claim for";
        self.query("SELECT unnest($1) UNION SELECT unnest(agents) FROM longshore.workers")
            .bind(&self.config().agents)
            .fetch_all(tx)
            .await
            .and_then(|rows| rows.iter().map(|row| row.try_get(0)).collect())
            .doing(doing)
    }
}

impl Holding {
    /// The rules about a task of this type and repository, the widest first.
    fn about(&self, task_type: &str, repo_id: Option<&str>) -> Vec<&Stored> {
        let about = |rule: &&Stored| match &rule.scope {
            Scope::All => true,
            Scope::Type(name) => name == task_type,
            Scope::Repo(id) => Some(id.as_str()) == repo_id,
        };
        let mut rules: Vec<&Stored> = self.rules.iter().filter(about).collect();
        rules.sort_by_key(|rule| &rule.scope);
        rules
    }

    /// What holds a task of this type and repository back: a pause before a limit, and the widest rule first.
    fn back(&self, task_type: &str, repo_id: Option<&str>) -> Option<HeldBack> {
        let rules = self.about(task_type, repo_id);
        let paused = rules.iter().find_map(|rule| {
            let pause = rule.paused.as_ref()?;
            let by = pause
                .by
                .as_ref()
                .map_or_else(String::new, |by| format!(" by {by}"));
            let reason = pause
                .reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(": {reason}"));
            let at = pause.at.format("%Y-%m-%d %H:%M UTC");
            Some(format!(
                "{} are paused{by} since {at}{reason}",
                whose(&rule.scope)
            ))
        });
        let resting = || {
            let status = self.resting.get(repo_id?)?;
            Some(format!("its repository is {status}"))
        };
        if let Some(why) = paused.or_else(resting) {
            let by = HeldBy::Pause;
            return Some(HeldBack { by, why });
        }
        self.full(task_type, repo_id)
    }

    /// The limit that leaves no place for a task of this type and repository, the widest first.
    fn full(&self, task_type: &str, repo_id: Option<&str>) -> Option<HeldBack> {
        self.about(task_type, repo_id).iter().find_map(|rule| {
            let most = rule.max_running?;
            let running = places(&rule.scope, &self.running);
            (running >= i64::from(most)).then(|| HeldBack {
                by: HeldBy::Limit,
                why: format!("{running} of {most} places for {} are taken", whose(&rule.scope)),
            })
        })
    }
}

fn whose(scope: &Scope) -> String {
    match scope {
        Scope::All => "tasks of all types".to_owned(),
        Scope::Type(name) => format!("tasks of the type {name}"),
        Scope::Repo(_) => "tasks of its repository".to_owned(),
    }
}
