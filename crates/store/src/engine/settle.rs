use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use domain::{Error, Report, Result, TaskId, TaskStatus, TicketDelivery, TicketRef, Verdict, redact};
use durable::{Lease, Outcome, Wake};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, Row};

use crate::error::SqlResult;
use crate::{Store, outbox};

/// How an attempt ended, to be written under its lease.
#[derive(Clone, Debug)]
pub struct Settle {
    pub lease: Lease,
    pub parent: Option<TaskId>,
    pub ticket: Option<TicketRef>,
    pub outcome: Outcome,
    /// After a transient error: how long until the next attempt.
    pub delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    Written,
    /// The task was cancelled meanwhile: it must be unwound before it can end or park.
    CancelRequested,
    LeaseLost,
}

/// What `tasks.result` holds.
#[derive(Serialize)]
struct Told<'r> {
    #[serde(flatten)]
    report: &'r Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<TicketDelivery>,
}

type Sql<T> = std::result::Result<T, sqlx::Error>;

struct Ended<'a> {
    settle: &'a Settle,
    status: TaskStatus,
    report: Report,
    /// JSON.
    result: String,
    error: Option<String>,
}

impl Settle {
    fn ends(&self) -> bool {
        matches!(self.outcome, Outcome::Ended { .. })
    }
}

impl Store {
    /// Ends tasks, all in one transaction: results, events, ticket news and freed locks commit together. What
    /// is acknowledged is committed. A batch that Postgres refuses is halved until the one bad result is
    /// found; that task fails, saying so, and the others end as they should.
    pub async fn finish<S: Borrow<Settle>>(&self, batch: &[S]) -> Result<Vec<Settled>> {
        let batch: Vec<&Settle> = batch.iter().map(Borrow::borrow).collect();
        self.finish_or_halve(&batch).await
    }

    async fn finish_or_halve(&self, batch: &[&Settle]) -> Result<Vec<Settled>> {
        match self.within("write results", self.try_finish(batch)).await {
            Ok(settled) => Ok(settled),
            Err(error) if error.is_transient() => Err(error),
            Err(error) if batch.len() == 1 => {
                let mut failed = batch[0].clone();
                let error = Error::internal("the task's result could not be stored").because(&error);
                failed.outcome = Outcome::Ended {
                    status: TaskStatus::Failed,
                    report: Box::new(Report::failed(&error)),
                    error: Some(error),
                };
                self.within("write results", self.try_finish(&[&failed])).await
            }
            Err(_) => {
                let (left, right) = batch.split_at(batch.len() / 2);
                let mut settled = Box::pin(self.finish_or_halve(left)).await?;
                settled.extend(Box::pin(self.finish_or_halve(right)).await?);
                Ok(settled)
            }
        }
    }

    async fn try_finish(&self, batch: &[&Settle]) -> Result<Vec<Settled>> {
        let doing = "write results";
        let mut ended: Vec<Ended> = batch.iter().copied().filter_map(Ended::of).collect();
        // Rows are locked in this order, as by everybody who locks several.
        ended.sort_unstable_by(|a, b| a.settle.lease.task.cmp(&b.settle.lease.task));
        let mut tx = self.pinned().begin().await.doing(doing)?;
        let missed = self.end(&mut tx, &ended).await.doing(doing)?;
        let others = self.why_not(&mut tx, &missed).await.doing(doing)?;
        tx.commit().await.doing(doing)?;
        let missed: HashSet<&TaskId> = missed.iter().map(|e| &e.settle.lease.task).collect();
        Ok(batch
            .iter()
            .map(|settle| match &settle.lease.task {
                task if !missed.contains(task) && settle.ends() => Settled::Written,
                task => others.get(task).copied().unwrap_or(Settled::LeaseLost),
            })
            .collect())
    }

