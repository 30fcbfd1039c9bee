//! What a handler asks of its journal.

use std::time::Duration;

use async_trait::async_trait;
use domain::{Error, NewTask, Report, Staged, TaskId};
use durable::{
    ChildOutcome, Heard, Journal, Lease, LockPlace, LockState, Record, Recorded, SignalState, StepKind,
    StepRef, TimerState,
};
use serde_json::Value;
use sqlx::Row;

use super::retry::patiently;
use super::steps::{Answer, TaskJournal, broken, read, recorded_value, stored};
use crate::{json, memory, outbox};

#[async_trait]
impl Journal for TaskJournal {
    fn may_hold(&self, _: &Lease) -> bool {
        !self.clock.left().is_zero()
    }

    async fn history(&self, lease: &Lease) -> Answer<Vec<Record>> {
        self.read_history(lease).await
    }

    async fn start(&self, lease: &Lease, at: &StepRef) -> Answer<()> {
        patiently(&self.store, || self.write(lease, at, StepKind::Effect, None)).await
    }

    async fn done(
        &self,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: &Recorded,
        staged: Vec<Staged>,
    ) -> Answer<()> {
        let stored = stored(outcome)?;
        if staged.is_empty() {
            return patiently(&self.store, || self.write(lease, at, kind, Some(&stored))).await;
        }
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

    async fn take_signal(
        &self,
        lease: &Lease,
        at: &StepRef,
        others: &[&str],
        limit: Option<Duration>,
    ) -> Answer<SignalState> {
        let wanted: Vec<&str> = others.iter().copied().chain([at.key.as_str()]).collect();
        patiently(&self.store, || async {
            let mut tx = self.begin(lease).await?;
            let step = self.started(&mut tx, lease, at, StepKind::Signal, limit).await?;
            if let Some(outcome) = step.outcome {
                return match others {
                    [] => recorded_value(outcome).map(SignalState::Received),
                    _ => read::<Option<Heard>>(outcome).map(|heard| SignalState::of(at, heard)),
                };
            }
            let taken = self
                .store
                .query(
                    "DELETE FROM longshore.signals WHERE id = (
                         SELECT id FROM longshore.signals WHERE task_id = $1 AND name = ANY ($2) ORDER BY id LIMIT 1)
                     RETURNING name, value",
                )
                .bind(lease.task.as_str())
                .bind(&wanted)
                .fetch_optional(&mut *tx)
                .await
                .map_err(broken("take a signal"))?;
            let heard = taken.map(|row| {
                let (signal, value) = (row.try_get("name")?, row.try_get("value")?);
                Ok(Heard { signal, value })
            });
            let heard = heard.transpose().map_err(broken("take a signal"))?;
            let state = match (heard, step.deadline) {
                (Some(heard), _) => SignalState::of(at, Some(heard)),
                (None, Some(until)) if self.is_past(&mut tx, until).await? => SignalState::TimedOut,
                (None, until) => SignalState::Waiting { until },
            };
            let outcome = match &state {
                SignalState::Received(value) if others.is_empty() => Some(value.clone()),
                SignalState::Received(value) => Some(serde_json::json!(Heard {
                    signal: at.key.clone(),
                    value: value.clone(),
                })),
                SignalState::Other(heard) => Some(serde_json::json!(heard)),
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

    async fn lock(&self, lease: &Lease, at: &StepRef, resource: &str, place: LockPlace) -> Answer<LockState> {
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
                .queue_for(&mut tx, &lease.task, resource, place)
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

    async fn unlock(&self, lease: &Lease, at: &StepRef, resource: &str) -> Answer<()> {
        patiently(&self.store, || async {
            let letting_go = "let a lock go";
            let mut tx = self.store.pool().begin().await.map_err(broken(letting_go))?;
            self.store
                .one_at_a_time(&mut tx, resource)
                .await
                .map_err(broken(letting_go))?;
            self.store.fence(&mut tx, lease).await?;
            let step = self.started(&mut tx, lease, at, StepKind::Unlock, None).await?;
            if step.outcome.is_some() {
                return Ok(());
            }
            let resources = [resource.to_owned()];
            let woken = self
                .store
                .leave_queues(&mut tx, &resources, &[lease.task.as_str()])
                .await
                .map_err(broken(letting_go))?;
            let recorded = Recorded::Ok(serde_json::json!(resource));
            self.finish(&mut tx, lease, at, StepKind::Unlock, &recorded)
                .await?;
            if woken {
                self.store.notify(&mut tx).await.map_err(broken(letting_go))?;
            }
            self.commit(tx).await
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
            let (id, exists) = self.store.insert_child(&mut tx, lease, child, &payload).await?;
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
            let told = self.store.told_with_parent(&mut tx, &lease.task).await?;
            // A child that another agent works on is that agent's row: it is left alone.
            self.store
                .query(
                    "WITH asked AS (
                         UPDATE tasks t
                            SET status = 'cancelled',
                                completed_at = CASE WHEN t.status = 'pending' AND t.worker_id IS NULL AND t.wait IS NULL
                                                    THEN longshore.utc_now() END
                           FROM longshore.workers w
                          WHERE t.id = $1 AND t.parent_task_id = $2 AND w.id = $3
                            AND (t.assigned_to = ANY (w.agents)
                                 OR t.assigned_to IS NULL AND EXISTS (
                                     SELECT FROM unnest(w.serves) AS s WHERE split_part(s, '/', 1) = t.task_type))
                            AND t.status IN ('pending', 'in_progress', 'waiting')
                      RETURNING t.id, t.attempt)
                     INSERT INTO longshore.task_events (task_id, kind, attempt, summary)
                     SELECT id, 'cancel asked', attempt, $4 FROM asked",
                )
                .bind(child.as_str())
                .bind(lease.task.as_str())
                .bind(&lease.worker)
                .bind(told)
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
