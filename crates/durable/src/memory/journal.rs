use std::time::Duration;

use async_trait::async_trait;
use domain::{Error, NewTask, Report, Staged, TaskId};
use serde_json::{Value, json};

use super::world::{Queued, Row, State, World};
use crate::{
    ChildOutcome, Heard, Journal, JournalError, Lease, LockPlace, LockState, Record, Recorded, SignalState,
    StepKind, StepRef, TimerState,
};

type Answer<T> = Result<T, JournalError>;

impl Row {
    /// Begins a step unless it was begun; answers its outcome if it is done.
    fn begin(&mut self, at: &StepRef, kind: StepKind) -> Answer<Option<Recorded>> {
        match self.step(at) {
            Some(step) if step.at.key != at.key => Err(Error::internal(format!(
                "step {} of scope {} is {:?}, not {:?}",
                at.seq, at.scope, step.at.key, at.key
            ))
            .into()),
            Some(step) => Ok(step.outcome.clone()),
            None => {
                self.steps.push(Record {
                    at: at.clone(),
                    kind,
                    outcome: None,
                });
                Ok(None)
            }
        }
    }

    fn step(&mut self, at: &StepRef) -> Option<&mut Record> {
        self.steps
            .iter_mut()
            .find(|step| step.at.scope == at.scope && step.at.seq == at.seq)
    }

    /// The first outcome stays: whoever repeats a write had not heard that it went through.
    fn finish(&mut self, at: &StepRef, kind: StepKind, outcome: Recorded) -> Answer<()> {
        if self.begin(at, kind)?.is_none()
            && let Some(step) = self.step(at)
        {
            step.outcome = Some(outcome);
        }
        Ok(())
    }
}

impl State {
    /// Whom the task queues behind; nobody when it, or an ancestor of it, holds the resource.
    fn queue_for(&mut self, task: &TaskId, resource: &str, place: LockPlace) -> Option<TaskId> {
        let family = self.family(task);
        let queue = self.locks.entry(resource.to_owned()).or_default();
        if queue.first().is_some_and(|holder| family.contains(&holder.task)) {
            return None;
        }
        let known = queue.iter().position(|queued| queued.task == *task);
        let at = known.unwrap_or_else(|| {
            let first = place == LockPlace::First;
            let firsts = queue.iter().skip(1).take_while(|queued| queued.first).count();
            let at = match first {
                true => queue.len().min(1 + firsts),
                false => queue.len(),
            };
            let task = task.clone();
            queue.insert(at, Queued { task, first });
            at
        });
        let before = at.checked_sub(1)?;
        queue.get(before).map(|queued| queued.task.clone())
    }
}

fn again<T: serde::de::DeserializeOwned>(outcome: Recorded) -> Answer<T> {
    match outcome {
        Recorded::Ok(value) => serde_json::from_value(value)
            .map_err(|error| Error::internal(format!("a recorded step cannot be read: {error}")).into()),
        Recorded::Err(error) => Err(error.into()),
    }
}

#[async_trait]
impl Journal for World {
    fn may_hold(&self, lease: &Lease) -> bool {
        self.state().fenced(lease).is_ok()
    }

    async fn history(&self, lease: &Lease) -> Answer<Vec<Record>> {
        Ok(self.state().fenced(lease)?.steps.clone())
    }

    async fn start(&self, lease: &Lease, at: &StepRef) -> Answer<()> {
        self.state()
            .fenced(lease)?
            .begin(at, StepKind::Effect)
            .map(|_| ())
    }

    async fn done(
        &self,
        lease: &Lease,
        at: &StepRef,
        kind: StepKind,
        outcome: &Recorded,
        staged: Vec<Staged>,
    ) -> Answer<()> {
        let mut state = self.state();
        let row = state.fenced(lease)?;
        if row.begin(at, kind)?.is_none() {
            row.finish(at, kind, outcome.clone())?;
            state.staged.extend(staged);
        }
        Ok(())
    }

    async fn timer(&self, lease: &Lease, at: &StepRef, after: Duration) -> Answer<TimerState> {
        let mut state = self.state();
        let now = state.now;
        let row = state.fenced(lease)?;
        if row.begin(at, StepKind::Sleep)?.is_some() {
            return Ok(TimerState::Due);
        }
        let due = now + chrono::Duration::from_std(after).unwrap_or(chrono::Duration::MAX);
        let due = row
            .deadlines
            .entry((at.scope.clone(), at.seq))
            .or_insert(Some(due))
            .unwrap_or(now);
        if now < due {
            return Ok(TimerState::Until(due));
        }
        row.finish(at, StepKind::Sleep, Recorded::Ok(Value::Null))?;
        Ok(TimerState::Due)
    }

