use std::time::Duration;

use chrono::{DateTime, Utc};
use domain::{Approval, NewTask, Report, TaskId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::scope::Open;
use crate::{
    ChildOutcome, Heard, JournalError, LockPlace, LockState, Recorded, SignalState, StepKey, StepKind, Stop,
    TaskCx, TimerState, Wake,
};

/// What a wait for a signal came to that listened for others too.
#[derive(Clone, Debug, PartialEq)]
pub enum Waited<T> {
    Got(T),
    /// One of the others came first, or between.
    Interrupted(Heard),
    TimedOut,
}

impl TaskCx {
    /// Lets time pass without holding a slot. The deadline is absolute from the first call on.
    pub async fn sleep(&self, key: impl Into<StepKey>, duration: Duration) -> Result<(), Stop> {
        self.timer(&key.into(), None, duration, false).await
    }

    /// [`TaskCx::sleep`] with words for people: `for v2 to become ready`.
    pub async fn sleep_for(
        &self,
        key: impl Into<StepKey>,
        why: &str,
        duration: Duration,
    ) -> Result<(), Stop> {
        self.timer(&key.into(), Some(why), duration, false).await
    }

    /// [`TaskCx::sleep_for`] between two looks at the same thing: the ticket is not told each time.
    pub async fn nap(&self, key: impl Into<StepKey>, why: &str, duration: Duration) -> Result<(), Stop> {
        self.timer(&key.into(), Some(why), duration, true).await
    }

    async fn timer(
        &self,
        key: &StepKey,
        why: Option<&str>,
        duration: Duration,
        quiet: bool,
    ) -> Result<(), Stop> {
        let open = self.open(key, StepKind::Sleep)?;
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return self.replay::<Value>(&open, outcome).map(|_| ());
        }
        let shared = &self.shared;
        let answer = shared.journal.timer(&shared.lease, &open.at, duration).await;
        match self.take(&open, StepKind::Sleep, answer).await? {
            TimerState::Due => {
                self.note(&open, StepKind::Sleep, &Value::Null);
                Ok(())
            }
            TimerState::Until(at) => Err(self.park(Wake {
                at: Some(at),
                why: until(why.unwrap_or(&open.at.key), Some(at)),
                quiet,
                ..Wake::default()
            })),
        }
    }

    /// Waits for a signal of that name: an approval, a callback. None when `limit` passed first. A signal that
    /// came before the wait is taken too, and each is taken once.
    pub async fn wait_for<T: DeserializeOwned>(
        &self,
        key: impl Into<StepKey>,
        limit: Option<Duration>,
    ) -> Result<Option<T>, Stop> {
        let key = key.into();
        let why = format!("for {}", key.as_str());
        self.signal(&key, limit, why).await
    }

    /// Waits for a person to approve or reject `what`; None when `limit` passed first. The API and the command line
    /// answer it (`longshore tasks approve`), with who did and when.
    pub async fn wait_for_approval(
        &self,
        what: &str,
        limit: Option<Duration>,
    ) -> Result<Option<Approval>, Stop> {
        let why = format!("for somebody to approve {what}");
        let plain = StepKey::from(Approval::signal(what));
        // An answer to the run that came too late for it must not be taken for one to this. What was asked by a version that
        // did not tell them apart goes on under its name.
        let key = match self.is_unwinding() && !self.scope.has_next(&plain) {
            true => StepKey::from(Approval::signal_of_unwind(what)),
            false => plain,
        };
        self.signal(&key, limit, why).await
    }

    /// [`TaskCx::wait_for_approval`] that another signal ends too. The question is then no longer asked: who wants to
    /// ask it again gives it another name.
    pub async fn wait_for_approval_or(
        &self,
        what: &str,
        limit: Option<Duration>,
        others: &[&str],
    ) -> Result<Waited<Approval>, Stop> {
        let why = format!("for somebody to approve {what}");
        let key = match self.is_unwinding() {
            true => Approval::signal_of_unwind(what),
            false => Approval::signal(what),
        };
        let key = StepKey::from(key);
        self.any_signal(&key, limit, others, |_| Wake {
            why,
            ..Wake::default()
        })
        .await
    }

    /// Waits until one of these signals comes, however long that is. The ticket keeps what was told last: who calls this has
    /// said there what it waits for, and what ends it.
    pub async fn wait_for_any(
        &self,
        key: impl Into<StepKey>,
        why: &str,
        signals: &[&str],
    ) -> Result<Heard, Stop> {
        let key = key.into();
        let wake = |_| Wake {
            why: why.to_owned(),
            quiet: true,
            ..Wake::default()
        };
        match self.any_signal(&key, None, signals, wake).await? {
            Waited::Interrupted(heard) => Ok(heard),
            Waited::Got(value) => Ok(Heard {
                signal: key.as_str().to_owned(),
                value,
            }),
            // Without a limit there is no end of the time.
            Waited::TimedOut => Err(Stop::Hold(format!(
                "the wait {:?} without a limit came to its end",
                key.as_str()
            ))),
        }
    }

    /// [`TaskCx::sleep_for`] that a signal ends early: which one did, or none when the time passed.
    pub async fn sleep_or(
        &self,
        key: impl Into<StepKey>,
        why: &str,
        duration: Duration,
        others: &[&str],
    ) -> Result<Option<Heard>, Stop> {
        self.timer_or(&key.into(), why, duration, others, false).await
    }

    /// [`TaskCx::nap`] that a signal ends early.
    pub async fn nap_or(
        &self,
        key: impl Into<StepKey>,
        why: &str,
        duration: Duration,
        others: &[&str],
    ) -> Result<Option<Heard>, Stop> {
        self.timer_or(&key.into(), why, duration, others, true).await
    }

    async fn timer_or(
        &self,
        key: &StepKey,
        why: &str,
        duration: Duration,
        others: &[&str],
        quiet: bool,
    ) -> Result<Option<Heard>, Stop> {
        let wake = |at| Wake {
            why: until(why, at),
            quiet,
            ..Wake::default()
        };
        match self
            .any_signal::<Value>(key, Some(duration), others, wake)
            .await?
        {
            Waited::Interrupted(heard) => Ok(Some(heard)),
            // Nobody sends a signal of a pause's own name.
            Waited::Got(_) | Waited::TimedOut => Ok(None),
        }
    }

    async fn any_signal<T: DeserializeOwned>(
        &self,
        key: &StepKey,
        limit: Option<Duration>,
        others: &[&str],
        wake: impl FnOnce(Option<DateTime<Utc>>) -> Wake,
    ) -> Result<Waited<T>, Stop> {
        let open = self.open(key, StepKind::Signal)?;
        let heard = |heard: Option<Heard>| match heard {
            None => Ok(Waited::TimedOut),
            Some(heard) if heard.signal == open.at.key => self.read(&open, heard.value).map(Waited::Got),
            Some(heard) => Ok(Waited::Interrupted(heard)),
        };
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return heard(self.replay(&open, outcome)?);
        }
        let shared = &self.shared;
        let answer = shared
            .journal
            .take_signal(&shared.lease, &open.at, others, limit)
            .await;
        let got = match self.take(&open, StepKind::Signal, answer).await? {
            SignalState::Received(value) => Some(Heard {
                signal: open.at.key.clone(),
                value,
            }),
            SignalState::Other(heard) => Some(heard),
            SignalState::TimedOut => None,
            SignalState::Waiting { until } => {
                let mut signals = vec![open.at.key.clone()];
                signals.extend(others.iter().map(|name| (*name).to_owned()));
                return Err(self.park(Wake {
                    at: until,
                    signals,
                    ..wake(until)
                }));
            }
        };
        self.note(&open, StepKind::Signal, &got);
        heard(got)
    }

    async fn signal<T: DeserializeOwned>(
        &self,
        key: &StepKey,
        limit: Option<Duration>,
        why: String,
    ) -> Result<Option<T>, Stop> {
        let open = self.open(key, StepKind::Signal)?;
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return self.replay(&open, outcome);
        }
        let shared = &self.shared;
        let answer = shared
            .journal
            .take_signal(&shared.lease, &open.at, &[], limit)
            .await;
        match self.take(&open, StepKind::Signal, answer).await? {
            SignalState::Received(value) => {
                self.note(&open, StepKind::Signal, &value);
                self.read(&open, value)
            }
            // Nothing else was listened for.
            SignalState::TimedOut | SignalState::Other(_) => {
                self.note(&open, StepKind::Signal, &Value::Null);
                Ok(None)
            }
            SignalState::Waiting { until } => Err(self.park(Wake {
                at: until,
                signals: vec![open.at.key.clone()],
                why,
                ..Wake::default()
            })),
        }
    }

    /// Holds a named resource until the task ends or lets it go, first come first served. A child has what its
    /// ancestors hold.
    pub async fn lock(&self, resource: &str) -> Result<(), Stop> {
        self.lock_at(resource, LockPlace::Last).await
    }

    /// The same before everybody who waits: for what must not stand behind them.
    pub async fn lock_first(&self, resource: &str) -> Result<(), Stop> {
        self.lock_at(resource, LockPlace::First).await
    }

    /// Lets a resource go before the task ends; it may be locked again.
    pub async fn unlock(&self, resource: &str) -> Result<(), Stop> {
        let open = self.open(&self.scope.lock_key("unlock", resource), StepKind::Unlock)?;
        self.scope.let_go(resource);
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return self.replay::<Value>(&open, outcome).map(|_| ());
        }
        let shared = &self.shared;
        let answer = shared.journal.unlock(&shared.lease, &open.at, resource).await;
        self.take(&open, StepKind::Unlock, answer).await?;
        self.note(&open, StepKind::Unlock, &json!(resource));
        Ok(())
    }

    async fn lock_at(&self, resource: &str, place: LockPlace) -> Result<(), Stop> {
        let open = self.open(&self.scope.lock_key("lock", resource), StepKind::Lock)?;
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return self.replay::<Value>(&open, outcome).map(|_| ());
        }
        let shared = &self.shared;
        let answer = shared
            .journal
            .lock(&shared.lease, &open.at, resource, place)
            .await;
        match self.take(&open, StepKind::Lock, answer).await? {
            LockState::Held => {
                self.note(&open, StepKind::Lock, &json!(resource));
                Ok(())
            }
            LockState::Behind(task) => Err(self.park(Wake {
                locks: vec![resource.to_owned()],
                why: format!("pending, behind task {task} on {resource}"),
                ..Wake::default()
            })),
        }
    }

    /// Makes a child task, exactly once.
    pub async fn spawn(&self, key: impl Into<StepKey>, child: NewTask) -> Result<TaskId, Stop> {
        let open = self.open(&key.into(), StepKind::Spawn)?;
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return self.replay(&open, outcome);
        }
        let shared = &self.shared;
        let answer = shared.journal.spawn(&shared.lease, &open.at, &child).await;
        let id = self.take(&open, StepKind::Spawn, answer).await?;
        self.note(&open, StepKind::Spawn, &id);
        Ok(id)
    }

    /// Waits for a child to end. Its failure is a value: the handler decides what it means. When this task is
    /// cancelled meanwhile, the child is too.
    pub async fn await_child(&self, child: &TaskId) -> Result<ChildOutcome, Stop> {
        let open = self.open(&StepKey::from(("child", child)), StepKind::Child)?;
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return self.replay(&open, outcome);
        }
        let shared = &self.shared;
        let answer = shared.journal.child(&shared.lease, &open.at, child).await;
        match self.take(&open, StepKind::Child, answer).await? {
            Some(outcome) => {
                self.note(&open, StepKind::Child, &outcome);
                Ok(outcome)
            }
            None => {
                shared.note(&open.at, StepKind::Child, None);
                Err(self.park(Wake {
                    children: vec![child.clone()],
                    why: format!("for task {child}"),
                    ..Wake::default()
                }))
            }
        }
    }

    /// Tells people how it stands, on the ticket and in the task's history.
    pub async fn tell(&self, key: impl Into<StepKey>, report: &Report) -> Result<(), Stop> {
        let open = self.open(&key.into(), StepKind::Tell)?;
        if let Some(outcome) = open.recorded.as_ref().and_then(|record| record.outcome.clone()) {
            return self.replay::<Value>(&open, outcome).map(|_| ());
        }
        let shared = &self.shared;
        let answer = shared.journal.tell(&shared.lease, &open.at, report).await;
        self.take(&open, StepKind::Tell, answer).await?;
        self.note(&open, StepKind::Tell, &Value::Null);
        Ok(())
    }

    async fn take<T>(
        &self,
        open: &Open<'_>,
        kind: StepKind,
        answer: Result<T, JournalError>,
    ) -> Result<T, Stop> {
        match answer {
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.refused(open, kind, error).await),
        }
    }

    fn note(&self, open: &Open<'_>, kind: StepKind, value: &impl Serialize) {
        let outcome = Recorded::Ok(json!(value));
        self.shared.note(&open.at, kind, Some(outcome));
    }

    fn park(&self, wake: Wake) -> Stop {
        self.scope.stop(Stop::Park(wake))
    }
}

/// What is waited for, and how long, in words.
fn until(why: &str, at: Option<DateTime<Utc>>) -> String {
    match at {
        Some(at) => format!("{why} until {}", at.format("%Y-%m-%d %H:%M:%S UTC")),
        None => why.to_owned(),
    }
}
