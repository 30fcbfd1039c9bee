//! Writes the steps of many tasks together: what comes while one batch is written is the next.

use std::collections::HashSet;

use durable::{Lease, StepKind, StepRef};
use serde_json::Value;
use sqlx::Row;
use tokio::sync::{mpsc, oneshot};

use crate::Store;
use crate::error::SqlResult;

/// The most steps that one statement writes.
const BATCH: usize = 200;

struct Asked {
    lease: Lease,
    at: StepRef,
    kind: StepKind,
    outcome: Option<Value>,
    written: oneshot::Sender<bool>,
}

/// The way to the writer of steps; cheap to clone. It ends with the last of its clones.
#[derive(Clone)]
pub struct Recorder(mpsc::Sender<Asked>);

impl Recorder {
    pub fn start(store: Store) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Asked>(BATCH);
        tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH);
            while receiver.recv_many(&mut batch, BATCH).await > 0 {
                let written = store.within("record steps", store.record_steps(&batch)).await;
                let written = written.unwrap_or_else(|error| {
                    // Each is tried again alone, which tells whose fault it was.
                    tracing::debug!(error = %error, steps = batch.len(), "Could not record steps together");
                    Vec::new()
                });
                for (at, asked) in batch.drain(..).enumerate() {
                    // Whoever asked may have lost its lease and be gone.
                    let _ = asked.written.send(written.get(at).copied().unwrap_or(false));
                }
            }
        });
        Self(sender)
    }

    /// Begins a step, or ends it when it has an outcome. False when that could not be done here: the lease is lost, the
    /// step is recorded already, somebody has the task's row, or the database did not answer.
    pub(super) async fn write(
        &self,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: Option<&Value>,
    ) -> bool {
        let (written, answer) = oneshot::channel();
        let asked = Asked {
            lease: lease.clone(),
            at: at.clone(),
            kind,
            outcome: outcome.cloned(),
            written,
        };
        self.0.send(asked).await.is_ok() && answer.await.unwrap_or(false)
    }
}

impl Store {
    /// Which of the steps were written. A task whose row somebody has is left out, so that nobody waits for another's.
    async fn record_steps(&self, batch: &[Asked]) -> domain::Result<Vec<bool>> {
        let doing = "record steps";
        let mut session = self.pinned_session().await.doing(doing)?;
        let rows = self
            .query(
                "WITH lease AS MATERIALIZED (
                     SELECT a.* FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::int[], $6::text[],
                                            $7::text[], $8::jsonb[])
                            AS a(task, worker, attempt, scope, seq, key, kind, outcome)
                       JOIN tasks t ON t.id = a.task AND t.worker_id = a.worker AND t.attempt = a.attempt
                      WHERE t.status IN ('in_progress', 'cancelled')
                        AND EXISTS (SELECT FROM longshore.workers w
                                     WHERE w.id = a.worker AND w.lease_until > clock_timestamp()
                                       AND t.assigned_to = ANY (w.agents))
                        FOR UPDATE OF t SKIP LOCKED)
                 INSERT INTO longshore.task_steps AS s (task_id, scope, seq, key, kind, outcome, attempt, done_at)
                 SELECT task, scope, seq, key, kind, outcome, attempt,
                        CASE WHEN outcome IS NOT NULL THEN clock_timestamp() END
                   FROM lease
                 ON CONFLICT (task_id, scope, seq)
                 DO UPDATE SET outcome = excluded.outcome, attempt = excluded.attempt, done_at = excluded.done_at
                  WHERE s.outcome IS NULL AND s.key = excluded.key AND excluded.outcome IS NOT NULL
                 RETURNING task_id, scope, seq",
            )
            .bind(batch.iter().map(|a| a.lease.task.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|a| &*a.lease.worker).collect::<Vec<_>>())
            .bind(batch.iter().map(|a| a.lease.attempt).collect::<Vec<_>>())
            .bind(batch.iter().map(|a| a.at.scope.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|a| a.at.seq).collect::<Vec<_>>())
            .bind(batch.iter().map(|a| a.at.key.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|a| a.kind.as_str()).collect::<Vec<_>>())
            .bind(batch.iter().map(|a| a.outcome.as_ref()).collect::<Vec<_>>())
            .fetch_all(&mut *session)
            .await
            .doing(doing)?;
        session.end().await.doing(doing)?;
        if rows.len() == batch.len() {
            return Ok(vec![true; batch.len()]);
        }
        let written: HashSet<(String, String, i32)> = rows
            .iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
            .collect::<sqlx::Result<_>>()
            .doing(doing)?;
        let place = |a: &Asked| (a.lease.task.to_string(), a.at.scope.clone(), a.at.seq);
        Ok(batch
            .iter()
            .map(|asked| written.contains(&place(asked)))
            .collect())
    }
}
