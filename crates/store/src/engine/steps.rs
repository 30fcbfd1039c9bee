//! The rows of a task's journal: one for each step, written under the task's lease.

use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{Error, TicketRef};
use durable::{JournalError, Lease, Record, Recorded, StepKind, StepRef};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, Row, Transaction};

use super::lease::LeaseClock;
use super::recorder::Recorder;
use super::retry::patiently;
use crate::error::describe;
use crate::{Store, json};

pub(super) type Answer<T> = Result<T, JournalError>;

/// The journal of one claimed task. Each call is one transaction that first locks the task's row under its
/// lease, and can be repeated: what is recorded already is answered, not done again.
pub struct TaskJournal {
    pub(super) store: Store,
    recorder: Recorder,
    pub(super) ticket: Option<TicketRef>,
    pub(super) clock: LeaseClock,
}

/// A step's row as it stands.
pub(super) struct Step {
    pub outcome: Option<Value>,
    pub deadline: Option<DateTime<Utc>>,
}

pub(super) fn broken(doing: &'static str) -> impl Fn(sqlx::Error) -> JournalError {
    move |error| describe(&error, doing).into()
}

impl TaskJournal {
    pub fn new(store: Store, recorder: Recorder, ticket: Option<TicketRef>) -> Self {
        Self {
            store,
            recorder,
            ticket,
            clock: LeaseClock::default(),
        }
    }

    /// Of a worker that keeps its lease by this clock.
    #[must_use]
    pub fn under(self, clock: &LeaseClock) -> Self {
        Self {
            clock: clock.clone(),
            ..self
        }
    }

