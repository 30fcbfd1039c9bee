use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::{Idem, Result, Staged};
use serde_json::json;

use crate::{BudgetLedger, FlakeHistory, FlakeVerdict, Spend};

/// Verdicts in memory. A journal in memory hands what steps staged to [`FakeFlakes::apply`].
#[derive(Clone, Debug, Default)]
pub struct FakeFlakes(Arc<Mutex<Vec<FlakeVerdict>>>);

impl FakeFlakes {
    const MEMORY: &'static str = "flake";

    /// Keeps a staged record, if it is one of this memory's.
    pub fn apply(&self, staged: &Staged) {
        if staged.memory == Self::MEMORY
            && let Ok(verdict) = serde_json::from_value(staged.record.clone())
        {
            self.verdicts().push(verdict);
        }
    }

    fn verdicts(&self) -> MutexGuard<'_, Vec<FlakeVerdict>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl FlakeHistory for FakeFlakes {
    fn record(&self, verdict: &FlakeVerdict, idem: &Idem) {
        idem.stage(Self::MEMORY, json!(verdict));
    }

    async fn recent(&self, repo_id: &str, job: &str, limit: u32) -> Result<Vec<FlakeVerdict>> {
        let verdicts = self.verdicts();
        let of_job = verdicts
            .iter()
            .rev()
            .filter(|verdict| verdict.repo_id == repo_id && verdict.job == job);
        Ok(of_job.take(limit as usize).cloned().collect())
    }
}

/// A ledger in memory, whose clock moves only by [`FakeBudget::advance`].
#[derive(Clone, Debug, Default)]
pub struct FakeBudget(Arc<Mutex<Ledger>>);

#[derive(Debug, Default)]
struct Ledger {
    now: DateTime<Utc>,
    answers: HashMap<(String, String), Spend>,
    granted: Vec<(String, DateTime<Utc>)>,
}

impl FakeBudget {
    pub fn advance(&self, by: Duration) {
        let mut ledger = self.ledger();
        ledger.now += chrono::Duration::from_std(by).unwrap_or(chrono::Duration::MAX);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BudgetLedger for FakeBudget {
    async fn spend(&self, account: &str, limit: u32, window: Duration, idem: &Idem) -> Result<Spend> {
        let mut ledger = self.ledger();
        let key = (account.to_owned(), idem.key().to_owned());
        if let Some(answer) = ledger.answers.get(&key) {
            return Ok(*answer);
        }
        let since = ledger.now - chrono::Duration::from_std(window).unwrap_or(chrono::Duration::MAX);
        let spent = ledger
            .granted
            .iter()
            .filter(|(of, at)| of == account && *at > since)
            .count();
        let left = u32::try_from(spent)
            .ok()
            .and_then(|spent| limit.checked_sub(spent))
            .and_then(|left| left.checked_sub(1));
        let answer = match left {
            Some(left) => {
                let now = ledger.now;
                ledger.granted.push((account.to_owned(), now));
                Spend::Granted { left }
            }
            None => Spend::Exhausted { limit },
        };
        ledger.answers.insert(key, answer);
        Ok(answer)
    }
}
