//! What monitoring wants to know of the tables, from live rows alone: however many are over costs nothing.

use domain::Result;
use sqlx::Row;

use crate::error::SqlResult;
use crate::rules::running;
use crate::{QueueRule, Store};

/// The state of the queue at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// By type and state, the fullest first.
    pub tasks: Vec<Live>,
    pub notes: NoteFigures,
    /// Workers whose lease has not run out.
    pub workers: i64,
    /// Limits and pauses.
    pub rules: Vec<QueueRule>,
}

/// Tasks of one type in one state that are not over.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    pub task_type: String,
    /// A status, or `held`: waiting for a person.
    pub state: String,
    pub count: i64,
    /// Of those that could run by now: how long the longest has waited to be claimed, in seconds. 0 for other states.
    pub oldest_s: f64,
}

/// Notes on tickets that are still to be written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NoteFigures {
    /// To be written, now or after a delay.
    pub due: i64,
    /// Those of them whose last try failed.
    pub failing: i64,
    /// Given up for good.
    pub given_up: i64,
    /// How long the oldest that could be written has waited, in seconds.
    pub oldest_s: f64,
}

impl Store {
    /// Takes all figures in one transaction.
    pub async fn figures(&self) -> Result<Figures> {
        let doing = "read the queue's figures";
        let mut tx = self.pool().begin().await.doing(doing)?;
        // Each branch is one partial index.
        let tasks = self
            .query(
                concat!("SELECT task_type, state, count(*) AS count,
                        coalesce(extract(epoch FROM longshore.utc_now() - min(run_at) FILTER (
                            WHERE state = 'pending' AND isfinite(run_at) AND run_at <= longshore.utc_now())), 0)::float8 AS oldest_s
                   FROM (SELECT task_type, 'pending' AS state, run_at FROM tasks WHERE live = 'pending' AND assigned_to IS NOT NULL
                         UNION ALL
                         SELECT task_type, 'pending', run_at FROM tasks WHERE live = 'pending' AND assigned_to IS NULL
                         UNION ALL
                         SELECT task_type, 'pending', run_at FROM tasks WHERE live = 'later'
                         UNION ALL
                         SELECT task_type, CASE WHEN wait ? 'held' THEN 'held' ELSE 'waiting' END, run_at
                           FROM tasks WHERE live = 'waiting'
                         UNION ALL
                         SELECT task_type, status, run_at FROM tasks WHERE live = 'taken'
                         UNION ALL
                         SELECT task_type, 'in_progress', NULL FROM ", running!(), " AS running) AS live
                  GROUP BY task_type, state ORDER BY count DESC, task_type, state"),
            )
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        let notes = self
            .query(
                "SELECT count(*) AS due, count(*) FILTER (WHERE error IS NOT NULL) AS failing,
                        (SELECT count(*) FROM longshore.ticket_outbox WHERE failed IS NOT NULL) AS given_up,
                        (SELECT count(*) FROM longshore.workers WHERE lease_until > clock_timestamp()) AS workers,
                        coalesce(extract(epoch FROM longshore.now() - min(due_at) FILTER (
                            WHERE isfinite(due_at) AND due_at <= longshore.now())), 0)::float8 AS oldest_s
                   FROM longshore.ticket_outbox WHERE due_at IS NOT NULL",
            )
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        let rules = self.rules_in(&mut tx).await?;
        tx.commit().await.doing(doing)?;
        let read = move || -> sqlx::Result<Figures> {
            Ok(Figures {
                tasks: tasks
                    .iter()
                    .map(|row| {
                        Ok(Live {
                            task_type: row.try_get("task_type")?,
                            state: row.try_get("state")?,
                            count: row.try_get("count")?,
                            oldest_s: row.try_get("oldest_s")?,
                        })
                    })
                    .collect::<sqlx::Result<_>>()?,
                notes: NoteFigures {
                    due: notes.try_get("due")?,
                    failing: notes.try_get("failing")?,
                    given_up: notes.try_get("given_up")?,
                    oldest_s: notes.try_get("oldest_s")?,
                },
                workers: notes.try_get("workers")?,
                rules,
            })
        };
        read().doing(doing)
    }
}