    pub(super) async fn begin(&self, lease: &Lease) -> Answer<Transaction<'static, Postgres>> {
        let mut tx = self
            .store
            .pool()
            .begin()
            .await
            .map_err(broken("begin a journal write"))?;
        self.store.fence(&mut tx, lease).await?;
        Ok(tx)
    }

    pub(super) async fn look(
        &self,
        tx: &mut PgConnection,
        lease: &Lease,
        at: &StepRef,
    ) -> Answer<Option<Step>> {
        let row = self
            .store
            .query("SELECT key, outcome, deadline FROM longshore.task_steps WHERE task_id = $1 AND scope = $2 AND seq = $3")
            .bind(lease.task.as_str())
            .bind(&at.scope)
            .bind(at.seq)
            .fetch_optional(tx)
            .await
            .map_err(broken("read a step"))?;
        let Some(row) = row else { return Ok(None) };
        let key: String = row.get("key");
        if key != at.key {
            return Err(Error::internal(format!(
                "step {} of scope {} is {key:?}, not {:?}",
                at.seq, at.scope, at.key
            ))
            .into());
        }
        let unread = broken("read a step");
        Ok(Some(Step {
            outcome: row.try_get("outcome").map_err(&unread)?,
            deadline: row.try_get("deadline").map_err(&unread)?,
        }))
    }

    /// Begins a step unless it was begun, with a deadline `after` from now.
    pub(super) async fn started(
        &self,
        tx: &mut PgConnection,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        after: Option<Duration>,
    ) -> Answer<Step> {
        if let Some(step) = self.look(tx, lease, at).await? {
            return Ok(step);
        }
        let row = self
            .store
            .query(
                "INSERT INTO longshore.task_steps (task_id, scope, seq, key, kind, deadline, attempt)
                 VALUES ($1, $2, $3, $4, $5, longshore.now() + make_interval(secs => $6), $7) RETURNING deadline",
            )
            .bind(lease.task.as_str())
            .bind(&at.scope)
            .bind(at.seq)
            .bind(&at.key)
            .bind(kind.as_str())
            .bind(after.map(|after| after.as_secs_f64()))
            .bind(lease.attempt)
            .fetch_one(tx)
            .await
            .map_err(broken("begin a step"))?;
        Ok(Step {
            outcome: None,
            deadline: row.try_get("deadline").map_err(broken("begin a step"))?,
        })
    }

    pub(super) async fn finish(
        &self,
        tx: &mut PgConnection,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: &Recorded,
    ) -> Answer<()> {
        let outcome = stored(outcome)?;
        self.store
            .query(
                "INSERT INTO longshore.task_steps AS s (task_id, scope, seq, key, kind, outcome, attempt, done_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp())
                 ON CONFLICT (task_id, scope, seq)
                 DO UPDATE SET outcome = excluded.outcome, attempt = excluded.attempt, done_at = excluded.done_at
                  WHERE s.outcome IS NULL AND s.key = excluded.key",
            )
            .bind(lease.task.as_str())
            .bind(&at.scope)
            .bind(at.seq)
            .bind(&at.key)
            .bind(kind.as_str())
            .bind(&outcome)
            .bind(lease.attempt)
            .execute(tx)
            .await
            .map_err(broken("record a step"))?;
        Ok(())
    }

    /// Begins a step, or ends it when it has an outcome. What is recorded already stays as it is.
    pub(super) async fn write(
        &self,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: Option<&Value>,
    ) -> Answer<()> {
        if self.recorder.write(lease, at, kind, outcome).await {
            return Ok(());
        }
        self.write_alone(lease, at, kind, outcome).await
    }

    /// The same for one that could not be written together with others: waits for the task's row, and tells what is wrong.
    async fn write_alone(
        &self,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: Option<&Value>,
    ) -> Answer<()> {
        let doing = "record a step";
        let mut session = self.store.session().await.map_err(broken(doing))?;
        let row = self
            .store
            .query(
                "WITH lease AS MATERIALIZED (
                     SELECT t.id FROM tasks t JOIN longshore.workers w ON w.id = t.worker_id
                      WHERE t.id = $1 AND t.worker_id = $2 AND t.attempt = $3
                        AND t.status IN ('in_progress', 'cancelled') AND t.assigned_to = ANY (w.agents)
                        AND w.lease_until > clock_timestamp()
                        FOR UPDATE OF t),
                 written AS (
                     INSERT INTO longshore.task_steps AS s (task_id, scope, seq, key, kind, outcome, attempt, done_at)
                     SELECT id, $4, $5, $6, $7, $8, $3, CASE WHEN $8::jsonb IS NOT NULL THEN clock_timestamp() END FROM lease
                     ON CONFLICT (task_id, scope, seq)
                     DO UPDATE SET outcome = excluded.outcome, attempt = excluded.attempt, done_at = excluded.done_at
                      WHERE s.outcome IS NULL AND s.key = excluded.key AND excluded.outcome IS NOT NULL
                  RETURNING 1)
                 SELECT EXISTS (SELECT FROM lease) AS leased, EXISTS (SELECT FROM written) AS written",
            )
            .bind(lease.task.as_str())
            .bind(&lease.worker)
            .bind(lease.attempt)
            .bind(&at.scope)
            .bind(at.seq)
            .bind(&at.key)
            .bind(kind.as_str())
            .bind(outcome)
            .fetch_one(&mut *session)
            .await
            .map_err(broken(doing))?;
        if !row.get::<bool, _>("leased") {
            return Err(JournalError::LeaseLost);
        }
        if !row.get::<bool, _>("written") {
            // The answer to an earlier try was lost; what it wrote was not. Or it is another step's place.
            self.look(&mut session, lease, at).await?;
        }
        session.end().await.map_err(broken("commit a step"))
    }

    pub(super) async fn commit(&self, tx: Transaction<'static, Postgres>) -> Answer<()> {
        tx.commit().await.map_err(broken("commit a step"))
    }

    pub(super) async fn is_past(&self, tx: &mut PgConnection, deadline: DateTime<Utc>) -> Answer<bool> {
        let row = self
            .store
            .query("SELECT longshore.now() >= $1 AS past")
            .bind(deadline)
            .fetch_one(tx)
            .await;
        Ok(row.map_err(broken("read the clock"))?.get("past"))
    }

    pub(super) async fn read_history(&self, lease: &Lease) -> Answer<Vec<Record>> {
        // Without a lock, which would have to be written down: whoever had the task before wrote under one, and the
        // claim that gave it to us waited for that.
        let rows = patiently(&self.store, || async {
            let mut tx = self
                .store
                .pool()
                .begin()
                .await
                .map_err(broken("read the journal"))?;
            let rows = self
                .store
                .query(
                    "SELECT s.scope, s.seq, s.key, s.kind, s.outcome
                       FROM tasks t JOIN longshore.workers w ON w.id = t.worker_id
                       LEFT JOIN longshore.task_steps s ON s.task_id = t.id
                      WHERE t.id = $1 AND t.worker_id = $2 AND t.attempt = $3
                        AND t.status IN ('in_progress', 'cancelled') AND t.assigned_to = ANY (w.agents)
                        AND w.lease_until > clock_timestamp()
                      ORDER BY s.scope, s.seq",
                )
                .bind(lease.task.as_str())
                .bind(&lease.worker)
                .bind(lease.attempt)
                .fetch_all(&mut *tx)
                .await
                .map_err(broken("read the journal"))?;
            self.commit(tx).await?;
            Ok(rows)
        })
        .await?;
        if rows.is_empty() {
            return Err(JournalError::LeaseLost);
        }
        rows.iter()
            .filter(|row| row.get::<Option<String>, _>("scope").is_some())
            .map(|row| {
                let (scope, kind): (String, String) = (row.get("scope"), row.get("kind"));
                let at = StepRef {
                    scope,
                    seq: row.get("seq"),
                    key: row.get("key"),
                };
                let kind = StepKind::parse(&kind).ok_or_else(|| {
                    Error::internal(format!("step {:?} has the unknown kind {kind:?}", at.key))
                })?;
                let outcome = row
                    .try_get::<Option<Value>, _>("outcome")
                    .map_err(broken("read the journal"))?
                    .map(serde_json::from_value)
                    .transpose()
                    .map_err(|error| {
                        Error::internal(format!("step {:?} cannot be read", at.key)).because(&error)
                    })?;
                Ok(Record { at, kind, outcome })
            })
            .collect()
    }
}

/// A step's outcome as it may be written down.
pub(super) fn stored(outcome: &Recorded) -> Answer<Value> {
    let mut outcome = serde_json::to_value(outcome)
        .map_err(|error| Error::internal("a step's result cannot be written as JSON").because(&error))?;
    json::replace_nul(&mut outcome);
    domain::redact_json(&mut outcome);
    Ok(outcome)
}

pub(super) fn recorded_value(outcome: Value) -> Answer<Value> {
    match serde_json::from_value(outcome) {
        Ok(Recorded::Ok(value)) => Ok(value),
        Ok(Recorded::Err(error)) => Err(error.into()),
        Err(error) => Err(Error::internal("a recorded step cannot be read")
            .because(&error)
            .into()),
    }
}

pub(super) fn read<T: serde::de::DeserializeOwned>(outcome: Value) -> Answer<T> {
    serde_json::from_value(recorded_value(outcome)?).map_err(|error| {
        Error::internal("a recorded step cannot be read")
            .because(&error)
            .into()
    })
}
