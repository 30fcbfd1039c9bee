use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The budget of writes that each far side has. In no minute, wherever it begins, are there more: a bucket that
/// starts full and refills would let twice as many through in its first one.
pub(crate) struct Pace {
    per_minute: usize,
    spent: Mutex<HashMap<String, VecDeque<Instant>>>,
}

impl Pace {
    pub(crate) fn per_minute(writes: u32) -> Self {
        Self {
            per_minute: usize::try_from(writes).unwrap_or(usize::MAX).max(1),
            spent: Mutex::default(),
        }
    }

    /// How long the next write to this far side has to wait; when not at all, it is spent.
    pub(crate) fn spend(&self, host: &str) -> Result<(), Duration> {
        self.spend_at(host, Instant::now())
    }

    fn spend_at(&self, host: &str, now: Instant) -> Result<(), Duration> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.retain(|_, times| {
            while times
                .front()
                .is_some_and(|time| now.duration_since(*time) >= MINUTE)
            {
                times.pop_front();
            }
            !times.is_empty()
        });
        let times = spent.entry(host.to_owned()).or_default();
        match times.front() {
            Some(oldest) if times.len() >= self.per_minute => {
                Err(MINUTE.saturating_sub(now.duration_since(*oldest)))
            }
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_minute_has_more_writes_than_its_budget_and_hosts_do_not_share_one() {
        let pace = Pace::per_minute(5);
        let start = Instant::now();
        let (mut now, mut written) = (start, Vec::new());
        while now - start < 5 * MINUTE {
            match pace.spend_at("git.example.com", now) {
                Ok(()) => written.push(now),
                Err(wait) => {
                    assert_eq!(pace.spend_at("other.example.com", now), Ok(()));
                    now += wait;
                }
            }
            now += Duration::from_millis(700);
        }
        assert!(written.len() >= 23, "only {} in five minutes", written.len());
        for (at, time) in written.iter().enumerate() {
            let within = written[at..]
                .iter()
                .filter(|later| **later - *time < MINUTE)
                .count();
            assert!(within <= 5, "{within} within a minute");
        }
    }
}
