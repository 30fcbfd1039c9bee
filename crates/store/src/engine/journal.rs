use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Error, NewTask, Report, Staged, TaskId, TicketRef};
use durable::{
    ChildOutcome, Journal, JournalError, Lease, LockState, Record, Recorded, SignalState, StepKind, StepRef,
    TimerState,
};
use serde_json::Value;
use sqlx::{PgConnection, Postgres, Row, Transaction};

use super::retry::patiently;
use crate::error::describe;
use crate::{Store, json, memory, outbox};

type Answer<T> = Result<T, JournalError>;

/// The journal of one claimed task. Each call is one transaction that first locks the task's row under its
/// lease, and can be repeated: what is recorded already is answered, not done again.
pub struct TaskJournal {
    store: Store,
    ticket: Option<TicketRef>,
}

/// A step's row as it stands.
struct Step {
    outcome: Option<Value>,
    deadline: Option<DateTime<Utc>>,
}

fn broken(doing: &'static str) -> impl Fn(sqlx::Error) -> JournalError {
    move |error| describe(&error, doing).into()
}

impl TaskJournal {
    pub fn new(store: Store, ticket: Option<TicketRef>) -> Self {
        Self { store, ticket }
    }

    async fn begin(&self, lease: &Lease) -> Answer<Transaction<'static, Postgres>> {
        let mut tx = self
            .store
            .pool()
            .begin()
            .await
            .map_err(broken("begin a journal write"))?;
        self.store.fence(&mut tx, lease).await?;
        Ok(tx)
    }

    async fn look(&self, tx: &mut PgConnection, lease: &Lease, at: &StepRef) -> Answer<Option<Step>> {
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
    async fn started(
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

    async fn finish(
        &self,
        tx: &mut PgConnection,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: &Recorded,
    ) -> Answer<()> {
        let mut outcome = serde_json::to_value(outcome)
            .map_err(|error| Error::internal("a step's result cannot be written as JSON").because(&error))?;
        json::replace_nul(&mut outcome);
        domain::redact_json(&mut outcome);
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

    async fn commit(&self, tx: Transaction<'static, Postgres>) -> Answer<()> {
        tx.commit().await.map_err(broken("commit a step"))
    }

    async fn is_past(&self, tx: &mut PgConnection, deadline: DateTime<Utc>) -> Answer<bool> {
        let row = self
            .store
            .query("SELECT longshore.now() >= $1 AS past")
            .bind(deadline)
            .fetch_one(tx)
            .await;
        Ok(row.map_err(broken("read the clock"))?.get("past"))
    }
}

fn recorded_value(outcome: Value) -> Answer<Value> {
    match serde_json::from_value(outcome) {
        Ok(Recorded::Ok(value)) => Ok(value),
        Ok(Recorded::Err(error)) => Err(error.into()),
        Err(error) => Err(Error::internal("a recorded step cannot be read")
            .because(&error)
            .into()),
    }
}

fn read<T: serde::de::DeserializeOwned>(outcome: Value) -> Answer<T> {
    serde_json::from_value(recorded_value(outcome)?).map_err(|error| {
        Error::internal("a recorded step cannot be read")
            .because(&error)
            .into()
    })
}

#[async_trait]
impl Journal for TaskJournal {
    async fn history(&self, lease: &Lease) -> Answer<Vec<Record>> {
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

    async fn start(&self, lease: &Lease, at: &StepRef) -> Answer<()> {
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            self.started(&mut tx, lease, at, StepKind::Effect, None).await?;
            self.commit(tx).await
        })
        .await
    }

    async fn done(
        &self,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: &Recorded,
        staged: Vec<Staged>,
    ) -> Answer<()> {
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            if self
                .look(&mut tx, lease, at)
                .await?
                .is_some_and(|step| step.outcome.is_some())
            {
                // The answer to an earlier try was lost; what it wrote was not.
                return Ok(());
            }
            self.finish(&mut tx, lease, at, kind, outcome).await?;
            memory::apply(&self.store, &mut tx, &lease.task, &staged).await?;
            self.commit(tx).await
        })
        .await
    }

    async fn timer(&self, lease: &Lease, at: &StepRef, after: Duration) -> Answer<TimerState> {
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            let step = self
                .started(&mut tx, lease, at, StepKind::Sleep, Some(after))
                .await?;
            let state = match step.deadline {
                Some(at) if step.outcome.is_none() && !self.is_past(&mut tx, at).await? => {
                    TimerState::Until(at)
                }
                _ => {
                    self.finish(&mut tx, lease, at, StepKind::Sleep, &Recorded::Ok(Value::Null))
                        .await?;
                    TimerState::Due
                }
            };
            self.commit(tx).await?;
            Ok(state)
        })
        .await
    }

    async fn take_signal(&self, lease: &Lease, at: &StepRef, limit: Option<Duration>) -> Answer<SignalState> {
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            let step = self.started(&mut tx, lease, at, StepKind::Signal, limit).await?;
            if let Some(outcome) = step.outcome {
                return recorded_value(outcome).map(SignalState::Received);
            }
            let taken = self
                .store
                .query(
                    "DELETE FROM longshore.signals WHERE id = (
                         SELECT id FROM longshore.signals WHERE task_id = $1 AND name = $2 ORDER BY id LIMIT 1)
                     RETURNING value",
                )
                .bind(lease.task.as_str())
                .bind(&at.key)
                .fetch_optional(&mut *tx)
                .await
                .map_err(broken("take a signal"))?;
            let state = match (taken, step.deadline) {
                (Some(row), _) => SignalState::Received(row.try_get("value").map_err(broken("take a signal"))?),
                (None, Some(until)) if self.is_past(&mut tx, until).await? => SignalState::TimedOut,
                (None, until) => SignalState::Waiting { until },
            };
            let outcome = match &state {
                SignalState::Received(value) => Some(value.clone()),
                SignalState::TimedOut => Some(Value::Null),
                SignalState::Waiting { .. } => None,
            };
            if let Some(value) = outcome {
                self.finish(&mut tx, lease, at, StepKind::Signal, &Recorded::Ok(value)).await?;
            }
            self.commit(tx).await?;
            Ok(state)
        })
        .await
    }

    async fn lock(&self, lease: &Lease, at: &StepRef, resource: &str) -> Answer<LockState> {
        patiently(&self.store, || async {
            let queueing = "queue for a lock";
            let mut tx = self.store.pool().begin().await.map_err(broken(queueing))?;
            self.store
                .one_at_a_time(&mut tx, resource)
                .await
                .map_err(broken(queueing))?;
            self.store.fence(&mut tx, lease).await?;
            let step = self.started(&mut tx, lease, at, StepKind::Lock, None).await?;
            if step.outcome.is_some() {
                return Ok(LockState::Held);
            }
            let state = self
                .store
                .queue_for(&mut tx, &lease.task, resource)
                .await
                .map_err(broken("queue for a lock"))?;
            if state == LockState::Held {
                self.finish(
                    &mut tx,
                    lease,
                    at,
                    StepKind::Lock,
                    &Recorded::Ok(serde_json::json!(resource)),
                )
                .await?;
            }
            self.commit(tx).await?;
            Ok(state)
        })
        .await
    }

    async fn spawn(&self, lease: &Lease, at: &StepRef, child: &NewTask) -> Answer<TaskId> {
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            if let Some(outcome) = self.look(&mut tx, lease, at).await?.and_then(|step| step.outcome) {
                return read(outcome);
            }
            let mut payload = child.payload.clone();
            json::replace_nul(&mut payload);
            domain::redact_json(&mut payload);
            let (id, exists) = self
                .store
                .insert_child(&mut tx, lease, child, &payload)
                .await
                .map_err(broken("insert a follow-on task"))?;
            self.finish(
                &mut tx,
                lease,
                at,
                StepKind::Spawn,
                &Recorded::Ok(serde_json::json!(id)),
            )
            .await?;
            let how = if exists { "found unfinished" } else { "started" };
            let told = format!(
                "{how} {} {id} for {}",
                child.task_type,
                child.assigned_to.as_deref().unwrap_or("anyone")
            );
            self.store
                .add_event(&mut tx, lease, "spawned", &told)
                .await
                .map_err(broken("write an event"))?;
            self.store.notify(&mut tx).await.map_err(broken("wake workers"))?;
            self.commit(tx).await?;
            Ok(id)
        })
        .await
    }

    async fn child(&self, lease: &Lease, at: &StepRef, child: &TaskId) -> Answer<Option<ChildOutcome>> {
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            let step = self.started(&mut tx, lease, at, StepKind::Child, None).await?;
            if let Some(outcome) = step.outcome {
                return read(outcome).map(Some);
            }
            let row = self
                .store
                .query(
                    "SELECT status, result, error,
                            -- Who ends a task of ours by hand need not clear what is ours in its row.
                            status IN ('completed', 'failed')
                            OR status = 'cancelled' AND worker_id IS NULL AND wait IS NULL AS over
                       FROM tasks WHERE id = $1",
                )
                .bind(child.as_str())
                .fetch_optional(&mut *tx)
                .await
                .map_err(broken("look at a child task"))?;
            let outcome = match row {
                // Somebody deleted it: its parent decides what that means.
                None => Some(ChildOutcome::gone(child)),
                Some(row) if row.get::<bool, _>("over") => {
                    let status: String = row.get("status");
                    let status = status.parse().map_err(|error| {
                        Error::internal(format!("task {child} has an unknown status")).because(&error)
                    })?;
                    Some(ChildOutcome {
                        status,
                        result: json::shown(&row, "result")
                            .map_err(broken("read a child task"))?
                            .unwrap_or(Value::Null),
                        error: row.get("error"),
                    })
                }
                Some(_) => None,
            };
            if let Some(outcome) = &outcome {
                let recorded = Recorded::Ok(serde_json::json!(outcome));
                self.finish(&mut tx, lease, at, StepKind::Child, &recorded)
                    .await?;
            }
            self.commit(tx).await?;
            Ok(outcome)
        })
        .await
    }

    async fn cancel_child(&self, lease: &Lease, child: &TaskId) -> Answer<()> {
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            // A child that another agent works on is that agent's row: it is left alone.
            self.store
                .query(
                    "UPDATE tasks t
                        SET status = 'cancelled',
                            completed_at = CASE WHEN t.status = 'pending' AND t.worker_id IS NULL AND t.wait IS NULL
                                                THEN longshore.utc_now() END
                       FROM longshore.workers w
                      WHERE t.id = $1 AND t.parent_task_id = $2 AND w.id = $3
                        AND (t.assigned_to = ANY (w.agents)
                             OR t.assigned_to IS NULL AND EXISTS (
                                 SELECT FROM unnest(w.serves) AS s WHERE split_part(s, '/', 1) = t.task_type))
                        AND t.status IN ('pending', 'in_progress', 'waiting')",
                )
                .bind(child.as_str())
                .bind(lease.task.as_str())
                .bind(&lease.worker)
                .execute(&mut *tx)
                .await
                .map_err(broken("cancel a child task"))?;
            self.store.notify(&mut tx).await.map_err(broken("wake workers"))?;
            self.commit(tx).await
        })
        .await
    }

    async fn tell(&self, lease: &Lease, at: &StepRef, report: &Report) -> Answer<()> {
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            if self
                .look(&mut tx, lease, at)
                .await?
                .is_some_and(|step| step.outcome.is_some())
            {
                return Ok(());
            }
            self.finish(&mut tx, lease, at, StepKind::Tell, &Recorded::Ok(Value::Null))
                .await?;
            self.store
                .add_event(&mut tx, lease, "told", &report.summary)
                .await
                .map_err(broken("write an event"))?;
            if let Some(ticket) = &self.ticket {
                outbox::enqueue(&mut tx, &lease.task, ticket, report)
                    .await
                    .map_err(broken("write to the outbox"))?;
            }
            self.commit(tx).await
        })
        .await
    }
}
