//! What tasks ask people, and what people answered.

use chrono::{DateTime, Utc};
use domain::{Approval, Decision, Error, Result, TaskId, redact};
use serde_json::json;
use sqlx::{PgConnection, Row};

use crate::error::SqlResult;
use crate::{Store, TaskRow};

const DOING: &str = "record the decision";

/// A person's decision on what a task asks.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    pub decision: Decision,
    /// What is approved, where the task asks for more than one thing.
    pub what: Option<&'a str>,
    pub by: &'a str,
    pub comment: Option<&'a str>,
}

/// A decision as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub what: String,
    pub approval: Approval,
    /// Whether this call made it; else it stood already.
    pub is_new: bool,
}

/// A step that waits, or waited, for an approval.
struct Asked {
    step: String,
    asked_at: DateTime<Utc>,
    waits: bool,
    /// When other branches of the task began to ask for the same: one answer is for all of them.
    beside: Vec<DateTime<Utc>>,
}

impl Asked {
    fn all(&self) -> Vec<DateTime<Utc>> {
        std::iter::once(self.asked_at)
            .chain(self.beside.iter().copied())
            .collect()
    }
}

impl Store {
    /// Answers the task's question and wakes it. The same answer again is the first one. `Conflict` when the task asks
    /// nothing, asks more than one thing and `what` is not said, or was answered otherwise before.
    pub async fn decide(&self, id: &TaskId, verdict: &Verdict<'_>) -> Result<Decided> {
        let mut tx = self.pool().begin().await.doing(DOING)?;
        // The row lock orders this before or after the task's parking, so that no wake-up is lost between.
        let task = self.lock_ours(&mut tx, id, DOING).await?;
        let asked = self.asked(&mut tx, &task, verdict.what).await?;
        if let Some(approval) = self.decision_on(&mut tx, id, &asked).await? {
            return stands(id, asked, approval, verdict.decision);
        }
        if !asked.waits {
            return Err(asks_nothing(&task));
        }
        if verdict.what.is_none() {
            self.refuse_if_another_was_answered(&mut tx, &task, &asked)
                .await?;
        }
        let approval = self.record(&mut tx, &task, &asked, verdict).await?;
        tx.commit().await.doing(DOING)?;
        Ok(Decided {
            what: what_of(&asked.step),
            approval,
            is_new: true,
        })
    }

    /// The one step that is meant: of those that wait now, else the last that did.
    async fn asked(&self, tx: &mut PgConnection, task: &TaskRow, what: Option<&str>) -> Result<Asked> {
        let rows = self
            .query(
                // What is being undone does not come back to the steps of its run, and an answer after the limit is none.
                "SELECT key, started_at,
                        outcome IS NULL AND (deadline IS NULL OR deadline > longshore.now())
                        AND (scope LIKE 'unwind%' OR NOT EXISTS (
                            SELECT FROM longshore.task_steps u WHERE u.task_id = $1 AND u.scope = 'unwind')) AS waits
                   FROM longshore.task_steps
                  WHERE task_id = $1 AND kind = 'signal' AND key LIKE 'approval/%'
                    AND ($2::text[] IS NULL OR key = ANY ($2))
                  ORDER BY waits DESC, done_at DESC NULLS FIRST, started_at DESC",
            )
            .bind(task.id.as_str())
            .bind(what.map(|what| vec![Approval::signal(what), Approval::signal_of_unwind(what)]))
            .fetch_all(tx)
            .await
            .doing(DOING)?;
        let mut asked = Vec::new();
        for row in rows {
            let step: String = row.try_get("key").doing(DOING)?;
            let waits: bool = row.try_get("waits").doing(DOING)?;
            asked.push(Asked {
                step,
                asked_at: row.try_get("started_at").doing(DOING)?,
                // Also while the task runs for another reason: it comes by that step again and takes the answer.
                waits: waits && !task.status.is_terminal(),
                beside: Vec::new(),
            });
        }
        let mut waiting: Vec<String> = asked
            .iter()
            .filter(|asked| asked.waits)
            .map(|asked| what_of(&asked.step))
            .collect();
        waiting.sort();
        waiting.dedup();
        let mut asked = asked.into_iter();
        match (asked.next(), waiting.len()) {
            (Some(first), 0 | 1) => {
                let beside = asked
                    .filter(|other| first.waits && other.waits)
                    .map(|other| other.asked_at);
                Ok(Asked {
                    beside: beside.collect(),
                    ..first
                })
            }
            (Some(_), _) => Err(Error::conflict(format!(
                "task {} asks for more than one approval: {}",
                task.id,
                waiting.join(", ")
            ))
            .next("Say which is meant: `what` in the request, --what at the command line")),
            (None, _) => Err(match what {
                Some(what) => {
                    let error = asks_nothing(task);
                    Error::conflict(format!("task {} does not ask for approval of {what}", task.id))
                        .because(&error)
                }
                None => asks_nothing(task),
            }),
        }
    }

