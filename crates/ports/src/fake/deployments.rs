use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Idem, Result, Staged};
use serde_json::json;

use crate::{Deployment, DeploymentLog, Failure, LogEntry};

/// A log in memory. A journal in memory hands what steps staged to [`FakeDeployments::apply`], or is read where it is
/// given as a source.
#[derive(Clone, Debug, Default)]
pub struct FakeDeployments(Arc<Mutex<Log>>);

type Source = Arc<dyn Fn() -> (Vec<Staged>, DateTime<Utc>) + Send + Sync>;

#[derive(Default)]
struct Log {
    now: DateTime<Utc>,
    /// Oldest first.
    deployments: Vec<Deployment>,
    source: Option<Source>,
    /// How many of the source's records were taken.
    taken: usize,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deployments.fmt(f)
    }
}

impl FakeDeployments {
    const MEMORY: &'static str = "deployment";

    /// A log that reads what was committed, and the time, from a table in memory.
    pub fn over(source: impl Fn() -> (Vec<Staged>, DateTime<Utc>) + Send + Sync + 'static) -> Self {
        let log = Self::default();
        log.0.lock().unwrap_or_else(PoisonError::into_inner).source = Some(Arc::new(source));
        log
    }

    /// Keeps a staged entry, if it is one of this log's.
    pub fn apply(&self, staged: &Staged) {
        self.log().take(staged);
    }

    pub fn advance(&self, by: Duration) {
        let mut log = self.log();
        log.now += chrono::Duration::from_std(by).unwrap_or(chrono::Duration::MAX);
    }

    /// A deployment as if it had been made before.
    pub fn put(&self, deployment: Deployment) {
        self.log().deployments.push(deployment);
    }

    /// All of them, oldest first.
    pub fn all(&self) -> Vec<Deployment> {
        self.log().deployments.clone()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = log.source.clone() {
            let (staged, now) = source();
            log.now = now;
            for staged in staged.iter().skip(log.taken) {
                log.take(staged);
            }
            log.taken = staged.len();
        }
        log
    }
}

impl Log {
    fn take(&mut self, staged: &Staged) {
        if staged.memory == FakeDeployments::MEMORY
            && let Ok(entry) = serde_json::from_value(staged.record.clone())
        {
            self.keep(entry);
        }
    }

    fn find(&mut self, id: &str) -> Option<&mut Deployment> {
        self.deployments.iter_mut().find(|known| known.what.id == id)
    }

    fn keep(&mut self, entry: LogEntry) {
        let now = self.now;
        match entry {
            LogEntry::Asked(what) => {
                if self.find(&what.id).is_none() {
                    self.deployments.push(Deployment {
                        what,
                        previous: None,
                        asked_at: now,
                        started_at: None,
                        reached_at: None,
                        ended_at: None,
                        outcome: None,
                        cause: None,
                        failures: Vec::new(),
                    });
                }
            }
            LogEntry::Started { id, previous } => {
                if let Some(known) = self.find(&id).filter(|known| known.started_at.is_none()) {
                    known.started_at = Some(now);
                    known.previous = previous;
                }
            }
            LogEntry::Reached { id } => {
                if let Some(known) = self.find(&id) {
                    known.reached_at.get_or_insert(now);
                }
            }
            LogEntry::Ended { id, outcome, cause } => {
                if let Some(known) = self.find(&id).filter(|known| known.outcome.is_none()) {
                    known.ended_at = Some(now);
                    known.outcome = Some(outcome);
                    known.cause = cause;
                }
            }
            LogEntry::Failure {
                deployment,
                id,
                cause,
            } => {
                let mut failures = self.deployments.iter().flat_map(|known| &known.failures);
                let is_new = failures.all(|failure| failure.id != id);
                if let Some(known) = self.find(&deployment).filter(|_| is_new) {
                    known.failures.push(Failure {
                        id,
                        cause,
                        began_at: now,
                        recovered_at: None,
                    });
                }
            }
            LogEntry::Recovered { id, at } => {
                let mut failures = self.deployments.iter_mut().flat_map(|known| &mut known.failures);
                if let Some(failure) = failures.find(|failure| failure.id == id) {
                    failure.recovered_at.get_or_insert(at.unwrap_or(now));
                }
            }
        }
    }
}

#[async_trait]
impl DeploymentLog for FakeDeployments {
    fn write(&self, entry: &LogEntry, idem: &Idem) {
        idem.stage(Self::MEMORY, json!(entry));
    }

    async fn newest(&self, repo_id: &str, environment: &str, limit: u32) -> Result<Vec<Deployment>> {
        let log = self.log();
        let there = log.deployments.iter().rev();
        let there =
            there.filter(|known| known.what.repo_id == repo_id && known.what.environment == environment);
        Ok(there.take(limit as usize).cloned().collect())
    }

    async fn since(&self, since: DateTime<Utc>, repo_id: Option<&str>) -> Result<Vec<Deployment>> {
        let lasts = |end: Option<DateTime<Utc>>| end.is_none_or(|end| end >= since);
        let counts = |known: &&Deployment| {
            let failing = known.failures.iter().any(|failure| lasts(failure.recovered_at));
            repo_id.is_none_or(|repo| repo == known.what.repo_id) && (lasts(known.ended_at) || failing)
        };
        Ok(self.log().deployments.iter().filter(counts).cloned().collect())
    }

    async fn now(&self) -> Result<DateTime<Utc>> {
        Ok(self.log().now)
    }
}