    /// What became of the tasks that could not be ended: cancelled meanwhile, or ended just so under the same lease, when
    /// the answer to an earlier try was lost.
    async fn why_not(&self, tx: &mut PgConnection, missed: &[&Ended<'_>]) -> Sql<HashMap<TaskId, Settled>> {
        if missed.is_empty() {
            return Ok(HashMap::new());
        }
        // What became of the ticket is written into the result afterwards.
        let rows = self
            .query(
                "SELECT t.id, t.worker_id IS NOT NULL AS ours
                   FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[]) AS i(id, attempt, status, result, worker)
                   JOIN tasks t ON t.id = i.id AND t.attempt = i.attempt
                   LEFT JOIN longshore.workers w ON w.id = i.worker
                  WHERE t.worker_id = i.worker AND t.status = 'cancelled' AND t.assigned_to = ANY (w.agents)
                        AND w.lease_until > clock_timestamp()
                     OR t.worker_id IS NULL AND t.status = i.status
                        AND CASE jsonb_typeof(t.result) WHEN 'object' THEN t.result - 'ticket' = i.result::jsonb - 'ticket' END",
            )
            .bind(missed.iter().map(|e| e.settle.lease.task.as_str()).collect::<Vec<_>>())
            .bind(missed.iter().map(|e| e.settle.lease.attempt).collect::<Vec<_>>())
            .bind(missed.iter().map(|e| e.status.as_str()).collect::<Vec<_>>())
            .bind(missed.iter().map(|e| e.result.as_str()).collect::<Vec<_>>())
            .bind(missed.iter().map(|e| &*e.settle.lease.worker).collect::<Vec<_>>())
            .fetch_all(tx)
            .await?;
        rows.iter()
            .map(|row| {
                let settled = if row.try_get("ours")? {
                    Settled::CancelRequested
                } else {
                    Settled::Written
                };
                Ok((TaskId::from(row.try_get::<String, _>("id")?), settled))
            })
            .collect()
    }