    async fn decision_on(
        &self,
        tx: &mut PgConnection,
        id: &TaskId,
        asked: &Asked,
    ) -> Result<Option<Approval>> {
        let row = self
            .query(
                "SELECT decision, decided_by, comment, decided_at FROM longshore.approvals
                  WHERE task_id = $1 AND step = $2 AND asked_at = $3",
            )
            .bind(id.as_str())
            .bind(&asked.step)
            .bind(asked.asked_at)
            .fetch_optional(tx)
            .await
            .doing(DOING)?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> sqlx::Result<Approval> {
            Ok(Approval {
                decision: match row.try_get::<String, _>("decision")?.as_str() {
                    "approved" => Decision::Approved,
                    _ => Decision::Rejected,
                },
                by: row.try_get("decided_by")?,
                comment: row.try_get("comment")?,
                at: row.try_get("decided_at")?,
            })
        };
        read().map(Some).doing(DOING)
    }

    /// An answer that names nothing and is sent again, since its own answer was lost, must not decide the next question.
    async fn refuse_if_another_was_answered(
        &self,
        tx: &mut PgConnection,
        task: &TaskRow,
        asked: &Asked,
    ) -> Result<()> {
        let row = self
            .query(
                "SELECT step FROM longshore.approvals WHERE task_id = $1 AND step <> $2
                  ORDER BY decided_at DESC LIMIT 1",
            )
            .bind(task.id.as_str())
            .bind(&asked.step)
            .fetch_optional(tx)
            .await
            .doing(DOING)?;
        let Some(row) = row else { return Ok(()) };
        let answered: String = row.try_get("step").doing(DOING)?;
        Err(Error::conflict(format!(
            "task {} asks for approval of {}, and {} was answered before",
            task.id,
            what_of(&asked.step),
            what_of(&answered)
        ))
        .next("Say which is meant: `what` in the request, --what at the command line"))
    }

    /// Writes the decision, the signal that the task takes and the line in its history, and wakes it.
    async fn record(
        &self,
        tx: &mut PgConnection,
        task: &TaskRow,
        asked: &Asked,
        verdict: &Verdict<'_>,
    ) -> Result<Approval> {
        let clean = |text: &str| redact(&text.replace('\0', "\u{fffd}")).into_owned();
        let (by, comment) = (clean(verdict.by), verdict.comment.map(clean));
        let row = self
            .query(
                "WITH asked AS (SELECT DISTINCT unnest($3::timestamptz[]) AS at),
                 told AS (
                     INSERT INTO longshore.approvals (task_id, step, asked_at, decision, decided_by, comment)
                     SELECT $1, $2, at, $4, $5, $6 FROM asked RETURNING decided_at)
                 SELECT min(decided_at) AS decided_at FROM told",
            )
            .bind(task.id.as_str())
            .bind(&asked.step)
            .bind(asked.all())
            .bind(verdict.decision.as_str())
            .bind(&by)
            .bind(&comment)
            .fetch_one(&mut *tx)
            .await
            .doing(DOING)?;
        let approval = Approval {
            decision: verdict.decision,
            by,
            comment,
            at: row.try_get("decided_at").doing(DOING)?,
        };
        // Each step takes a signal of its own.
        self.query(
            "INSERT INTO longshore.signals (task_id, name, value)
             SELECT $1, $2, $3 FROM generate_series(1, $4)",
        )
        .bind(task.id.as_str())
        .bind(&asked.step)
        .bind(json!(approval))
        .bind(asked.all().len() as i64)
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        // A held task waits for somebody to let it go on, and takes the answer then.
        self.query(
            "UPDATE tasks SET run_at = longshore.utc_now()
              WHERE id = $1 AND status = 'waiting' AND NOT coalesce(wait ? 'held', false)",
        )
        .bind(task.id.as_str())
        .execute(&mut *tx)
        .await
        .doing(DOING)?;
        let mut told = format!(
            "{} {} by {}",
            what_of(&asked.step),
            approval.decision.as_str(),
            approval.by
        );
        if let Some(comment) = &approval.comment {
            told.push_str(&format!(": {comment}"));
        }
        self.add_event_by_hand(tx, task, approval.decision.as_str(), &told)
            .await?;
        self.query("SELECT pg_notify('longshore', '')")
            .execute(&mut *tx)
            .await
            .doing(DOING)?;
        Ok(approval)
    }
}

fn what_of(step: &str) -> String {
    Approval::what(step).unwrap_or(step).to_owned()
}

fn stands(id: &TaskId, asked: Asked, approval: Approval, wanted: Decision) -> Result<Decided> {
    let what = what_of(&asked.step);
    if approval.decision != wanted {
        return Err(Error::conflict(format!(
            "{what} of task {id} was {} already, by {} on {}",
            approval.decision.as_str(),
            approval.by,
            approval.at.format("%Y-%m-%d at %H:%M UTC")
        ))
        .next("A decision stands once it is made; cancel the task if it must not go on"));
    }
    Ok(Decided {
        what,
        approval,
        is_new: false,
    })
}

fn asks_nothing(task: &TaskRow) -> Error {
    let error = Error::conflict(format!("task {} waits for no approval: {}", task.id, state(task)));
    if task.held().is_some() {
        return error.next("`longshore tasks retry` lets a held task go on");
    }
    error
}

fn state(task: &TaskRow) -> String {
    if let Some(reason) = task.held() {
        return format!("it is held, since {reason}");
    }
    let wait = task.wait.as_ref().and_then(|wait| wait["why"].as_str());
    match (task.status, wait) {
        (domain::TaskStatus::Waiting, Some(why)) => format!("it waits {why}"),
        (domain::TaskStatus::InProgress, _) => "it runs and has not asked yet, or goes on already".to_owned(),
        (status, _) => format!("it is {status}"),
    }
}