    async fn take_signal(
        &self,
        lease: &Lease,
        at: &StepRef,
        others: &[&str],
        limit: Option<Duration>,
    ) -> Answer<SignalState> {
        let mut state = self.state();
        let now = state.now;
        let row = state.fenced(lease)?;
        if let Some(outcome) = row.begin(at, StepKind::Signal)? {
            return match others {
                [] => again(outcome).map(SignalState::Received),
                _ => again::<Option<Heard>>(outcome).map(|heard| SignalState::of(at, heard)),
            };
        }
        let until =
            limit.map(|limit| now + chrono::Duration::from_std(limit).unwrap_or(chrono::Duration::MAX));
        let until = *row.deadlines.entry((at.scope.clone(), at.seq)).or_insert(until);
        let wanted = |name: &String| *name == at.key || others.contains(&name.as_str());
        if let Some(found) = row.signals.iter().position(|(name, _)| wanted(name)) {
            let (signal, value) = row.signals.remove(found);
            if others.is_empty() {
                row.finish(at, StepKind::Signal, Recorded::Ok(value.clone()))?;
                return Ok(SignalState::Received(value));
            }
            let heard = Heard { signal, value };
            row.finish(at, StepKind::Signal, Recorded::Ok(json!(heard)))?;
            return Ok(SignalState::of(at, Some(heard)));
        }
        if until.is_some_and(|until| until <= now) {
            row.finish(at, StepKind::Signal, Recorded::Ok(Value::Null))?;
            return Ok(SignalState::TimedOut);
        }
        Ok(SignalState::Waiting { until })
    }

    async fn lock(&self, lease: &Lease, at: &StepRef, resource: &str, place: LockPlace) -> Answer<LockState> {
        let mut state = self.state();
        if state.fenced(lease)?.begin(at, StepKind::Lock)?.is_some() {
            return Ok(LockState::Held);
        }
        if let Some(before) = state.queue_for(&lease.task, resource, place) {
            return Ok(LockState::Behind(before));
        }
        state
            .fenced(lease)?
            .finish(at, StepKind::Lock, Recorded::Ok(json!(resource)))?;
        Ok(LockState::Held)
    }

    async fn unlock(&self, lease: &Lease, at: &StepRef, resource: &str) -> Answer<()> {
        let mut state = self.state();
        let row = state.fenced(lease)?;
        if row.begin(at, StepKind::Unlock)?.is_some() {
            return Ok(());
        }
        row.finish(at, StepKind::Unlock, Recorded::Ok(json!(resource)))?;
        if let Some(queue) = state.locks.get_mut(resource) {
            queue.retain(|queued| queued.task != lease.task);
        }
        Ok(())
    }

    async fn spawn(&self, lease: &Lease, at: &StepRef, child: &NewTask) -> Answer<TaskId> {
        let mut state = self.state();
        let row = state.fenced(lease)?;
        if let Some(outcome) = row.begin(at, StepKind::Spawn)? {
            return again(outcome);
        }
        let repo = row.info.repo.as_ref().map(|repo| repo.id.clone());
        let mut child = child.clone();
        child.parent = Some(lease.task.clone());
        child.repo_id = child.repo_id.or(repo);
        let id = state.insert(child);
        state
            .fenced(lease)?
            .finish(at, StepKind::Spawn, Recorded::Ok(json!(id)))?;
        Ok(id)
    }

    async fn child(&self, lease: &Lease, at: &StepRef, child: &TaskId) -> Answer<Option<ChildOutcome>> {
        let mut state = self.state();
        if let Some(outcome) = state.fenced(lease)?.begin(at, StepKind::Child)? {
            return again(outcome).map(Some);
        }
        let view = match state.tasks.get(child) {
            Some(row) if !(row.status.is_terminal() && row.idle()) => return Ok(None),
            Some(row) => row.outcome(),
            None => ChildOutcome::gone(child),
        };
        state
            .fenced(lease)?
            .finish(at, StepKind::Child, Recorded::Ok(json!(view)))?;
        Ok(Some(view))
    }

    async fn cancel_child(&self, lease: &Lease, child: &TaskId) -> Answer<()> {
        let mut state = self.state();
        state.fenced(lease)?;
        state.cancel(child);
        Ok(())
    }

    async fn tell(&self, lease: &Lease, at: &StepRef, report: &Report) -> Answer<()> {
        let mut state = self.state();
        let row = state.fenced(lease)?;
        if row.begin(at, StepKind::Tell)?.is_some() {
            return Ok(());
        }
        row.finish(at, StepKind::Tell, Recorded::Ok(Value::Null))?;
        state.told.push((lease.task.clone(), report.clone()));
        Ok(())
    }
}