    /// Ends the tasks whose lease holds, unless one was cancelled meanwhile and would be completed; answers which it did not
    /// end.
    async fn end<'e>(&self, tx: &mut PgConnection, ended: &'e [Ended<'e>]) -> Sql<Vec<&'e Ended<'e>>> {
        let ids: Vec<&str> = ended.iter().map(|e| e.settle.lease.task.as_str()).collect();
        let mut parents: Vec<&str> = ended
            .iter()
            .filter_map(|e| e.settle.parent.as_ref())
            .map(TaskId::as_str)
            .collect();
        parents.sort_unstable();
        parents.dedup();
        if !parents.is_empty() {
            // A parent that is parking for a child locks both rows in this order too, so neither misses the other.
            self.query("SELECT id FROM tasks WHERE id = ANY ($1) OR id = ANY ($2) ORDER BY id FOR UPDATE")
                .bind(&ids)
                .bind(&parents)
                .execute(&mut *tx)
                .await?;
        }
        let row = self
            .query(
                "WITH done AS (
                     UPDATE tasks t
                        SET status = i.status, result = i.result::jsonb, error = i.error, worker_id = NULL,
                            completed_at = longshore.utc_now()
                       FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[])
                            AS i(id, worker, attempt, status, result, error)
                       JOIN longshore.workers w ON w.id = i.worker AND w.lease_until > clock_timestamp()
                      WHERE t.id = i.id AND t.worker_id = i.worker AND t.attempt = i.attempt
                        AND (t.status = 'in_progress' OR t.status = 'cancelled' AND i.status <> 'completed')
                        AND t.assigned_to = ANY (w.agents)
                  RETURNING t.id)
                 SELECT CASE WHEN count(*) < cardinality($1) THEN coalesce(array_agg(id), '{}') END AS only FROM done",
            )
            .bind(&ids)
            .bind(ended.iter().map(|e| &*e.settle.lease.worker).collect::<Vec<_>>())
            .bind(ended.iter().map(|e| e.settle.lease.attempt).collect::<Vec<_>>())
            .bind(ended.iter().map(|e| e.status.as_str()).collect::<Vec<_>>())
            .bind(ended.iter().map(|e| e.result.as_str()).collect::<Vec<_>>())
            .bind(ended.iter().map(|e| e.error.as_deref()).collect::<Vec<_>>())
            .fetch_one(&mut *tx)
            .await?;
        let only: Option<Vec<String>> = row.try_get("only")?;
        let only: Option<HashSet<&str>> = only
            .as_ref()
            .map(|only| only.iter().map(String::as_str).collect());
        let (done, missed): (Vec<&Ended>, Vec<&Ended>) = ended.iter().partition(|e| {
            only.as_ref()
                .is_none_or(|only| only.contains(e.settle.lease.task.as_str()))
        });
        let done_ids: Vec<&str> = done.iter().map(|e| e.settle.lease.task.as_str()).collect();
        for e in &done {
            if e.status != TaskStatus::Completed {
                self.add_event(tx, &e.settle.lease, e.status.as_str(), &e.report.summary)
                    .await?;
            }
            if let Some(ticket) = &e.settle.ticket {
                outbox::enqueue(tx, &e.settle.lease.task, ticket, &e.report).await?;
            }
        }
        let mut woken = self.release_locks(tx, &done_ids).await?;
        if !parents.is_empty() {
            woken |= self.wake_parents(tx, &parents, &done_ids).await?;
        }
        if woken {
            self.notify(tx).await?;
        }
        Ok(missed)
    }

    async fn wake_parents(&self, tx: &mut PgConnection, parents: &[&str], children: &[&str]) -> Sql<bool> {
        let woken = self
            .query(
                "UPDATE tasks SET run_at = longshore.utc_now()
                  WHERE id = ANY ($1) AND status = 'waiting' AND wait->'children' ?| $2",
            )
            .bind(parents)
            .bind(children)
            .execute(tx)
            .await?;
        Ok(woken.rows_affected() > 0)
    }

    /// Parks a task: for a wake-up, for the next attempt after a transient error, or held for a person.
    pub async fn park(&self, settle: &Settle) -> Result<Settled> {
        self.within("park the task", self.park_unlimited(settle)).await
    }

    async fn park_unlimited(&self, settle: &Settle) -> Result<Settled> {
        let doing = "park the task";
        let mut tx = self.pool().begin().await.doing(doing)?;
        let settled = self.try_park(&mut tx, settle).await.doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(settled)
    }

    async fn try_park(&self, tx: &mut PgConnection, settle: &Settle) -> Sql<Settled> {
        let lease = &settle.lease;
        let (mut wait, failed, event, news) = match &settle.outcome {
            Outcome::Park(wake) => (
                json!(wake),
                false,
                ("parked", format!("waits {}", wake.why)),
                (!wake.quiet).then(|| Report::new(Verdict::Waiting, format!("Waiting: {}", wake.why))),
            ),
            Outcome::Retry(error) => (
                json!({"why": redact(&format!("to try again: {error}"))}),
                true,
                ("retried", error.to_string()),
                None,
            ),
            Outcome::Hold(reason) => (
                json!({"held": redact(reason), "why": "for a person"}),
                false,
                ("held", reason.clone()),
                Some(held(lease, reason)),
            ),
            Outcome::Ended { .. } | Outcome::LeaseLost => return Ok(Settled::LeaseLost),
        };
        crate::json::replace_nul(&mut wait);
        let wake = match &settle.outcome {
            Outcome::Park(wake) => wake.clone(),
            _ => Wake::default(),
        };
        // Rows in id order, as those who end a child or free a lock take them.
        let mut rows: Vec<&str> = wake.children.iter().map(TaskId::as_str).collect();
        rows.push(lease.task.as_str());
        self.query("SELECT id FROM tasks WHERE id = ANY ($1) ORDER BY id FOR UPDATE")
            .bind(&rows)
            .execute(&mut *tx)
            .await?;
        let row = self
            .query(
                "SELECT t.status = 'cancelled' AND NOT EXISTS (
                            SELECT FROM longshore.task_steps s WHERE s.task_id = t.id AND s.scope = 'unwind') AS cancel,
                        EXISTS (SELECT FROM longshore.signals s WHERE s.task_id = t.id AND s.name = ANY ($4))
                        OR EXISTS (SELECT FROM tasks c WHERE c.id = ANY ($5)
                                      AND (c.status IN ('completed', 'failed') OR c.status = 'cancelled' AND c.worker_id IS NULL AND c.wait IS NULL))
                        OR EXISTS (SELECT FROM unnest($5::text[]) AS awaited(id)
                                    WHERE NOT EXISTS (SELECT FROM tasks c WHERE c.id = awaited.id))
                        OR EXISTS (
                            WITH RECURSIVE up AS (
                                SELECT t.id, t.parent_task_id AS parent, 0 AS depth
                                UNION ALL
                                SELECT p.id, p.parent_task_id, up.depth + 1 FROM up JOIN tasks p ON p.id = up.parent
                                 WHERE up.depth < 64)
                            SELECT FROM up JOIN longshore.resource_locks l ON l.task_id = up.id
                             WHERE l.resource = ANY ($6)
                               AND NOT EXISTS (SELECT FROM longshore.resource_locks b
                                                WHERE b.resource = l.resource AND b.position < l.position)) AS due
                   FROM tasks t JOIN longshore.workers w ON w.id = t.worker_id
                  WHERE t.id = $1 AND t.worker_id = $2 AND t.attempt = $3
                    AND t.status IN ('in_progress', 'cancelled') AND t.assigned_to = ANY (w.agents)
                    AND w.lease_until > clock_timestamp()",
            )
            .bind(lease.task.as_str())
            .bind(&lease.worker)
            .bind(lease.attempt)
            .bind(&wake.signals)
            .bind(wake.children.iter().map(TaskId::as_str).collect::<Vec<_>>())
            .bind(&wake.locks)
            .fetch_optional(&mut *tx)
            .await?;
        let Some(row) = row else {
            // The answer to an earlier try may have been lost.
            let parked = self
                .query(
                    "SELECT FROM tasks
                      WHERE id = $1 AND attempt = $2 AND status = 'waiting' AND worker_id IS NULL AND wait = $3",
                )
                .bind(lease.task.as_str())
                .bind(lease.attempt)
                .bind(&wait)
                .fetch_optional(&mut *tx)
                .await?;
            return Ok(match parked {
                Some(_) => Settled::Written,
                None => Settled::LeaseLost,
            });
        };
        if row.get::<bool, _>("cancel") {
            return Ok(Settled::CancelRequested);
        }
        let delay = if failed {
            Some(settle.delay.as_secs_f64())
        } else {
            None
        };
        // A parked task wakes at its deadline at the latest.
        self.query(
            "UPDATE tasks
                SET status = 'waiting', worker_id = NULL, wait = $2,
                    -- Who comes to a new wait has got on since the last error: only those in a row count.
                    failures = CASE WHEN $8 THEN 0 ELSE failures + $3::int END,
                    run_at = CASE WHEN $4 THEN longshore.utc_now()
                                  WHEN $7 THEN 'infinity'
                                  ELSE least(coalesce(longshore.utc_now() + make_interval(secs => $5),
                                                      $6::timestamptz AT TIME ZONE 'UTC', 'infinity'),
                                             deadline_at) END
              WHERE id = $1",
        )
        .bind(lease.task.as_str())
        .bind(&wait)
        .bind(i32::from(failed))
        .bind(row.get::<bool, _>("due"))
        .bind(delay)
        .bind(wake.at)
        .bind(matches!(settle.outcome, Outcome::Hold(_)))
        .bind(matches!(settle.outcome, Outcome::Park(_)))
        .execute(&mut *tx)
        .await?;
        self.add_event(tx, lease, event.0, &event.1).await?;
        if let (Some(ticket), Some(report)) = (&settle.ticket, &news) {
            outbox::enqueue(tx, &lease.task, ticket, report).await?;
        }
        Ok(Settled::Written)
    }
}

impl<'a> Ended<'a> {
    fn of(settle: &'a Settle) -> Option<Self> {
        let Outcome::Ended {
            status,
            report,
            error,
        } = &settle.outcome
        else {
            return None;
        };
        let report = report.redacted();
        let result = crate::json::storable(&Told {
            report: &report,
            ticket: settle.ticket.as_ref().map(|_| TicketDelivery::Pending),
        });
        let error = error
            .as_ref()
            .map(|error| redact(&error.to_string().replace('\0', "\u{fffd}")).into_owned());
        Some(Self {
            settle,
            status: *status,
            report,
            result,
            error,
        })
    }
}

fn held(lease: &Lease, reason: &str) -> Report {
    Report::new(Verdict::Held, format!("Held: {reason}"))
        .who("a person who knows the system")
        .next_step(format!(
            "Look at the reason, then let it go on with `longshore tasks retry {}`",
            lease.task
        ))
        .next_step(format!(
            "Or undo what was done with `longshore tasks cancel {}`",
            lease.task
        ))
}
